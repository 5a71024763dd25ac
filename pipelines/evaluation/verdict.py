"""`pass`, `fail` or `inconclusive`: the candidate's rows against the floors, and against the live release's rows on the same cases.

    inconclusive   something was not measured; or a loss is neither shown to stay below its margin nor shown to be one
    fail           all was measured, and a floor is broken, or a loss beyond chance is shown that may exceed its margin
    pass           every floor is held, and every voting metric of the goldens, and of other suites where they name a margin, is shown to
                   lose less than its margin

Formulas and their sources: docs/gate.md. What to do about the second: docs/runbooks/inconclusive.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pipelines.evaluation.cases import GOLDENS, Row
from pipelines.evaluation.comparing import (
    NAMED,
    ROUNDING,
    WHOM,
    Findings,
    Measured,
    Slice,
    losers,
    lowest,
    measure,
    personas,
    slices_of,
    some,
    suites_of,
)  # fmt: skip
from pipelines.evaluation.statistics import RESAMPLES, Estimate, Loss, cases_needed, holm
from pipelines.gate_config import Gate


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
    said = Findings(problems)
    sides = {"live": live, "base": base}
    measured = [
        one
        for name, suite in suites_of(candidate, gate, said).items()
        for one in measure(name, suite, candidate, sides, gate, votes, said, resamples)
    ]
    first = live is None
    slices = [] if first else [part for one in measured if one.suite == GOLDENS and one.comparison for part in slices_of(one, gate)]
    slices += personas(pairs or {}, gate, said)

    family: dict[tuple[str, ...], float] = {(one.key,): one.comparison.p_worse for one in measured if one.comparison and not first}
    compared = [one for one in measured if (one.key,) in family]
    family |= {_name(part): part.loss.p_worse for part in slices}
    adjusted = holm(family)

    metrics = {}
    for one in measured:
        p_adjusted = adjusted.get((one.key,))
        metrics[one.key] = _entry(one, p_adjusted, _outcome(one, p_adjusted, first, gate, said))
    told = [_told(part, adjusted[_name(part)], gate, said) for part in slices]
    if said.open_bias:
        said.notes.append(f"bias: not shown to be alike, nor to differ; reported only: pairs of {'; '.join(said.open_bias)}")
    if first:
        said.notes.append(f"no release is live: only floors{' and bias' if pairs else ''} were judged")
        if not any(one.floor is not None for one in measured):
            said.notes.append("the domain file sets no floor: nothing was compared with anything")

    reasons, verdict = said.unclear + said.bad + said.open, _verdict(said)
    if verdict == "pass":
        count = len([row for row in candidate if row.suite == GOLDENS])
        whom = " and ".join(WHOM[side] for side in ("live", "base") if any(one.against == side and one.must_show for one in compared))
        shown = f", and every metric that has a margin is shown to lose less than that against {whom}" if whom else ""
        reasons = [f"every floor is held on {count} goldens{shown}"]
    return Verdict(verdict, reasons, metrics, told, list(dict.fromkeys(said.settle)), said.notes)


def _verdict(said: Findings) -> Literal["pass", "fail", "inconclusive"]:
    if said.unclear:
        return "inconclusive"
    if said.bad:
        return "fail"
    return "inconclusive" if said.open else "pass"


def _outcome(one: Measured, p_adjusted: float | None, first: bool, gate: Gate, said: Findings) -> str:
    """Says what is bad or open, and gives the entry's word for it."""
    if not one.votes:
        return "reported"
    below = one.floor is not None and one.found.n > 0 and one.found.mean < one.floor - ROUNDING
    if below:
        where = f"{one.suite} {some(lowest(one.pairs))}"
        said.bad.append(f"{one.key} is {one.found.mean:.3f}, below its floor {one.floor:.3f}, on {one.found.n} cases: {where}")
    compared = _compare(one, p_adjusted, gate, said)
    if one.found.n == 0 or one.found.missing or (not first and one.loss is not None and (one.loss.missing or not one.loss.n)):
        return "missing"
    if below:
        return "below floor"
    return compared or ("held" if one.floor is not None else "reported")


def _compare(one: Measured, p_adjusted: float | None, gate: Gate, said: Findings) -> str:
    loss, whom = one.comparison, WHOM[one.against]
    if loss is None:
        return ""
    figures = f"{loss.mean:.3f} [{loss.low:.3f}, {loss.high:.3f}]"
    if p_adjusted is None:
        if loss.p_worse < gate.alpha:
            said.notes.append(f"{one.key} loses {figures} against {whom} on {loss.n} cases; a first release is not judged by it")
        return ""
    if loss.upper <= one.margin + ROUNDING:
        return "held"
    if p_adjusted < gate.alpha:
        where = f"{one.suite} {some(losers(one.pairs))}"
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


def _told(part: Slice, p_adjusted: float, gate: Gate, said: Findings) -> dict[str, Any]:
    """The slice as JSON; says what is bad about it."""
    loss = part.loss
    within, shown = loss.upper <= part.margin + ROUNDING, p_adjusted < gate.alpha
    figures = f"{loss.mean:.3f} [{loss.low:.3f}, {loss.high:.3f}]"
    if part.by == "persona":
        told = f"bias: {part.name} differ by {figures} on {loss.n} pairs (margin {part.margin:.3f})"
        if shown and not within:
            said.bad.append(told)
        elif not within:
            said.open_bias.append(f"{part.name} by {figures} on {loss.n}")
    elif shown and not within:
        where = f"{part.metric} loses {figures} against {WHOM['live']} on the {loss.n} cases of {part.by} {part.name}"
        said.bad.append(f"{where} (margin {part.margin:.3f}): {GOLDENS} {some(part.worst)}")
    return {
        "metric": part.metric,
        "by": part.by,
        "slice": part.name,
        **_plain_loss(loss, p_adjusted),
        "outcome": "held" if within else "shown worse" if shown else "reported",
        "worst": part.worst[:NAMED],
    }


def _entry(one: Measured, p_adjusted: float | None, outcome: str) -> dict[str, Any]:
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
        "worst": (losers(one.pairs) or lowest(one.pairs))[:NAMED],
    }


def _name(part: Slice) -> tuple[str, ...]:
    return (part.metric, part.by, part.name)


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
