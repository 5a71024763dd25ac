"""The command that asks whether metrics agree with people."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pipelines.cli.common import AsJson, print_json, show
from pipelines.config import Settings, load_domain, load_settings
from pipelines.errors import BadInput, Unavailable
from pipelines.manifest import sha256_file

app = typer.Typer()


@app.command()
def calibrate(
    file: Annotated[Path, typer.Argument(help="Answers that people rated, in the form of mtrag's human evaluations.")],
    judge_domain: Annotated[str | None, typer.Option(help="The domain whose gate.judge is to be measured too.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write the JSON here: what gate.judge.calibration names.")] = None,
    as_json: AsJson = False,
) -> None:
    """How well metrics of faithfulness, ours and a judge's, agree with people's ratings."""
    from pipelines.evaluation import calibration
    from pipelines.writing import write_json

    if out is not None and not out.absolute().parent.is_dir():
        raise BadInput("there is no such folder", where=str(out.absolute().parent), todo="make it first")
    rated = calibration.read(file)
    metrics, model = calibration.offline(rated), None
    if judge_domain is not None:
        judged, model = _judged(load_settings(), judge_domain, rated)
        metrics |= judged
    found = calibration.calibrate(rated, metrics, data=f"{file.name} {sha256_file(file)[:16]}", judge=model)
    if out is not None:
        write_json(out, found)
    if as_json:
        print_json(found)
        return
    rows = [
        {"metric": name, "answers": one["n"], "auc": _told(one["auc"]), "spearman": _told(one["spearman"])}
        for name, one in found["metrics"].items()
    ]
    show(False, rows, ("metric", "answers", "auc", "spearman"))


def _judged(settings: Settings, domain_name: str, rated: Any) -> tuple[dict[str, list[float | None]], str]:
    """The judge's scores by metric, and its name. A judge that could not be measured whole is not measured at all."""
    from pipelines.evaluation import judge

    rule = load_domain(domain_name, settings).gate.judge
    if rule is None:
        raise BadInput("has no gate.judge", where=f"configs/domains/{domain_name}.yaml", todo="name one, or leave --judge-domain out")
    inputs = [(one.id, judge.JudgedInput(one.question, one.answer, one.contexts, one.reference)) for one in rated]
    found = judge.score(rule, inputs, settings.var / "cache" / "judge")
    if found.problems:
        todo = "mend that and run it again: what it has scored is kept"
        raise Unavailable("; ".join(found.problems), where=f"configs/domains/{domain_name}.yaml, gate.judge", todo=todo)
    return {name: [found.scores[one.id].get(name) for one in rated] for name in rule.metrics}, rule.model


def _told(interval: dict[str, float | None]) -> str:
    value, low, high = (interval[edge] for edge in ("value", "low", "high"))
    return "undefined" if value is None else f"{value:.3f} [{low:.3f}, {high:.3f}]"
