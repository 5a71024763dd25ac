"""Which combinations of parts a gate asks, and what each is worth: old and new of every part, so that a revert is scored already.

base                        the bare model, from memory
base + index                the bare model, shown what the candidate's index finds
adapter alone               the candidate's adapter, from memory
candidate                   everything
live                        the release it is compared with
candidate, live <part>      everything but one part, which is the live release's
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.evaluation.cases import GOLDENS, Row

CANDIDATE, LIVE, BASE, RAG, MEMORY = "candidate", "live", "base", "base + index", "adapter alone"
SHOWN = ("answer_correct", "amount_and_citation", "context_recall", "grounded", "answered")


def back(part: str) -> str:
    """Name of the candidate with one part taken back."""
    return f"candidate, live {part}"


def in_suite(rows: Sequence[Row], suite: str = GOLDENS) -> list[Row]:
    """The rows of one suite."""
    return [row for row in rows if row.suite == suite]


def table(found: Mapping[str, Sequence[Row]]) -> list[dict[str, Any]]:
    """One row per cell: its name, how many goldens it was asked, and the mean of each shown metric; None where it has none.

    What answers from memory was shown nothing that it could cite: of it, only answers count.
    """
    goldens = {name: in_suite(rows) for name, rows in found.items()}
    return [
        {"cell": name, "n": len(rows), **{one: _mean(rows, one) if _means(name, one) else None for one in SHOWN}}
        for name, rows in goldens.items()
    ]


def _means(cell: str, metric: str) -> bool:
    return cell not in (BASE, MEMORY) or metric in ("answer_correct", "answered")


def _mean(rows: Sequence[Row], metric: str) -> float | None:
    values = [value for row in rows if (value := row.scores.get(metric)) is not None]
    return round(sum(values) / len(values), 6) if values else None
