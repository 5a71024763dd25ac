"""The gate report: one HTML file that needs nothing else, runs no script and escapes what it shows, and the rows as JSON beside it."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipelines.evaluation.gate import Row, Scores, Verdict
from pipelines.evaluation.metrics import METRICS
from pipelines.writing import write_text

HTML = "report.html"
ROWS = "rows.json"

_TEMPLATES = Path(__file__).parent
_MEANING = {
    "answer_correct": "the answer equals the expected one",
    "amount_and_citation": "… and the cited passage is the one that states it",
    "context_recall": "the passage that states the answer was retrieved",
    "context_precision": "share of the retrieved passages that state it",
    "grounded": "the answer is a literal span of what it cites",
    "answered": "there was an answer at all",
}


def write(
    out: Path, facts: Mapping[str, str], verdict: Verdict, scores: Scores, live: Scores | None = None, base: Scores | None = None
) -> None:
    """`report.html` and `rows.json` in an existing folder. `facts` are shown at the top, empty ones left out."""
    rows = {name: one.to_json() for name, one in (("candidate", scores), ("live", live), ("base", base)) if one is not None}
    write_text(out / ROWS, json.dumps({"facts": dict(facts), "verdict": asdict(verdict), **rows}, ensure_ascii=False, indent=1))
    write_text(out / HTML, render(facts, verdict, scores, live, base))


def render(facts: Mapping[str, str], verdict: Verdict, scores: Scores, live: Scores | None = None, base: Scores | None = None) -> str:
    """The report as HTML. `base` are the scores of the candidate without its adapter."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    style = (_TEMPLATES / "report.css").read_text(encoding="utf-8")
    before = {row.place: row for row in live.rows} if live is not None else {}
    return environment.get_template("report.html").render(
        facts={name.replace("_", " "): value for name, value in facts.items() if value},
        verdict=verdict,
        metrics=[_metric(name, entry, base) for name, entry in verdict.metrics.items()],
        rows=[(row, before.get(row.place), _right(row)) for row in sorted(scores.rows, key=_worst_first)],
        right=sum(_right(row) for row in scores.rows),
        seconds=sorted(row.seconds for row in scores.rows),
        has_live=live is not None,
        has_base=base is not None,
        style=style,
        # Only this very style sheet may apply: injected markup can neither run nor dress itself up.
        style_hash=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
    )


def _metric(name: str, entry: dict[str, Any], base: Scores | None) -> dict[str, Any]:
    from pipelines.evaluation.metrics import estimate

    bare = estimate(base.values(name)).mean if base is not None else None
    held = None if entry["value"] is None or entry["missing"] else entry["floor"] is None or entry["value"] >= entry["floor"] - 1e-9
    return {"name": name, "meaning": _MEANING.get(name, ""), "base": bare, "held": held, **entry}


def _right(row: Row) -> bool:
    return row.error is None and row.scores.get("amount_and_citation") == 1.0


def _worst_first(row: Row) -> tuple[bool, float, str, str]:
    """Errors, then the lowest sum of metrics; equals by name."""
    return row.error is None, sum(row.scores.get(name) or 0.0 for name in METRICS), row.golden, row.as_of
