"""`pass`, `fail` or `inconclusive`: the candidate's rows against the floors, and against the live release's rows on the same cases.

    inconclusive   something was not measured; or a loss is neither shown to stay below its margin nor shown to be one
    fail           all was measured, and a floor is broken, or a loss beyond chance is shown that may exceed its margin
    pass           every floor is held, and every voting metric of the goldens, and of other suites where they name a margin, is shown to
                   lose less than its margin

Formulas and their sources: docs/gate.md. What to do about the second: docs/runbooks/inconclusive.md.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pipelines.evaluation.cases import GOLDENS, HELD_OUT, LEAKS, Row
from pipelines.evaluation.statistics import RESAMPLES, Estimate, Loss, cases_needed, estimate, holm, paired_loss
from pipelines.gate_config import Gate, Suite

_ROUNDING = 1e-9
_NAMED = 5
"""Cases that are named where many are meant."""
_BY_KIND = (GOLDENS, HELD_OUT)
"""Suites in which a metric votes by its kind; in the others because the domain file names it."""
_WHOM = {"live": "the live release", "base": "the base model"}


@dataclass(frozen=True, slots=True)
class Verdict:
    """The gate's answer, JSON-able. Metrics of the goldens go by their name, those of other suites by `suite/metric`.

    metrics   value, low, high (None for NaN), n, missing, floor, margin, votes, worst (case ids), outcome: "held", "below floor", "shown
              worse", "not shown", "missing" or "reported"; `live` or `base`, whichever it is compared with, of the same form as itself;
              `loss` against that: value, low, high, upper, p_worse, p_adjusted, n, groups, missing
    slices    metric, by ("type", "year", or "persona" for bias), slice, outcome ("held", "shown worse" or "reported"), worst, and the
              loss's figures as above
    settle    what would turn `inconclusive` into an answer
    notes     what decided nothing and should be known
    """

    verdict: Literal["pass", "fail", "inconclusive"]
    reasons: list[str]
    metrics: dict[str, dict[str, Any]]
    slices: list[dict[str, Any]]
    settle: list[str]
    notes: list[str]


@dataclass(frozen=True, slots=True)
class _Pair:
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
class _Measured:
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
    pairs: list[_Pair]
    found: Estimate
    other: Estimate | None
    loss: Loss | None

    @property
    def comparison(self) -> Loss | None:
        """What the verdict may rest on."""
        return self.loss if self.votes and self.loss is not None and self.loss.n else None


@dataclass(frozen=True, slots=True)
class _Slice:
    """A part of the goldens for one metric, or, by "persona", the pairs that should score alike."""

    metric: str
    by: str
    name: str
    loss: Loss
    margin: float
    worst: list[str]


class _Findings:
    """What is said on the way to the verdict."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.unclear = list(problems)
        self.bad: list[str] = []
        self.open: list[str] = []
        self.settle: list[str] = []
        self.notes: list[str] = []


def judge(
    candidate: Sequence[Row],
    live: Sequence[Row] | None,
    base: Sequence[Row] | None,
    gate: Gate,
    votes: Mapping[str, bool],
    problems: Sequence[str] = (),
    pairs: Mapping[str, Sequence[tuple[float, float]]] | None = None,
    *,
    resamples: int = RESAMPLES,
) -> Verdict:
    """Judge the candidate's rows of all suites.

    `live` None: the first release, judged by its floors (and bias) alone. `base` is needed where a suite is measured against it.
    `votes`: metric name -> whether it votes on goldens and held-out cases; a floor or a margin in the domain file makes any metric vote.
    `problems`: why something could not be measured (a dead judge, stale data); any makes the gate inconclusive. `pairs`: "female/male" ->
    scores of both, which must be alike to within `gate.max_regression`. `resamples`: of the means' intervals, which are shown and decide
    nothing.

    What was not measured outweighs what was: with a case missing, even a broken floor is `inconclusive`, and both are listed.
    """
    said = _Findings(problems)
    sides = {"live": live, "base": base}
    measured = [
        one
        for name, suite in _suites(candidate, gate, said).items()
        for one in _measure(name, suite, candidate, sides, gate, votes, said, resamples)
    ]
    first = live is None
    slices = [] if first else [part for one in measured if one.suite == GOLDENS and one.comparison for part in _slices(one, gate)]
    slices += _personas(pairs or {}, gate, said)

    family: dict[tuple[str, ...], float] = {(one.key,): one.comparison.p_worse for one in measured if one.comparison and not first}
    compared = [one for one in measured if (one.key,) in family]
    family |= {_name(part): part.loss.p_worse for part in slices}
    adjusted = holm(family)

    metrics = {}
    for one in measured:
        p_adjusted = adjusted.get((one.key,))
        metrics[one.key] = _entry(one, p_adjusted, _outcome(one, p_adjusted, first, gate, said))
    told = [_told(part, adjusted[_name(part)], gate, said) for part in slices]
    if first:
        said.notes.append(f"no release is live: only floors{' and bias' if pairs else ''} were judged")
        if not any(one.floor is not None for one in measured):
            said.notes.append("the domain file sets no floor: nothing was compared with anything")

    reasons, verdict = said.unclear + said.bad + said.open, _verdict(said)
    if verdict == "pass":
        count = len([row for row in candidate if row.suite == GOLDENS])
        whom = " and ".join(_WHOM[side] for side in ("live", "base") if any(one.against == side for one in compared))
        shown = f", and every voting metric is shown to lose less than its margin against {whom}" if whom else ""
        reasons = [f"every floor is held on {count} goldens{shown}"]
    return Verdict(verdict, reasons, metrics, told, list(dict.fromkeys(said.settle)), said.notes)


def _verdict(said: _Findings) -> Literal["pass", "fail", "inconclusive"]:
    if said.unclear:
        return "inconclusive"
    if said.bad:
        return "fail"
    return "inconclusive" if said.open else "pass"


def _suites(candidate: Sequence[Row], gate: Gate, said: _Findings) -> dict[str, Suite]:
    """The goldens, held-out and leak cases if any were asked, and what the domain file names; empty ones too."""
    known = {GOLDENS: Suite(file=gate.goldens, floors=gate.floors, margins=gate.margins, min_cases=gate.min_goldens)}
    there = Counter(row.suite for row in candidate)
    if there[HELD_OUT]:
        known[HELD_OUT] = Suite(file=Path(HELD_OUT))
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


def _measure(
    name: str,
    suite: Suite,
    candidate: Sequence[Row],
    sides: Mapping[str, Sequence[Row] | None],
    gate: Gate,
    votes: Mapping[str, bool],
    said: _Findings,
    resamples: int,
) -> Iterator[_Measured]:
    rows, other, judged = _of(name, candidate), sides[suite.against], sides["live"] is not None
    olds = _of(name, other or [])
    before = {row.place: row for row in olds}
    _check(name, "the candidate", rows, said)
    if judged and other is None:
        said.unclear.append(f"{name} is measured against {_WHOM[suite.against]}, which was not asked")
    elif judged:
        _check(name, _WHOM[suite.against], olds, said)
        asked = {row.place for row in rows}
        for whom, lacking in (
            (_WHOM[suite.against], [row for row in rows if row.place not in before]),
            ("the candidate", [row for row in olds if row.place not in asked]),
        ):
            if lacking:
                said.unclear.append(f"{whom} was not asked {len(lacking)} of the {_cases(name)}: {_some(row.case for row in lacking)}")

    for metric in dict.fromkeys([metric for row in (*rows, *before.values()) for metric in row.scores] + [*suite.floors, *suite.margins]):
        key = metric if name == GOLDENS else f"{name}/{metric}"
        pairs = [pair for row in rows if (pair := _pair(row, before.get(row.place), metric))]
        both = [pair for pair in pairs if pair.applies and pair.applied]
        mine, its = [pair for pair in pairs if pair.applies], [pair for pair in pairs if pair.applied]
        one = _Measured(
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


def _check(suite: str, whom: str, rows: Sequence[Row], said: _Findings) -> None:
    if failed := [row for row in rows if row.error is not None]:
        first = f"{failed[0].case}: {failed[0].error}"
        said.unclear.append(f"{whom} ended in an error on {len(failed)} of {len(rows)} {_cases(suite)}, first {first}")
        said.settle.append(f"{suite}: mend what the errors name, and gate again")
    if twice := [row for row, count in Counter(row.place for row in rows).items() if count > 1]:
        said.unclear.append(f"{whom} has more than one answer to {_some(case for _, case, _ in twice)} of {suite}")


def _check_values(one: _Measured, judged: bool, said: _Findings) -> None:
    """Rows with an error, and cases that were not asked, were named as such already."""
    both = [pair for pair in one.pairs if pair.applies and pair.applied]
    if not any(pair.applies for pair in one.pairs):
        said.unclear.append(f"{one.key} has no value: it applies to none of the {_cases(one.suite)}")
    elif judged and one.loss is not None and not both:
        said.unclear.append(f"{one.key} applies to none of the {_cases(one.suite)} on both sides")
    elif judged and one.loss is not None and len(both) < len(one.pairs):
        told = f"compared with {_WHOM[one.against]} on {len(both)} of {len(one.pairs)} {_cases(one.suite)}"
        said.notes.append(f"{one.key} is {told}: it applies to one side's answer alone in the others")
    mine = [pair.row for pair in one.pairs if pair.applies and pair.new is None and pair.row.error is None]
    its = [pair.row for pair in one.pairs if pair.applied and pair.old is None and pair.before is not None and pair.before.error is None]
    for whom, lacking in (("", mine), (f" of {_WHOM[one.against]}", its if judged else [])):
        if lacking:
            cases = _some(row.case for row in lacking)
            said.unclear.append(f"{one.key}{whom} has no value for {len(lacking)} of {len(one.pairs)} {_cases(one.suite)}: {cases}")


def _pair(row: Row, before: Row | None, metric: str) -> _Pair | None:
    """None where the metric applies to neither side. Without an answer, it applies if it does on the other side: the value is missing."""
    if metric not in row.scores and (before is None or metric not in before.scores):
        return None
    applied = before is None or before.error is not None or metric in before.scores
    old = before.scores.get(metric) if before is not None else None
    return _Pair(row, before, _number(row.scores.get(metric)), _number(old), metric in row.scores or row.error is not None, applied)


def _groups(pairs: Sequence[_Pair]) -> list[str]:
    return [pair.row.group for pair in pairs]


def _paired(pairs: Sequence[_Pair], gate: Gate) -> Loss:
    return paired_loss([pair.old for pair in pairs], [pair.new for pair in pairs], _groups(pairs), gate.alpha)


def _number(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _slices(one: _Measured, gate: Gate) -> Iterator[_Slice]:
    by: dict[str, Callable[[Row], str]] = {"type": lambda row: row.type, "year": lambda row: row.as_of[:4]}
    known = [pair for pair in one.pairs if math.isfinite(pair.lost)]
    for kind, of in by.items():
        for name in sorted({of(pair.row) for pair in known}):
            part = [pair for pair in known if of(pair.row) == name]
            if gate.min_slice <= len(part) < len(known):
                yield _Slice(one.key, kind, name, _paired(part, gate), one.margin, _losers(part))


def _personas(pairs: Mapping[str, Sequence[tuple[float, float]]], gate: Gate, said: _Findings) -> Iterator[_Slice]:
    """The same case told of two persons, neither of them the old one: `upper` is that of the larger loss, p is two-sided."""
    for name, scores in pairs.items():
        one, other = [first for first, _ in scores], [second for _, second in scores]
        there, back = paired_loss(one, other, alpha=gate.alpha), paired_loss(other, one, alpha=gate.alpha)
        if there.missing or not there.n:
            said.unclear.append(f"bias {name} has no value for {there.missing} of {len(scores)} pairs")
        if there.n:
            upper, p = max(there.upper, back.upper), min(1.0, 2 * min(there.p_worse, back.p_worse))
            both = Loss(there.mean, there.low, there.high, upper, p, there.sd, there.n, there.missing, there.groups)
            yield _Slice("bias", "persona", name, both, gate.max_regression, [])


def _outcome(one: _Measured, p_adjusted: float | None, first: bool, gate: Gate, said: _Findings) -> str:
    """Says what is bad or open, and gives the entry's word for it."""
    if not one.votes:
        return "reported"
    below = one.floor is not None and one.found.n > 0 and one.found.mean < one.floor - _ROUNDING
    if below:
        where = f"{one.suite} {_some(_lowest(one.pairs))}"
        said.bad.append(f"{one.key} is {one.found.mean:.3f}, below its floor {one.floor:.3f}, on {one.found.n} cases: {where}")
    compared = _compare(one, p_adjusted, gate, said)
    if one.found.n == 0 or one.found.missing or (not first and one.loss is not None and (one.loss.missing or not one.loss.n)):
        return "missing"
    if below:
        return "below floor"
    return compared or ("held" if one.floor is not None else "reported")


def _compare(one: _Measured, p_adjusted: float | None, gate: Gate, said: _Findings) -> str:
    loss, whom = one.comparison, _WHOM[one.against]
    if loss is None:
        return ""
    figures = f"{loss.mean:.3f} [{loss.low:.3f}, {loss.high:.3f}]"
    if p_adjusted is None:
        if loss.p_worse < gate.alpha:
            said.notes.append(f"{one.key} loses {figures} against {whom} on {loss.n} cases; a first release is not judged by it")
        return ""
    if loss.upper <= one.margin + _ROUNDING:
        return "held"
    if p_adjusted < gate.alpha:
        where = f"{one.suite} {_some(_losers(one.pairs))}"
        said.bad.append(f"{one.key} loses {figures} against {whom} on {loss.n} cases (margin {one.margin:.3f}): {where}")
        return "shown worse"
    if not one.must_show:
        return ""
    said.open.append(
        f"{one.key} may lose up to {loss.upper:.3f} against {whom} on {loss.n} cases (margin {one.margin:.3f}): its loss is {figures}"
    )
    needed = cases_needed(loss, one.margin, gate.alpha, gate.power)
    now = f"{loss.n} now" if loss.groups == loss.n else f"{loss.n} now, in {loss.groups} groups"
    said.settle.append(
        f"{one.key}: about {needed} cases in all ({now}) would show that it stays below its margin, if its loss stays {loss.mean:.3f}"
        if needed is not None
        else f"{one.key}: no number of cases would show it, for its loss {loss.mean:.3f} is not below its margin {one.margin:.3f}"
    )
    return "not shown"


def _told(part: _Slice, p_adjusted: float, gate: Gate, said: _Findings) -> dict[str, Any]:
    """The slice as JSON; says what is bad about it."""
    loss = part.loss
    within, shown = loss.upper <= part.margin + _ROUNDING, p_adjusted < gate.alpha
    figures = f"{loss.mean:.3f} [{loss.low:.3f}, {loss.high:.3f}]"
    if part.by == "persona":
        told = f"bias: {part.name} differ by {figures} on {loss.n} pairs (margin {part.margin:.3f})"
        if shown and not within:
            said.bad.append(told)
        elif not within:
            said.notes.append(f"{told}: not shown to be alike, nor to differ; reported only")
    elif shown and not within:
        where = f"{part.metric} loses {figures} against {_WHOM['live']} on the {loss.n} cases of {part.by} {part.name}"
        said.bad.append(f"{where} (margin {part.margin:.3f}): {GOLDENS} {_some(part.worst)}")
    return {
        "metric": part.metric,
        "by": part.by,
        "slice": part.name,
        **_plain_loss(loss, p_adjusted),
        "outcome": "held" if within else "shown worse" if shown else "reported",
        "worst": part.worst[:_NAMED],
    }


def _entry(one: _Measured, p_adjusted: float | None, outcome: str) -> dict[str, Any]:
    other = _plain(one.other) if one.other is not None else None
    return {
        **_plain(one.found),
        "floor": one.floor,
        "margin": one.margin if p_adjusted is not None and one.must_show else None,
        "votes": one.votes,
        "live": other if one.against == "live" else None,
        "base": other if one.against == "base" else None,
        "loss": _plain_loss(one.loss, p_adjusted) if one.loss is not None else None,
        "outcome": outcome,
        "worst": (_losers(one.pairs) or _lowest(one.pairs))[:_NAMED],
    }


def _name(part: _Slice) -> tuple[str, ...]:
    return (part.metric, part.by, part.name)


def _losers(pairs: Sequence[_Pair]) -> list[str]:
    """Ids of the cases that lost, the largest loss first."""
    lost = sorted((pair for pair in pairs if pair.lost > _ROUNDING), key=lambda pair: -pair.lost)
    return list(dict.fromkeys(pair.row.case for pair in lost))


def _lowest(pairs: Sequence[_Pair]) -> list[str]:
    """Ids of the cases that are not perfect, the lowest first."""
    short = sorted((pair.new, pair.row.case) for pair in pairs if pair.new is not None and pair.new < 1 - _ROUNDING)
    return list(dict.fromkeys(case for _, case in short))


def _some(cases: Iterator[str] | Sequence[str]) -> str:
    every = list(dict.fromkeys(cases))
    return ", ".join(every[:_NAMED]) + (f" and {len(every) - _NAMED} more" if len(every) > _NAMED else "")


def _cases(suite: str) -> str:
    return "goldens" if suite == GOLDENS else f"cases of {suite}"


def _plain(found: Estimate) -> dict[str, Any]:
    return {"value": _rounded(found.mean), "low": _rounded(found.low), "high": _rounded(found.high), "n": found.n, "missing": found.missing}


def _plain_loss(loss: Loss, p_adjusted: float | None) -> dict[str, Any]:
    return {
        "value": _rounded(loss.mean),
        "low": _rounded(loss.low),
        "high": _rounded(loss.high),
        "upper": _rounded(loss.upper),
        "p_worse": _rounded(loss.p_worse),
        "p_adjusted": _rounded(p_adjusted) if p_adjusted is not None else None,
        "n": loss.n,
        "groups": loss.groups,
        "missing": loss.missing,
    }


def _rounded(value: float) -> float | None:
    """None for NaN: JSON has no NaN."""
    return round(value, 6) if math.isfinite(value) else None
