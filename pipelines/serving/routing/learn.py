"""Learns the confidence from which the smaller base's answer stands, from the gate's own cases: goldens, and what training held back.

Every case is asked both ways, along the path that serves. The quality cost of a threshold is the share of all cases that the cascade gets
wrong and the domain's own engine right. It can only grow as the threshold falls, so thresholds are tried from 1 downwards, each against
the bound at full confidence, until the first that fails: of a fixed order none needs a correction (A. N. Angelopoulos, S. Bates,
E. J. Candes, M. I. Jordan and L. Lei, "Learn then Test", arXiv:2110.01052, 2021, section 3.2, fixed sequence testing). With probability
1 - alpha the cost of what is chosen is within the tolerance, on cases like these. The bound is `statistics.paired_loss`'s, over groups:
never below that of C. J. Clopper and E. S. Pearson (1934), so without a loss it takes 149 groups to show 0.02 at alpha 0.05.

What a threshold chosen on some cases costs on others is told too: learned on one half of the groups, measured on the other, both ways.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pipelines.config import DomainConfig, Settings
from pipelines.errors import BadInput
from pipelines.evaluation.statistics import Estimate, cases_needed, estimate, paired_loss
from pipelines.serving.cells import Cell
from pipelines.serving.routing.small import Small
from pipelines.serving_config import Routing
from pipelines.state.models import Candidate

TOLERANCE, ALPHA = 0.02, 0.05
STEPS = 10_000
"""Thresholds are ten-thousandths: sure answers crowd just below 1."""
POWER = 0.8
SHOWN = (0.0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 1.0)
"""Thresholds of the table, beside the one that is chosen."""
_SEED = 7


@dataclass(frozen=True, slots=True)
class Tried:
    """One case, asked both ways. Seconds are a case's share of its batch, without the search; tokens are those read and those written."""

    group: str
    up: str | None
    """The rule that sends it up at once."""
    holds: bool
    """Whether the smaller base gave an answer that its passages bear out."""
    confidence: float
    small_right: bool
    own_right: bool
    small_seconds: float = 0.0
    own_seconds: float = 0.0
    small_tokens: int = 0
    own_tokens: int = 0

    def sent(self, threshold: float | None) -> bool:
        """Whether the smaller base's answer is given at that threshold; None: never."""
        return threshold is not None and self.up is None and self.holds and self.confidence >= threshold

    def lost(self, threshold: float | None) -> bool:
        """Whether routing makes a right answer wrong."""
        return self.sent(threshold) and self.own_right and not self.small_right

    def gained(self, threshold: float | None) -> bool:
        """Whether routing makes a wrong answer right."""
        return self.sent(threshold) and self.small_right and not self.own_right


@dataclass(frozen=True, slots=True)
class Figures:
    """What a threshold brings and costs, each a mean over the cases with its 95 % interval."""

    threshold: float | None
    small: Estimate
    """Share of the requests that the smaller base answers."""
    cost: Estimate
    """Share that routing makes wrong."""
    upper: float
    """The cost is below it with confidence 1 - alpha."""
    gained: float
    """Share that routing makes right."""
    right: float
    """Share of right answers with routing; without it, `own_right`."""
    own_right: float
    seconds_saved: Estimate
    """Of the engines' time a request, beside the own engine alone; below 0: routing takes more."""
    own_seconds: float
    tokens_saved: Estimate
    """Tokens a request that the own engine neither reads nor writes; what the smaller base does for it: `small_tokens`."""
    small_tokens: float


@dataclass(frozen=True, slots=True)
class Learned:
    """What was learned. `threshold` is None where none can be shown to cost no more than the tolerance; `why` says it in words."""

    threshold: float | None
    why: str
    tolerance: float
    alpha: float
    cases: int
    groups: int
    missing: int
    """Cases that one of the two could not be measured on."""
    at_once: Mapping[str, int]
    """By rule, how many cases went up without the smaller base being asked."""
    chosen: Figures
    halves: tuple[float | None, float | None]
    """The threshold that each half of the groups gives."""
    crossed: Figures
    """Each half measured at the other half's threshold. Its `threshold` is None."""
    table: tuple[Figures, ...]

    def told(self) -> dict[str, Any]:
        """JSON-able; a figure that there is none of is None."""
        found: dict[str, Any] = _finite(asdict(self))
        return found


def learn(tried: Sequence[Tried], tolerance: float = TOLERANCE, alpha: float = ALPHA, missing: int = 0) -> Learned:
    """The lowest threshold whose quality cost is shown to be within the tolerance, and what it brings. BadInput without a case."""
    if not tried:
        raise BadInput(
            "there is no case to learn from", where="gate.goldens", todo="write goldens, or mend what keeps them from being asked"
        )
    chosen = choose(tried, tolerance, alpha)
    first, second = halves(tried)
    thresholds = choose(first, tolerance, alpha), choose(second, tolerance, alpha)
    crossed = [*((one, thresholds[0]) for one in second), *((one, thresholds[1]) for one in first)]
    shown = sorted({*SHOWN, *(() if chosen is None else (chosen,))}, reverse=True)
    return Learned(
        threshold=chosen,
        why=_why(tried, chosen, tolerance, alpha),
        tolerance=tolerance,
        alpha=alpha,
        cases=len(tried),
        groups=len({one.group for one in tried}),
        missing=missing,
        at_once=_counts(one.up for one in tried if one.up is not None),
        chosen=figures([(one, chosen) for one in tried], alpha, chosen),
        halves=thresholds,
        crossed=figures(crossed, alpha),
        table=tuple(figures([(one, at) for one in tried], alpha, at) for at in shown),
    )


def choose(tried: Sequence[Tried], tolerance: float, alpha: float) -> float | None:
    """The lowest threshold, in ten-thousandths, that passes with all above it; of those that send the same cases the highest. None when
    the first fails, or when the smaller base answers nothing at any that passes."""
    passed: float | None = None
    lost_before, bound = 0, cost_bound([(one, None) for one in tried], alpha)
    # Between two confidences nothing changes, so only those are looked at.
    for threshold in sorted({_floor(one.confidence) for one in tried if one.sent(0.0)}, reverse=True):
        lost = sum(one.lost(threshold) for one in tried)
        if lost != lost_before:
            # Who is lost at one threshold is lost at every lower one: equal counts are equal cases.
            lost_before, bound = lost, cost_bound([(one, threshold) for one in tried], alpha)
        if bound > tolerance:
            break
        passed = threshold
    return passed


def cost_bound(routed: Sequence[tuple[Tried, float | None]], alpha: float) -> float:
    """Below it is the share of requests that routing makes wrong, with confidence 1 - alpha; 1 without a case."""
    lost = [float(one.lost(at)) for one, at in routed]
    return paired_loss(lost, [0.0] * len(lost), [one.group for one, _ in routed], alpha, flips=1).upper if lost else 1.0


def halves(tried: Sequence[Tried]) -> tuple[list[Tried], list[Tried]]:
    """The cases in two, by group, drawn by a fixed seed: cases about one document stand or fall together."""
    groups = sorted({one.group for one in tried})
    random.Random(_SEED).shuffle(groups)  # noqa: S311 - repeatable, not secret
    first = set(groups[: len(groups) // 2])
    return [one for one in tried if one.group in first], [one for one in tried if one.group not in first]


def figures(routed: Sequence[tuple[Tried, float | None]], alpha: float, threshold: float | None = None) -> Figures:
    """What routing each case at its threshold brings and costs."""
    groups = [one.group for one, _ in routed]

    def share(value: Callable[[Tried, float | None], bool]) -> Estimate:
        return estimate([float(value(one, at)) for one, at in routed], groups)

    def mean(value: Callable[[Tried, float | None], float]) -> Estimate:
        return _mean([value(one, at) for one, at in routed], groups)

    own_right, cost, gained = share(lambda one, _: one.own_right).mean, share(Tried.lost), share(Tried.gained).mean
    return Figures(
        threshold=threshold,
        small=share(Tried.sent),
        cost=cost,
        upper=cost_bound(routed, alpha),
        gained=gained,
        right=own_right - cost.mean + gained,
        own_right=own_right,
        seconds_saved=mean(_seconds_saved),
        own_seconds=mean(lambda one, _: one.own_seconds).mean,
        tokens_saved=mean(lambda one, at: one.own_tokens if one.sent(at) else 0),
        small_tokens=mean(lambda one, at: one.small_tokens if _asked(one, at) else 0).mean,
    )


def line(routing: Routing, threshold: float) -> str:
    """What to write into the domain file. The folder's name is quoted: it may hold anything."""
    import json

    return f"serving:\n  routing:\n    small: {json.dumps(routing.small)}\n    threshold: {threshold:g}"


# --- asking -------------------------------------------------------------------------------------------------------------


def observe(settings: Settings, domain: DomainConfig, candidate: Candidate, routing: Routing, small: Small) -> tuple[list[Tried], int]:
    """(cases asked both ways, how many could not be). Needs Triton; what a gate has asked before comes from its cache.

    Unavailable while Triton is down; errors of parts as `answer.open_parts`.
    """
    from pipelines.evaluation.cases import GOLDENS, HELD_OUT
    from pipelines.registry import artifacts
    from pipelines.serving.answer import open_parts
    from pipelines.serving.cells import cases
    from pipelines.serving.client import Engine

    adapter = artifacts.get(settings, candidate.adapter_id) if candidate.adapter_id else None
    asked = [one for one in cases(settings, domain, candidate).asked if one.suite in (GOLDENS, HELD_OUT)]
    own = Cell("own", open_parts(settings, candidate), adapter.sha256 if adapter is not None else "")
    engines = {name: Engine(settings, name) for name in (own.parts.engine, small.engine)}
    engines[own.parts.engine].ensure_loaded()
    engines[small.engine].load()
    for name, weights in ((own.parts.engine, own.parts.adapter), (small.engine, "")):
        engines[name].probe(weights, own.parts.chat and (name != small.engine or small.turns))
    return try_both(settings, domain.domain, asked, own, routing, small, engines)


def try_both(
    settings: Settings, domain: str, asked: Sequence[Any], own: Cell, routing: Routing, small: Small, engines: Mapping[str, Any]
) -> tuple[list[Tried], int]:
    """The same for cases, a cell and engines at hand. Cases that go up at once are put to the smaller base too, and do not count it."""
    from pipelines.serving import asking
    from pipelines.serving.generations import Generations, place
    from pipelines.serving.routing import measured

    cheap = measured.small_cell(own, small)
    generations = Generations(place(settings, domain))
    replies = asking.ask([own, cheap], asked, generations, engines)
    theirs, mine = replies[own.name], replies[cheap.name]
    right = {name: {row.place: _right(row.scores) for row in asking.rows(asked, found)} for name, found in replies.items()}
    seconds = {}
    for cell in (own, cheap):
        # All of them are in the cache by now, where they kept their time.
        prompts = [reply.prompt for reply in replies[cell.name].values() if reply.prompt and reply.answered is not None]
        made = generations.write(cell.model, prompts, engines[cell.parts.engine])
        seconds[cell.name] = {prompt: one.seconds for prompt, one in made.items() if not isinstance(one, str)}
    found, missing = [], 0
    for one in asked:
        reply, other = theirs.get(one.place), mine.get(one.place)
        known, said = (reply.answered if reply else None), (other.answered if other else None)
        verdict = right[own.name].get(one.place)
        if reply is None or known is None or verdict is None:
            missing += 1
            continue
        question = one.case.question
        found.append(
            Tried(
                group=one.group,
                up=measured.rule(question, reply, own.parts, routing, turns=small.turns),
                holds=other is not None and measured.answers(question, other, own.parts),
                confidence=said.confidence if said is not None else 0.0,
                small_right=bool(right[cheap.name].get(one.place)),
                own_right=verdict,
                small_seconds=seconds[cheap.name].get(reply.prompt, 0.0),
                own_seconds=seconds[own.name].get(reply.prompt, 0.0),
                small_tokens=said.tokens_in + said.tokens_out if said is not None else 0,
                own_tokens=known.tokens_in + known.tokens_out,
            )
        )
    return found, missing


def _right(scores: Mapping[str, float | None]) -> bool | None:
    """Whether it is the expected answer, and where that can be told, cites what states it; None without a number."""
    votes = [scores[name] for name in ("answer_correct", "amount_and_citation", "abstained") if name in scores]
    return None if not votes or None in votes else all(votes)


def _asked(one: Tried, threshold: float | None) -> bool:
    return threshold is not None and one.up is None


def _seconds_saved(one: Tried, threshold: float | None) -> float:
    return (one.own_seconds if one.sent(threshold) else 0.0) - (one.small_seconds if _asked(one, threshold) else 0.0)


def _mean(values: Sequence[float], groups: Sequence[str]) -> Estimate:
    """`estimate` of numbers on a scale of their own; where all are one number there is no interval to speak of."""
    low, high = min(values, default=0.0), max(values, default=0.0)
    if high - low < 1e-12:
        return Estimate(low, low, low, len(values), 0)
    found = estimate([(value - low) / (high - low) for value in values], groups)
    mean, under, over = (low + (high - low) * one for one in (found.mean, found.low, found.high))
    return Estimate(mean, under, over, found.n, found.missing)


def _why(tried: Sequence[Tried], chosen: float | None, tolerance: float, alpha: float) -> str:
    shown = f"at {1 - alpha:.0%} confidence"
    if chosen is not None:
        bound = cost_bound([(one, chosen) for one in tried], alpha)
        return f"from {chosen:g} on its answers cost at most {bound:.4f}, within {tolerance:g} {shown}"
    if not any(one.sent(0.0) for one in tried):
        return "the smaller base gave no answer that holds against the passages, so there is nothing to route"
    least = paired_loss([0.0] * len(tried), [0.0] * len(tried), [one.group for one in tried], alpha, flips=1)
    if least.upper > tolerance:
        needed = cases_needed(least, tolerance, alpha, POWER)
        told = f"{needed} would be needed" if needed is not None else "no number would do"
        return f"{least.groups} groups cannot show a cost within {tolerance:g} {shown}, not even without a loss: {told}"
    return f"its surest answers already cost more than {tolerance:g} {shown}"


def _floor(confidence: float) -> float:
    return math.floor(confidence * STEPS + 1e-9) / STEPS


def _counts(reasons: Iterable[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for reason in reasons:
        found[reason] = found.get(reason, 0) + 1
    return found


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
