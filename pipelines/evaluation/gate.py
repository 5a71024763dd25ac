"""Asks the goldens, compares with floors and with the live release, and gives one verdict. Only `pass` moves on.

Does not cover the judgement of people: the way out of `inconclusive` is more goldens or a mended metric.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from pipelines.config import Gate
from pipelines.errors import RatchetError
from pipelines.evaluation.goldens import Golden
from pipelines.evaluation.metrics import METRICS, Answered, Estimate, estimate, score

Answerer = Callable[[str, str], Answered]
"""(question, as of) -> answer. An exception counts as no measurement, never as a wrong answer."""

_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Row:
    """One golden, what was answered, and what that is worth."""

    golden: str
    as_of: str
    question: str
    expected: str
    expected_at: str
    """Document key, or the words that the passage holds."""
    answer: str | None
    cited_key: str | None
    cited_text: str
    retrieved: list[str]
    abstained: bool
    seconds: float
    error: str | None
    scores: dict[str, float | None]

    @property
    def place(self) -> tuple[str, str]:
        """What two releases are paired by."""
        return self.golden, self.as_of


@dataclass(frozen=True, slots=True)
class Scores:
    """The rows of one release."""

    rows: list[Row]

    def values(self, metric: str) -> list[float | None]:
        """One value per row, None where there is none."""
        return [row.scores.get(metric) for row in self.rows]

    def to_json(self) -> list[dict[str, Any]]:
        """Rows as JSON values."""
        return [asdict(row) for row in self.rows]

    @classmethod
    def from_json(cls, rows: list[dict[str, Any]]) -> Scores:
        """What `to_json` gave."""
        return cls([Row(**row) for row in rows])


@dataclass(frozen=True, slots=True)
class Verdict:
    """The gate's answer, JSON-able.

    `metrics` by name: value, low, high (None for NaN), n, missing, floor, and `live` and `loss` with figures of the same form.
    """

    verdict: Literal["pass", "fail", "inconclusive"]
    reasons: list[str]
    metrics: dict[str, dict[str, Any]]


def evaluate(goldens: Sequence[tuple[Golden, str]], answerer: Answerer) -> Scores:
    """Ask every golden as of its day, and score the answers."""
    answers: list[Answered | str] = []
    for golden, as_of in goldens:
        try:
            answers.append(answerer(golden.question, as_of))
        except RatchetError as error:
            answers.append(str(error))
        except Exception as error:  # whatever broke, the gate must end in a verdict
            answers.append(f"{type(error).__name__}: {error}")
    scored = iter(score([(golden, one) for (golden, _), one in zip(goldens, answers, strict=True) if isinstance(one, Answered)]))
    return Scores([_row(golden, as_of, one, scored) for (golden, as_of), one in zip(goldens, answers, strict=True)])


def _row(golden: Golden, as_of: str, answered: Answered | str, scored: Any) -> Row:
    failed = answered if isinstance(answered, str) else None
    known = answered if isinstance(answered, Answered) else Answered(None, None, "", [], True, 0.0)
    return Row(
        golden=golden.id,
        as_of=as_of,
        question=golden.question,
        expected=golden.answer,
        expected_at=golden.cites or golden.quote,
        answer=known.answer,
        cited_key=known.cited_key,
        cited_text=known.cited_text,
        retrieved=[passage.key for passage in known.passages],
        abstained=known.abstained,
        seconds=round(known.seconds, 3),
        error=failed,
        scores=dict.fromkeys(METRICS) if failed is not None else next(scored),
    )


def judge(candidate: Scores, live: Scores | None, gate: Gate) -> Verdict:
    """`inconclusive` when anything is missing, else `fail` when a floor or the comparison is not held, else `pass`.

    Floors and losses are judged by the means; the intervals stand in the report for people to weigh. The live release is compared on
    the same goldens, asked as of the same day.
    """
    unclear: list[str] = []
    bad: list[str] = []
    metrics: dict[str, dict[str, Any]] = {}

    if (count := len(candidate.rows)) < gate.min_goldens:
        unclear.append(f"{count} goldens apply, at least {gate.min_goldens} are needed")
    if errors := [row for row in candidate.rows if row.error is not None]:
        unclear.append(f"{len(errors)} of {count} questions ended in an error, first: {errors[0].error}")

    before = {row.place: row for row in live.rows} if live is not None else {}
    pairs = [(before[row.place], row) for row in candidate.rows if row.place in before]
    if live is not None and len(pairs) < count:
        unclear.append(f"the live release was asked only {len(pairs)} of the {count} goldens")

    for name in dict.fromkeys((*METRICS, *gate.floors)):
        found = estimate(candidate.values(name))
        floor = gate.floors.get(name)
        entry: dict[str, Any] = {**_plain(found), "floor": floor, "live": None, "loss": None}
        if found.n == 0 or found.missing:
            unclear.append(f"{name} has no value for {found.missing} of {count} goldens")
        elif floor is not None and found.mean < floor - _ROUNDING:
            bad.append(f"{name} is {found.mean:.3f}, below its floor {floor:.3f}")
        if live is not None:
            entry["live"] = _plain(estimate([old.scores.get(name) for old, _ in pairs]))
            losses = [_loss(old.scores.get(name), new.scores.get(name)) for old, new in pairs]
            loss = estimate(losses)
            entry["loss"] = _plain(loss)
            if loss.n == 0 or loss.missing:
                unclear.append(f"{name} cannot be compared with the live release on {loss.missing} of {len(pairs)} goldens")
            elif loss.mean > gate.max_regression + _ROUNDING:
                bad.append(f"{name} loses {loss.mean:.3f} against the live release, more than {gate.max_regression:.3f}")
        metrics[name] = entry

    if unclear:
        return Verdict("inconclusive", unclear + bad, metrics)
    if bad:
        return Verdict("fail", bad, metrics)
    against = f" and no metric loses more than {gate.max_regression:.3f} against the live release" if live is not None else ""
    return Verdict("pass", [f"every floor is held on {count} goldens{against}"], metrics)


def _loss(old: float | None, new: float | None) -> float | None:
    return None if old is None or new is None else old - new


def _plain(found: Estimate) -> dict[str, Any]:
    """Rounded, with None for NaN: JSON has no NaN."""
    figures = {"value": found.mean, "low": found.low, "high": found.high}
    rounded: dict[str, float | int | None] = {name: round(v, 6) if math.isfinite(v) else None for name, v in figures.items()}
    return {**rounded, "n": found.n, "missing": found.missing}
