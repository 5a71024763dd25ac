"""The commands about learning: what a version calls for, training by hand, two candidates side by side."""

from __future__ import annotations

from typing import Annotated

import typer

from pipelines.cli.common import AsJson, DomainName, actor, print_json, show
from pipelines.config import DomainConfig, load_domain, load_settings
from pipelines.errors import BadInput

app = typer.Typer()


@app.command()
def plan(
    domain: DomainName,
    version: Annotated[str | None, typer.Option(help="One version, with every signal; default all of them.")] = None,
    override: Annotated[str | None, typer.Option(help="none, index, prompt or adapter, instead of what the rules said.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Plan the newest version's documents anew, as a version of its own.")] = False,
    reason: Annotated[str, typer.Option(help="Why; goes to the audit log.")] = "",
    as_json: AsJson = False,
) -> None:
    """What each dataset version called for, why, and what it costs."""
    from pipelines.registry import views
    from pipelines.steps import plan as planning

    settings = load_settings()
    load_domain(domain, settings)
    if again and (version or override):
        raise BadInput("--again makes a version of its own", where="--version, --override", todo="give one or the other")
    if again:
        made = planning.again(settings, domain, actor=actor(), reason=reason)
        show(as_json, [{"version": made}], ("version",))
        return
    if override is not None:
        if version is None:
            raise BadInput("--override needs the version it is about", where="--version", todo="`ratchet plan DOMAIN` lists them")
        planning.override(settings, version, override, actor=actor(), reason=reason)
    rows = [row for row in views.plans(settings, domain) if version in (None, row["version"])]
    if version is not None and not rows:
        raise BadInput(f"{domain} has no plan for {version!r}", where="--version", todo="`ratchet plan DOMAIN` lists them")
    if as_json or version is None:
        show(as_json, rows, ("version", "kind", "reason", "money", "waits", "overridden_by", "done"))
        return
    (row,) = rows
    told = {"kind": row["kind"], "reason": row["reason"], "cost": row["cost"]} | {
        name: row[name] for name in ("decided", "overridden_by", "overridden_why", "waits", "waits_since", "run", "done") if row[name]
    }
    show(False, [{"what": name, "is": value} for name, value in (told | row["signals"]).items()], ("what", "is"))


@app.command()
def train(
    domain: DomainName,
    version: Annotated[str | None, typer.Option(help="Default: the newest.")] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Only estimate memory and time, against this host; exit 2 when it will not fit.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Train the domain's adapter by hand, on this host, outside Airflow."""
    from pipelines.cli import training_bar
    from pipelines.steps import learn, publish

    settings = load_settings()
    if check:
        _check(load_domain(domain, settings), as_json)
        return
    newest = publish.latest(settings, domain)
    if version is None and newest is None:
        raise BadInput(f"{domain} has no dataset version", todo="deliver something first: `ratchet arrive`")
    with training_bar.shown(quiet=as_json) as watch:
        manifest = learn.train(settings, domain, version or (newest.id if newest else ""), watch)
    cost = {name: manifest.counts.get(name) for name in ("money", "cpu_hours", "gpu_hours")}
    columns = ("artifact", "sha256", "seconds", "money", "cpu_hours", "gpu_hours")
    show(as_json, [{**manifest.outputs, "seconds": manifest.seconds, **cost}], columns)


def _check(domain: DomainConfig, as_json: bool) -> None:
    from pipelines.training import base_model, preflight

    base = str(base_model.check(domain.base.path, domain.base.revision))
    base_model.check_tokenizer(base, domain.base.chat_template)
    estimate = preflight.estimate(base, domain.recipe)
    has = f"{estimate.device} has {estimate.capacity / preflight.GB:.2f}"
    time = "unknown" if estimate.seconds is None else f"{estimate.seconds / 60:.1f} minutes"
    work = f"{estimate.flops_per_step / 1e12:.3f} TFLOP a step, {estimate.steps or 'unknown'} steps in {estimate.precision}"
    rows: list[dict[str, object]] = [
        *({"part": part.what, "gb": part.bytes / preflight.GB, "because": part.because} for part in estimate.parts),
        {"part": "together", "gb": estimate.total / preflight.GB, "because": has},
        {"part": "time", "gb": None, "because": f"{time}: {work}"},
    ]
    show(as_json, rows, ("part", "gb", "because"))
    preflight.require_fit(estimate)


@app.command()
def compare(a: str, b: str, as_json: AsJson = False) -> None:
    """Two candidates, adapters or dataset versions' trainings side by side: parts, recipe, data, curves, cost, gate."""
    from pipelines.registry import comparison

    found = comparison.compare(load_settings(), a, b)
    if as_json:
        print_json(found)
        return
    rows = [
        {"what": f"{part}.{name}" if name else part, a: one, b: other, "": mark} for part, name, one, other, mark in comparison.lines(found)
    ]
    show(False, rows, ("what", a, b, ""))
