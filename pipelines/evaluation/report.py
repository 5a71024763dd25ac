"""The gate report: one HTML file that needs nothing else, runs no script and escapes what it shows, and the same as JSON beside it."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from pipelines.evaluation.cases import GOLDENS, Row
from pipelines.evaluation.matrix import CANDIDATE, LIVE, SHOWN
from pipelines.evaluation.verdict import Verdict
from pipelines.writing import write_text

HTML = "report.html"
DATA = "report.json"
WORST = 20

_TEMPLATES = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Report:
    """What a report is made of. `cells` are the rows of every cell of the matrix, `prompts` what the candidate was asked with."""

    facts: Mapping[str, str]
    verdict: Verdict
    cells: Mapping[str, Sequence[Row]]
    matrix: Sequence[Mapping[str, Any]]
    stale: Sequence[Mapping[str, str]] = ()
    cost: Mapping[str, Any] = field(default_factory=dict)
    prompts: Mapping[str, str] = field(default_factory=dict)


def write(out: Path, report: Report) -> None:
    """`report.html` and `report.json` in an existing folder."""
    data = asdict(replace(report, prompts={}))
    write_text(out / DATA, json.dumps(data, ensure_ascii=False, indent=1, allow_nan=False))
    write_text(out / HTML, render(report))


def read_rows(path: Path, cell: str = CANDIDATE) -> list[Row]:
    """The rows of one cell, out of a report.json."""
    data = json.loads(path.read_text(encoding="utf-8"))
    return [Row(**row) for row in data["cells"][cell]]


def render(report: Report) -> str:
    """The report as HTML: the verdict first, then what it rests on, the worst cases last."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    style = (_TEMPLATES / "report.css").read_text(encoding="utf-8")
    rows, live = report.cells[CANDIDATE], {row.place: row for row in report.cells.get(LIVE, ())}
    metrics = [_metric(name, entry) for name, entry in report.verdict.metrics.items()]
    worst = sorted((row for row in rows if _badness(row) > 0), key=lambda row: (-_badness(row), row.place))
    return environment.get_template("report.html").render(
        facts={name: value for name, value in report.facts.items() if value},
        verdict=report.verdict,
        voting=[metric for metric in metrics if metric["votes"]],
        reported=[metric for metric in metrics if not metric["votes"]],
        scale=max([0.1, *(abs(edge) for metric in metrics for edge in _edges(metric))]),
        matrix=report.matrix,
        shown=SHOWN,
        deciding={metric["name"] for metric in metrics if metric["votes"]},
        slices=report.verdict.slices,
        stale=report.stale,
        cost=report.cost,
        cases=[(row, live.get(row.place), report.prompts.get("/".join(row.place), ""), _badness(row) > 0) for row in worst[:WORST]],
        rest=[(row, live.get(row.place)) for row in sorted(rows, key=lambda row: row.place)],
        not_right=len(worst),
        asked=len(rows),
        has_live=bool(live),
        style=style,
        # Only this very style sheet may apply: injected markup can neither run nor dress itself up.
        style_hash=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
    )


def _metric(name: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    from pipelines.evaluation.metrics import METRICS

    suite, _, plain = name.rpartition("/")
    known = METRICS.get(plain)
    empty: dict[str, Any] = dict.fromkeys(("loss", "live", "base", "floor", "margin")) | {"votes": True, "outcome": "", "worst": []}
    told = {"name": plain, "suite": suite or GOLDENS, "meaning": known.meaning if known else "scored by the judge"}
    return {**empty, **entry, "compared": entry.get("live") or entry.get("base"), **told}


def _edges(metric: Mapping[str, Any]) -> list[float]:
    """What a drawing of the loss has to hold."""
    loss = metric["loss"] or {}
    found = [loss.get("low"), loss.get("high"), loss.get("upper"), metric["margin"]]
    return [edge for edge in found if edge is not None]


def _badness(row: Row) -> float:
    """How far a case is from right: errors first, then by what the scores of voting metrics lack."""
    from pipelines.evaluation.metrics import METRICS

    if row.error is not None:
        return 1e6
    return sum(1 - value for name, value in row.scores.items() if value is not None and name in METRICS and METRICS[name].votes)
