"""Days of traffic that never were, with faults planted in them: what the detectors are measured on (tests/bench/bench_detectors.py).

A day has its rhythm, weekends are quieter, tenants differ in size, latency and tokens have heavy tails, and everything strays by itself: by
the hour (a process of Ornstein and Uhlenbeck), from day to day, and beyond what chance alone would do (rates and shares are drawn anew each
minute). Requests of one minute are independent given that minute's rates, so their counts, and how many fall into which bin of latency or
tokens, are drawn at once: exactly what counting single requests would give, at any size of traffic. `records` writes single requests of the
same minutes, as the gateway's log would have them.

Does not cover what a fault does to callers, who in truth ask again, or leave.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

Fault = Literal["token_spike", "latency_creep", "hallucination", "topic_drift", "injections", "tenant_errors"]
FAULTS: tuple[Fault, ...] = ("token_spike", "latency_creep", "hallucination", "topic_drift", "injections", "tenant_errors")
TENANTS = ("north", "south", "east", "west", "lab", "audit")
_SIZES = (0.34, 0.24, 0.18, 0.12, 0.08, 0.04)
TOPICS = 24
START = datetime(2026, 3, 2, tzinfo=UTC)
"""A Monday."""
SHARES = ("error", "abstained", "ungrounded", "injection")
_EDGES = {"tokens_out": (2.0, 3000.0), "tokens_in": (20.0, 20_000.0), "latency": (10.0, 100_000.0), "confidence": (0.0, 1.0)}
_BINS = {"tokens_out": 160, "tokens_in": 160, "latency": 240, "confidence": 50}


@dataclass(frozen=True)
class Rates:
    """What each minute is like: float arrays (minutes,), `tenants` (minutes, tenants), `topics` (minutes, topics) shares that sum to 1."""

    start: datetime
    requests: Any
    tenants: Any
    topics: Any
    middle: dict[str, Any]
    """Median of tokens out, tokens in, latency in ms; mean of confidence."""
    spread: dict[str, float]
    """Standard deviation of their logarithm; of confidence, the sum of its Beta's parameters."""
    shares: dict[str, Any]
    tenant_errors: Any
    """Factor of the share of errors, (minutes, tenants)."""
    release: Any
    """Number of the release that is live."""


@dataclass(frozen=True)
class Minutes:
    """What happened in each minute: int arrays (minutes,) and (minutes, kinds)."""

    start: datetime
    requests: Any
    tenants: Any
    errors: Any
    """(minutes, tenants)"""
    topics: Any
    bins: dict[str, Any]
    shares: dict[str, Any]
    release: Any


def rates(days: float, per_minute: float, seed: int, *, start: datetime = START) -> Rates:
    """Quiet traffic of `per_minute` requests on the mean of a weekday."""
    import numpy as np

    rng = np.random.default_rng([seed, 1])
    minutes = round(days * 1440)
    clock = np.arange(minutes) + (start.hour * 60 + start.minute)
    hour = (clock % 1440) / 60
    weekend = ((clock // 1440 + start.weekday()) % 7) >= 5
    day = clock // 1440

    def strays(hourly: float, daily: float) -> Any:
        """Factor about 1: an hour's memory, and a level of each day."""
        noise = rng.normal(0, hourly * np.sqrt(2 / 60), minutes)
        from scipy.signal import lfilter  # type: ignore[import-untyped]

        slow = lfilter([1.0], [1.0, -(1 - 1 / 60)], noise)
        return np.exp(slow + rng.normal(0, daily, day[-1] + 1)[day])

    busy = 0.25 + 0.75 * (np.exp(-(((hour - 10.5) / 3) ** 2)) + 0.9 * np.exp(-(((hour - 15.5) / 3.5) ** 2)))
    load = busy / busy.mean() * np.where(weekend, 0.35, 1.0) * strays(0.12, 0.08)
    mix = np.array(_SIZES) * np.exp(rng.normal(0, 0.15, (day[-1] + 1, len(TENANTS))))[day]
    popular = rng.dirichlet(np.full(TOPICS, 1.5))
    evening = rng.dirichlet(np.full(TOPICS, 1.5))
    at_night = (0.15 * (1 + np.cos((hour - 1) / 24 * 2 * np.pi)))[:, None]
    wander = rng.gamma(60.0, 1 / 60.0, (minutes // 60 + 2, TOPICS))[np.arange(minutes) // 60]
    topics = ((1 - at_night) * popular + at_night * evening) * wander
    return Rates(
        start=start,
        requests=per_minute * load,
        tenants=mix / mix.sum(axis=1, keepdims=True),
        topics=topics / topics.sum(axis=1, keepdims=True),
        middle={
            "tokens_out": 60 * strays(0.03, 0.02),
            "tokens_in": 900 * strays(0.03, 0.02),
            "latency": 600 * (0.85 + 0.15 * np.clip(load, 0, 4)) * strays(0.06, 0.03),
            "confidence": np.clip(0.86 * strays(0.006, 0.004), 0.5, 0.97),
        },
        spread={"tokens_out": 0.55, "tokens_in": 0.45, "latency": 0.6, "confidence": 14.0},
        shares={
            "error": 0.002 * strays(0.25, 0.1),
            "abstained": 0.08 * strays(0.1, 0.06),
            "ungrounded": 0.03 * strays(0.12, 0.08),
            "injection": 0.004 * strays(0.25, 0.15),
        },
        tenant_errors=np.ones((minutes, len(TENANTS))),
        release=np.full(minutes, 7),
    )


def plant(quiet: Rates, fault: Fault, at: int, minutes: int, seed: int) -> Rates:
    """The same with a fault from minute `at` on. Two creep: latency over 30 minutes, hallucination over 15; the others begin at once."""
    import numpy as np

    rng = np.random.default_rng([seed, 2])
    total = len(quiet.requests)
    on = np.zeros(total)
    on[at : at + minutes] = 1.0

    def creeps(over: int) -> Any:
        return on * np.clip((np.arange(total) - at + 1) / over, 0, 1)

    if fault == "token_spike":
        # A release with another prompt: twice the tokens out, a third more in.
        middle = quiet.middle | {"tokens_out": quiet.middle["tokens_out"] * (1 + on), "tokens_in": quiet.middle["tokens_in"] * (1 + on / 3)}
        return replace(quiet, middle=middle, release=quiet.release + (np.arange(total) >= at))
    if fault == "latency_creep":
        return replace(quiet, middle=quiet.middle | {"latency": quiet.middle["latency"] * (1 + 1.5 * creeps(30))})
    if fault == "hallucination":
        return replace(quiet, shares=quiet.shares | {"ungrounded": np.clip(quiet.shares["ungrounded"] + 0.22 * creeps(15), 0, 0.9)})
    if fault == "topic_drift":
        few = rng.permutation(TOPICS)[:3]
        new = np.zeros(TOPICS)
        new[few] = 1 / 3
        return replace(quiet, topics=quiet.topics * (1 - 0.7 * on[:, None]) + 0.7 * on[:, None] * new)
    if fault == "injections":
        # The campaign's questions come on top of the others.
        many = 0.12 * on
        return replace(
            quiet, requests=quiet.requests / (1 - many), shares=quiet.shares | {"injection": quiet.shares["injection"] * (1 - many) + many}
        )
    who = int(rng.integers(0, 3))
    factor = quiet.tenant_errors.copy()
    factor[:, who] = np.where(on > 0, 0.6 / quiet.shares["error"], factor[:, who])
    return replace(quiet, tenant_errors=factor)


def cut(of: Rates, begin: int, end: int) -> Rates:
    """Minutes `begin` until before `end` of it."""
    part = slice(begin, end)
    return replace(
        of,
        start=of.start + timedelta(minutes=begin),
        requests=of.requests[part],
        tenants=of.tenants[part],
        topics=of.topics[part],
        middle={name: one[part] for name, one in of.middle.items()},
        shares={name: one[part] for name, one in of.shares.items()},
        tenant_errors=of.tenant_errors[part],
        release=of.release[part],
    )


def draw(of: Rates, seed: int) -> Minutes:
    """Requests of those minutes."""
    import numpy as np

    rng = np.random.default_rng([seed, 3])
    # Negative binomial: callers come in bursts.
    n = rng.poisson(of.requests * rng.gamma(8.0, 1 / 8.0, len(of.requests)))
    tenants = rng.multinomial(n, of.tenants)
    wrong = rng.binomial(tenants, np.clip(of.shares["error"][:, None] * of.tenant_errors, 0, 1))
    bins = {name: rng.multinomial(n, _chances(of, name)) for name in _BINS}
    shares = {}
    for name in SHARES[1:]:
        share, doubt = of.shares[name], 80.0
        shares[name] = rng.binomial(n, rng.beta(share * doubt, (1 - share) * doubt))
    return Minutes(of.start, n, tenants, wrong, rng.multinomial(n, of.topics), bins, shares, of.release)


def middles(name: str) -> Any:
    """Value that stands for each bin, float array (bins,)."""
    import numpy as np

    low, high = _EDGES[name]
    if name == "confidence":
        return (np.arange(_BINS[name]) + 0.5) / _BINS[name]
    return np.exp(np.log(low) + (np.arange(_BINS[name]) + 0.5) / _BINS[name] * np.log(high / low))


def records(of: Rates, seed: int) -> Iterator[dict[str, Any]]:
    """The same minutes as records of the traffic log (`traffic.segments.Record`), in the order of their time."""
    import numpy as np

    rng = np.random.default_rng([seed, 4])
    minutes = draw(of, seed)
    for minute in np.flatnonzero(minutes.requests):
        n = int(minutes.requests[minute])
        drawn = {name: rng.permutation(np.repeat(middles(name), minutes.bins[name][minute])) for name in _BINS}
        topics = rng.permutation(np.repeat(np.arange(TOPICS), minutes.topics[minute]))
        who = np.repeat(np.arange(len(TENANTS)), minutes.tenants[minute])
        bad = np.concatenate([np.arange(k) < wrong for k, wrong in zip(minutes.tenants[minute], minutes.errors[minute], strict=True)])
        order = rng.permutation(n)
        marked = {name: rng.permutation(n) < minutes.shares[name][minute] for name in SHARES[1:]}
        begin = minutes.start + timedelta(minutes=int(minute))
        for k, second in enumerate(np.sort(rng.uniform(0, 60, n)).tolist()):
            wrong, of_tenant = bool(bad[order[k]]), TENANTS[who[order[k]]]
            abstained, ungrounded = bool(marked["abstained"][k]), bool(marked["ungrounded"][k])
            yield {
                "at": (begin + timedelta(seconds=second)).isoformat(timespec="milliseconds"),
                "request_id": f"s{seed}-{minute}-{k}", "conversation": f"s{seed}-{minute}-{k}",
                "release": f"simulated/r{minutes.release[minute]}", "prompt": f"grounded_extraction/v{minutes.release[minute]}",
                "canary": False, "shadow": False, "status": 503 if wrong else 200, "tenant": of_tenant, "key": f"{of_tenant}-key",
                "latency_ms": round(float(drawn["latency"][k]), 3), "first_ms": round(float(drawn["latency"][k]) * 0.4, 3),
                "tokens_in": round(float(drawn["tokens_in"][k])), "tokens_out": round(float(drawn["tokens_out"][k])),
                "confidence": round(float(drawn["confidence"][k]), 4), "abstained": abstained,
                "reason": "not_in_passage" if ungrounded else "no_answer" if abstained else None,
                "sources": [f"doc-{topics[k]}"], "cited": None if abstained else f"doc-{topics[k]}", "top_score": 0.5,
                "guards": [{"rule": "injection", "action": "flag", "score": 1.0, "where": "question"}] if marked["injection"][k] else [],
                "cache": None,
            }  # fmt: skip


def _chances(of: Rates, name: str) -> Any:
    """(minutes, bins): how likely a request of the minute falls into each bin."""
    import numpy as np
    from scipy.special import betainc, ndtr  # type: ignore[import-untyped]

    low, high = _EDGES[name]
    if name == "confidence":
        edges = np.linspace(0, 1, _BINS[name] + 1)
        below = betainc(of.middle[name][:, None] * of.spread[name], (1 - of.middle[name])[:, None] * of.spread[name], edges)
    else:
        edges = np.linspace(np.log(low), np.log(high), _BINS[name] + 1)
        # A tenth of the requests are of another kind, with 1.8 times the spread: log-normal alone is not as heavy as real latency.
        off = edges - np.log(of.middle[name])[:, None]
        below = 0.9 * ndtr(off / of.spread[name]) + 0.1 * ndtr(off / (1.8 * of.spread[name]))
    below[:, 0], below[:, -1] = 0.0, 1.0
    found = np.diff(below, axis=1)
    return found / found.sum(axis=1, keepdims=True)
