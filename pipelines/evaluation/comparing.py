"""Candidate and live release, or base, on the same cases: every metric of every suite, by slice and by persona, and what was not measured.

Says what is missing; whether what is there suffices is the verdict's (`verdict.py`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipelines.evaluation.cases import CORRECTED, GOLDENS, HELD_OUT, LEAKS, Row
from pipelines.evaluation.statistics import Estimate, Loss, estimate, paired_loss
from pipelines.gate_config import Gate, Suite

ROUNDING = 1e-9
NAMED = 5
"""Cases that are named where many are meant."""
WHOM = {"live": "the live release", "base": "the base model"}
_BY_KIND = (GOLDENS, HELD_OUT)
"""Suites in which a metric votes by its kind; in the others because the domain file names it."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A case, and what one metric gave for it on either side. It may not apply to an answer: an abstention is not unfaithful."""

    row: Row
    before: Row | None
    new: float | None
    old: float | None
    applies: bool
    applied: bool
    """Whether it applies to the candidate's answer, and to the other's."""

    @property
    def lost(self) -> float:
        return self.old - self.new if self.old is not None and self.new is not None else math.nan


@dataclass(frozen=True, slots=True)
class Measured:
    """One metric of one suite."""

    key: str
    name: str
    suite: str
    against: Literal["live", "base"]
    floor: float | None
    margin: float
    votes: bool
    must_show: bool
    """Whether it has to be shown to stay within its margin; else a loss that is shown fails it, and one that is not is let be."""
    pairs: list[Pair]
    found: Estimate
    other: Estimate | None
    loss: Loss | None

    @property
    def comparison(self) -> Loss | None:
        """What the verdict may rest on."""
        return self.loss if self.votes and self.loss is not None and self.loss.n else None


@dataclass(frozen=True, slots=True)
class Slice:
    """A part of the goldens for one metric, or, by "persona", the pairs that should score alike."""

    metric: str
    by: str
    name: str
    loss: Loss
    margin: float
    worst: list[str]


class Findings:
    """What is said on the way to the verdict."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.unclear = list(problems)
        self.bad: list[str] = []
        self.open: list[str] = []
        self.settle: list[str] = []
        self.notes: list[str] = []
        self.open_bias: list[str] = []
        """Personas of whom too few pairs were told: one note for all."""


def suites_of(candidate: Sequence[Row], gate: Gate, said: Findings) -> dict[str, Suite]:
    """The goldens, held-out and leak cases if any were asked, and what the domain file names; empty ones too."""
    known = {GOLDENS: Suite(file=gate.goldens, floors=gate.floors, margins=gate.margins, min_cases=gate.min_goldens)}
    there = Counter(row.suite for row in candidate)
    if there[HELD_OUT]:
        known[HELD_OUT] = Suite(file=Path(HELD_OUT))
    if there[CORRECTED]:
        known[CORRECTED] = Suite(file=Path(CORRECTED))
    if there[LEAKS]:
        known[LEAKS] = Suite(file=Path(LEAKS), floors={"withheld": 1.0})
    known |= gate.suites
    for name in there.keys() - known.keys():
        said.unclear.append(f"the domain file knows no suite {name}: its {there[name]} cases were not judged")
    for name, suite in known.items():
        if (count := there[name]) < suite.min_cases:
            said.unclear.append(f"{count} {_cases(name)} apply, at least {suite.min_cases} are needed")
            said.settle.append(f"{name}: {suite.min_cases - count} more cases that apply")
    return known


def measure(
    name: str,
    suite: Suite,
    candidate: Sequence[Row],
    sides: Mapping[str, Sequence[Row] | None],
    gate: Gate,
    votes: Mapping[str, bool],
    said: Findings,
    resamples: int,
) -> Iterator[Measured]:
    rows, other, judged = _of(name, candidate), sides[suite.against], sides["live"] is not None
    olds = _of(name, other or [])
    before = {row.place: row for row in olds}
    _check(name, "the candidate", rows, said)
    if judged and other is None:
        said.unclear.append(f"{name} is measured against {WHOM[suite.against]}, which was not asked")
    elif judged:
        _check(name, WHOM[suite.against], olds, said)
        asked = {row.place for row in rows}
        for whom, lacking in (
            (WHOM[suite.against], [row for row in rows if row.place not in before]),
            ("the candidate", [row for row in olds if row.place not in asked]),
        ):
            if lacking:
                said.unclear.append(f"{whom} was not asked {len(lacking)} of the {_cases(name)}: {some(row.case for row in lacking)}")

    for metric in dict.fromkeys([metric for row in (*rows, *before.values()) for metric in row.scores] + [*suite.floors, *suite.margins]):
        key = metric if name == GOLDENS else f"{name}/{metric}"
        pairs = [pair for row in rows if (pair := _pair(row, before.get(row.place), metric))]
        both = [pair for pair in pairs if pair.applies and pair.applied]
        mine, its = [pair for pair in pairs if pair.applies], [pair for pair in pairs if pair.applied]
        one = Measured(
            key=key,
            name=metric,
            suite=name,
            against=suite.against,
            floor=suite.floors.get(metric),
            margin=suite.margins.get(metric, gate.max_regression),
            votes=(name in _BY_KIND and votes.get(metric, False)) or metric in suite.floors or metric in suite.margins,
            # A dozen cases cannot show that little is lost: a suite's metrics have to where the domain file gives them a margin.
            must_show=name == GOLDENS or metric in suite.margins,
            pairs=pairs,
            found=estimate([pair.new for pair in mine], _groups(mine), resamples=resamples),
            other=estimate([pair.old for pair in its], _groups(its), resamples=resamples) if other is not None else None,
            loss=_paired(both, gate) if other is not None else None,
        )
        if one.votes:
            _check_values(one, judged, said)
        yield one


def _of(suite: str, rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row.suite == suite]


def _check(suite: str, whom: str, rows: Sequence[Row], said: Findings) -> None:
    if failed := [row for row in rows if row.error is not None]:
        first = f"{failed[0].case}: {failed[0].error}"
        said.unclear.append(f"{whom} ended in an error on {len(failed)} of {len(rows)} {_cases(suite)}, first {first}")
        said.settle.append(f"{suite}: mend what the errors name, and gate again")
    if twice := [row for row, count in Counter(row.place for row in rows).items() if count > 1]:
        said.unclear.append(f"{whom} has more than one answer to {some(case for _, case, _ in twice)} of {suite}")


def _check_values(one: Measured, judged: bool, said: Findings) -> None:
    """Rows with an error, and cases that were not asked, were named as such already."""
    both = [pair for pair in one.pairs if pair.applies and pair.applied]
    if not any(pair.applies for pair in one.pairs):
        said.unclear.append(f"{one.key} has no value: it applies to none of the {_cases(one.suite)}")
    elif judged and one.loss is not None and not both:
        said.unclear.append(f"{one.key} applies to none of the {_cases(one.suite)} on both sides")
    elif judged and one.loss is not None and len(both) < len(one.pairs):
        told = f"compared with {WHOM[one.against]} on {len(both)} of {len(one.pairs)} {_cases(one.suite)}"
        said.notes.append(f"{one.key} is {told}: it applies to one side's answer alone in the others")
    mine = [pair.row for pair in one.pairs if pair.applies and pair.new is None and pair.row.error is None]
    its = [pair.row for pair in one.pairs if pair.applied and pair.old is None and pair.before is not None and pair.before.error is None]
    for whom, lacking in (("", mine), (f" of {WHOM[one.against]}", its if judged else [])):
        if lacking:
            cases = some(row.case for row in lacking)
            said.unclear.append(f"{one.key}{whom} has no value for {len(lacking)} of {len(one.pairs)} {_cases(one.suite)}: {cases}")


def _pair(row: Row, before: Row | None, metric: str) -> Pair | None:
    """None where the metric applies to neither side. Without an answer, it applies if it does on the other side: the value is missing."""
    if metric not in row.scores and (before is None or metric not in before.scores):
        return None
    applied = before is None or before.error is not None or metric in before.scores
    old = before.scores.get(metric) if before is not None else None
    return Pair(row, before, _number(row.scores.get(metric)), _number(old), metric in row.scores or row.error is not None, applied)


def _groups(pairs: Sequence[Pair]) -> list[str]:
    return [pair.row.group for pair in pairs]


def _paired(pairs: Sequence[Pair], gate: Gate) -> Loss:
    return paired_loss([pair.old for pair in pairs], [pair.new for pair in pairs], _groups(pairs), gate.alpha)


def _number(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def slices_of(one: Measured, gate: Gate) -> Iterator[Slice]:
    by: dict[str, Callable[[Row], str]] = {"type": lambda row: row.type, "year": lambda row: row.as_of[:4]}
    known = [pair for pair in one.pairs if math.isfinite(pair.lost)]
    for kind, of in by.items():
        for name in sorted({of(pair.row) for pair in known}):
            part = [pair for pair in known if of(pair.row) == name]
            if gate.min_slice <= len(part) < len(known):
                yield Slice(one.key, kind, name, _paired(part, gate), one.margin, losers(part))


def personas(pairs: Mapping[str, Sequence[tuple[float, float]]], gate: Gate, said: Findings) -> Iterator[Slice]:
    """The same case told of two persons, neither of them the old one: `upper` is that of the larger loss, p is two-sided."""
    for name, scores in pairs.items():
        one, other = [first for first, _ in scores], [second for _, second in scores]
        there, back = paired_loss(one, other, alpha=gate.alpha), paired_loss(other, one, alpha=gate.alpha)
        if there.missing or not there.n:
            said.unclear.append(f"bias {name} has no value for {there.missing} of {len(scores)} pairs")
        if there.n:
            upper, p = max(there.upper, back.upper), min(1.0, 2 * min(there.p_worse, back.p_worse))
            both = Loss(there.mean, there.low, there.high, upper, p, there.sd, there.n, there.missing, there.groups)
            yield Slice("bias", "persona", name, both, gate.max_regression, [])


def losers(pairs: Sequence[Pair]) -> list[str]:
    """Ids of the cases that lost, the largest loss first."""
    lost = sorted((pair for pair in pairs if pair.lost > ROUNDING), key=lambda pair: -pair.lost)
    return list(dict.fromkeys(pair.row.case for pair in lost))


def lowest(pairs: Sequence[Pair]) -> list[str]:
    """Ids of the cases that are not perfect, the lowest first."""
    short = sorted((pair.new, pair.row.case) for pair in pairs if pair.new is not None and pair.new < 1 - ROUNDING)
    return list(dict.fromkeys(case for _, case in short))


def some(cases: Iterator[str] | Sequence[str]) -> str:
    every = list(dict.fromkeys(cases))
    return ", ".join(every[:NAMED]) + (f" and {len(every) - NAMED} more" if len(every) > NAMED else "")


def _cases(suite: str) -> str:
    return "goldens" if suite == GOLDENS else f"cases of {suite}"
