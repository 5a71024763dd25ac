"""Sampled kept answers, measured one by one: `groundedness` here, other metrics by the judge of `gate.judge`, within a day's money.

Which answers: so many of a day (`samples_per_day`), spread over it by time, the uncertain ones more likely than the others, each with a
probability that is known and kept. Systematic sampling with probability proportional to size: W. G. Madow, "On the Theory of Systematic
Sampling, II", Annals of Mathematical Statistics 20, 1949. `observations.mean` weighs by it, so that what is said of all answers is not only
of the doubtful ones.

A caller's words leave this host only where the domain is public: elsewhere a judge that is not on this host is not asked.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pipelines.config import DomainConfig, Settings
from pipelines.evaluation import groundedness, judge_calls
from pipelines.evaluation import judge as judges
from pipelines.evaluation.judge_metrics import NEEDS
from pipelines.gate_config import Judge
from pipelines.manifest import sha256
from pipelines.monitoring import observations
from pipelines.monitoring.observations import PROBE_KEY, Figure
from pipelines.monitoring.texts import SETTLES
from pipelines.traffic import samples
from pipelines.traffic.samples import Sample

MARK = "judging"
_DAY = timedelta(days=1)
_SURE_ONES = 0.25
"""How much likelier than not at all a certain answer is drawn, beside 1.25 for one without any confidence: none is ever left out."""
OURS = "groundedness"


@dataclass(frozen=True, slots=True)
class Drawn:
    """An answer, and the probability with which it was drawn."""

    sample: Sample
    p: float


def judge(settings: Settings, domain: DomainConfig, now: datetime, environ: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Draw from the kept answers since the last run, measure them, and enter one `judged_mean` for each, with its request's id.

    {seen, drawn, figures, cost, problems}. What the judge costs is remembered before it is asked: a run that is killed has spent what it
    held back. `problems`: why something was not judged, in words.
    """
    rule, today = domain.monitors.judging, now.date().isoformat()
    held = observations.state(settings, domain.domain, MARK)
    until = now - SETTLES
    since = max(datetime.fromisoformat(held["until"]), until - _DAY) if "until" in held else until - _DAY
    if rule.samples_per_day == 0 or since >= until:
        return {"seen": 0, "drawn": 0, "figures": 0, "cost": 0.0, "problems": []}
    used, spent = (held["drawn"], held["spent"] + held["held"]) if held.get("day") == today else (0, 0.0)
    seen = [one for one in samples.read(settings, domain.domain, since, until) if not one.abstained and one.key != PROBE_KEY]
    # By the time that has passed: what a quiet hour did not have is not made up for, so that no hour of the day is preferred.
    wanted = min(rule.samples_per_day * ((until - since) / _DAY), rule.samples_per_day - used)
    drawn = draw(seen, wanted, sha256([domain.domain, today, since.isoformat()]))
    scores, cost, problems, asked = _scores(settings, domain, drawn, max(0.0, rule.money_per_day - spent), today, spent, environ)
    figures = [_figure(one, scores[one.sample.request_id], asked) for one in drawn if scores.get(one.sample.request_id)]
    with observations.marked(settings, domain.domain, MARK) as (session, state):
        if state.get("until") != held.get("until"):
            problems = [*problems, "another run looked at these answers meanwhile"]
            state["spent"] = state.get("spent", 0.0) + cost
            return {"seen": len(seen), "drawn": 0, "figures": 0, "cost": cost, "problems": problems}
        entered = observations.add(session, domain.domain, figures)
        state |= {"day": today, "until": until.isoformat(), "drawn": used + len(drawn), "spent": spent + cost, "held": 0.0}
    return {"seen": len(seen), "drawn": len(drawn), "figures": entered, "cost": cost, "problems": problems}


def draw(seen: Sequence[Sample], wanted: float, seed: str) -> list[Drawn]:
    """`wanted` answers, rounded up or down by lot, each with its probability; all of them where there are no more. One seed, one draw."""
    lots = random.Random(seed)  # noqa: S311 - drawn to be drawn again
    order = sorted(seen, key=lambda one: (one.at, one.request_id))
    lots.shuffle(order)
    chances = probabilities([_SURE_ONES + 1 - min(1.0, max(0.0, one.confidence or 0.0)) for one in order], wanted)
    mark, sum_before, found = lots.random(), 0.0, []
    for one, p in zip(order, chances, strict=True):
        # Every whole number, plus the mark, that falls into this answer's stretch draws it.
        if math.floor(sum_before + p - mark) > math.floor(sum_before - mark) or p >= 1:
            found.append(Drawn(one, p))
        sum_before += p if p < 1 else 0.0
    return found


def probabilities(sizes: Sequence[float], wanted: float) -> list[float]:
    """Proportional to the sizes, at most 1, with the sum `wanted` (or their number, if that is less). Sizes are above 0."""
    if wanted >= len(sizes):
        return [1.0] * len(sizes)
    sure: set[int] = set()
    while True:
        rest = sum(size for place, size in enumerate(sizes) if place not in sure)
        factor = max(0.0, wanted - len(sure)) / rest if rest else 0.0
        more = {place for place, size in enumerate(sizes) if place not in sure and size * factor >= 1}
        if not more:
            return [1.0 if place in sure else size * factor for place, size in enumerate(sizes)]
        sure |= more


def _scores(
    settings: Settings,
    domain: DomainConfig,
    drawn: Sequence[Drawn],
    money: float,
    today: str,
    spent: float,
    environ: Mapping[str, str] | None,
) -> tuple[dict[str, dict[str, float]], float, list[str], str]:
    """request id -> metric -> score; what the judge cost; why something was not judged; the judge's model."""
    scores: dict[str, dict[str, float]] = {one.sample.request_id: {} for one in drawn}
    wanted = domain.monitors.judging.metrics
    if OURS in wanted:
        for one in drawn:
            said = one.sample.span or one.sample.answer
            scores[one.sample.request_id][OURS] = groundedness.groundedness(said, [passage.text for passage in one.sample.passages])
    asked, problem = _judge(domain, [name for name in wanted if name != OURS], money)
    if asked is None or not drawn:
        return scores, 0.0, [problem] if problem else [], ""
    with observations.marked(settings, domain.domain, MARK) as (_, state):
        # Spent, until the judge's own account is known.
        state |= {"day": today, "drawn": state.get("drawn", 0) if state.get("day") == today else 0, "spent": spent}
        state["held"] = asked.max_cost or 0.0
    inputs = [(one.sample.request_id, _input(one.sample)) for one in drawn]
    found = judges.score(asked, inputs, settings.var / "cache" / "judge", environ)
    for request_id, values in found.scores.items():
        scores[request_id] |= {name: value for name, value in values.items() if value is not None}
    return scores, float(found.facts["cost"]), [*([problem] if problem else []), *found.problems], asked.model


def _judge(domain: DomainConfig, names: Sequence[str], money: float) -> tuple[Judge | None, str]:
    """The judge with what it may be asked and may spend; or None, and why."""
    found, where = domain.gate.judge, "monitors.judging"
    if not names:
        return None, ""
    if unknown := sorted(set(names) - NEEDS.keys()):
        return None, f"{where}.metrics: no judge knows {', '.join(unknown)}; {OURS}, {', '.join(sorted(NEEDS))} are there"
    if found is None:
        return None, f"{where}.metrics: {', '.join(names)} need a judge, and gate.judge names none"
    if domain.privacy.profile != "public" and not judge_calls.local(found.url):
        return None, f"{where}: callers' words of a domain that is not public leave this host to no judge: {found.url}"
    costs = bool(found.price_in or found.price_out)
    if costs and money <= 0:
        return None, f"{where}: the day's money ({domain.monitors.judging.money_per_day:g}) is spent"
    changes = {"metrics": tuple(names), "repeated_cases": 0, "max_cost": money if costs else None}
    return found.model_copy(update=changes), ""


def _input(one: Sample) -> judges.JudgedInput:
    return judges.JudgedInput(one.question, one.span or one.answer, tuple(passage.text for passage in one.passages), "")


def _figure(one: Drawn, scores: Mapping[str, float], model: str) -> Figure:
    """Its value is the mean over the metrics; each stands in the detail."""
    detail = {"metrics": dict(scores), "weight": 1 / one.p, "p": one.p} | ({"model": model} if scores.keys() - {OURS} else {})
    value = sum(scores.values()) / len(scores)
    return Figure(one.sample.at, "judged_mean", "judge", value, release=one.sample.release, request_id=one.sample.request_id, detail=detail)
