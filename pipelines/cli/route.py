"""The command that learns from which confidence on a smaller base may answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from pipelines.cli.common import AsJson, DomainName, print_json, show
from pipelines.config import load_domain, load_settings
from pipelines.errors import BadInput, Conflict

if TYPE_CHECKING:
    from pipelines.evaluation.statistics import Estimate
    from pipelines.serving.routing.learn import Figures

app = typer.Typer()

_WRONG = "a share between 0 and 1"


@app.command()
def route(
    domain: DomainName,
    small: Annotated[str | None, typer.Option(help="Folder of a smaller base; default what serving.routing.small names.")] = None,
    release: Annotated[str | None, typer.Option(help="Candidate whose engine is compared with; default what is live.")] = None,
    tolerance: Annotated[float, typer.Option(help="Share of requests that routing may make wrong.")] = 0.02,
    alpha: Annotated[float, typer.Option(help="Probability that it is more all the same.")] = 0.05,
    as_json: AsJson = False,
) -> None:
    """What a smaller base saves and costs on the gate's own cases, and the threshold to write into the domain file. Changes nothing."""
    from pipelines.registry import candidates, pointer
    from pipelines.serving.routing import learn
    from pipelines.serving.routing import small as smaller

    for name, value in (("--tolerance", tolerance), ("--alpha", alpha)):
        if not 0 < value < 1:
            raise BadInput(f"{value:g} is not {_WRONG}", where=name, todo=f"give {_WRONG}")
    settings = load_settings()
    config = load_domain(domain, settings)
    routing = config.serving.routing.model_copy(update={"small": small or config.serving.routing.small})
    if routing.small is None:
        raise BadInput("names no smaller base", where=f"configs/domains/{domain}.yaml, serving.routing.small", todo="or give one: --small")
    at = pointer.current(settings, domain)
    wanted = release or (at.live_id if at else None)
    if wanted is None:
        raise Conflict(f"{domain} has no live release", todo="name a candidate: --release; `ratchet candidates` lists them")
    candidate = candidates.get(settings, wanted)
    if candidate.domain != domain:
        raise BadInput(f"{wanted} is of another domain", where="--release", todo=f"`ratchet candidates {domain}` lists its own")
    engine = smaller.prepare(settings, routing, config.serving.engine)
    assert engine is not None  # noqa: S101 - `small` is named
    if engine.engine.endswith(candidate.base_sha256[:12]) and candidate.adapter_id is None:
        raise BadInput("is the domain's own base, which has no adapter: both would say the same", where="small", todo="name a smaller one")
    tried, missing = learn.observe(settings, config, candidate, routing, engine)
    found = learn.learn(tried, tolerance, alpha, missing)
    advice = learn.line(routing, found.threshold) if found.threshold is not None else None
    if as_json:
        print_json({"domain": domain, "release": candidate.id, "small": routing.small, "file": advice, **found.told()})
        return
    show(False, [row(one) for one in (*found.table, found.crossed)], COLUMNS)
    console = Console(soft_wrap=True)
    for text in sentences(found, candidate.id):
        console.print(text, markup=False, highlight=False)
    if advice is not None:
        console.print(f"\nFor configs/domains/{domain}.yaml:\n\n{advice}", markup=False, highlight=False)


COLUMNS = ("threshold", "small", "cost", "upper", "gained", "right", "own right", "s saved", "own tokens saved", "small tokens")


def row(one: Figures) -> dict[str, Any]:
    """A line of the table; the cross-validated one has no threshold of its own."""
    return {
        "threshold": "crossed" if one.threshold is None else f"{one.threshold:g}",
        "small": _told(one.small),
        "cost": _told(one.cost),
        "upper": one.upper,
        "gained": one.gained,
        "right": one.right,
        "own right": one.own_right,
        "s saved": _told(one.seconds_saved, 4),
        "own tokens saved": _told(one.tokens_saved, 1),
        "small tokens": f"{one.small_tokens:.1f}",
    }


def sentences(found: Any, release: str) -> list[str]:
    """What the table is about, and what follows from it."""
    halves = " and ".join("none" if one is None else f"{one:g}" for one in found.halves)
    told = [
        f"{found.cases} cases in {found.groups} groups against {release}"
        + (f"; {found.missing} could not be asked" if found.missing else ""),
        *(f"{count} went up at once: {reason}" for reason, count in found.at_once.items()),
        f"crossed: each half at the threshold of the other ({halves})",
    ]
    verdict = "no threshold" if found.threshold is None else f"threshold {found.threshold:g}"
    return [*told, f"{verdict}: {found.why}"]


def _told(one: Estimate, digits: int = 3) -> str:
    return f"{one.mean:.{digits}f} [{one.low:.{digits}f}, {one.high:.{digits}f}]"
