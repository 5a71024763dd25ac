"""What one record of the traffic log says for or against a release: a yes or no per test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.evaluation.sequential import quantile
from pipelines.rollout_config import Tolerances

Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Test:
    """One thing in which a candidate can be worse: what a hit is in words, and the tolerance it is held against."""

    says: str
    """`{line}` stands for the live release's own figure."""
    tolerance: str


TESTS = {
    "errors": Test("failed", "errors"),
    "latency": Test("took longer than {line:,.0f} ms", "latency"),
    "tokens_out": Test("were longer than {line:,.0f} tokens", "tokens"),
    "tokens_in": Test("needed more than {line:,.0f} tokens of input", "tokens"),
    "guards": Test("met a guard", "guards"),
    "confidence": Test("were less sure than {line:.3f}", "confidence"),
    "withheld": Test("were withheld", "quality"),
    "wrong": Test("were judged wrong", "quality"),
}
LINES = {"latency": "latency_ms", "tokens_out": "tokens_out", "tokens_in": "tokens_in", "confidence": "confidence"}
"""Tests that need a figure of the live release, and where a record has it."""
MORE_INPUT = 1.5
"""A prompt that grew by a line is meant to: input counts as long from so many times live's figure on."""
NEEDED = 50
"""Answers of live without which it has no figure."""


def counts(record: Record) -> bool:
    """Whether a record says anything about a release: not what a cache gave, nor what its caller got wrong, took back or may not ask."""
    status = record.get("status")
    return not record.get("cache") and isinstance(status, int) and (not 400 <= status < 500 or bool(record.get("guards")))


def values(records: list[Record]) -> dict[str, list[float]]:
    """Per test that needs a line, the figures of these records."""
    found: dict[str, list[float]] = {name: [] for name in LINES}
    for record in records:
        for name in LINES:
            if (value := _figure(record, name)) is not None:
                found[name].append(value)
    return found


def lines(found: Mapping[str, list[float]]) -> dict[str, float]:
    """The figure beyond which nine of ten of live's answers are not; nothing where there are too few."""
    return {name: _line(name, figures) for name, figures in found.items() if len(figures) >= NEEDED}


def hits(record: Record, line: Mapping[str, float]) -> dict[str, bool]:
    """Per test that applies to this record, whether it counts against the release. A failed request has only failed."""
    failed = int(record["status"]) >= 500
    found = {"errors": failed}
    if failed:
        return found
    found["guards"] = bool(record.get("guards"))
    for name in LINES:
        value, limit = _figure(record, name), line.get(name)
        if value is not None and limit is not None:
            found[name] = value < limit if name == "confidence" else value > limit
    if record.get("abstained") is not None:
        found["withheld"] = bool(record["abstained"])
    if (judged := record.get("judged")) is not None:
        found["wrong"] = float(judged) < 0.5
    return found


def tolerance(test: str, allowed: Tolerances) -> float:
    """What is tolerated in one test, as a share."""
    return float(getattr(allowed, TESTS[test].tolerance))


def _figure(record: Record, name: str) -> float | None:
    value = record.get(LINES[name])
    status = record.get("status")
    usable = isinstance(value, int | float) and not isinstance(value, bool) and isinstance(status, int) and status < 400
    return float(value) if usable and value is not None else None


def _line(name: str, figures: list[float]) -> float:
    if name == "confidence":
        return -quantile([-value for value in figures], 0.9)
    return quantile(figures, 0.9) * (MORE_INPUT if name == "tokens_in" else 1.0)
