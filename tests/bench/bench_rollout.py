"""What the rollout's tests do, simulated: `python -m tests.bench.bench_rollout [--rollouts 200] [--json FILE]`.

Records as the gateway writes them: latency and tokens log-normal (sigma 0.5), confidence 1 - a beta, 0.5 % errors, 1 % guard hits, 8 %
withheld, half of the answers judged; arrivals Poisson. Live's last 1,000 answers are known before. The real tests look after every record,
so every moment is a look.

Equal canaries at several rates and shares: how many are taken back. Worse ones: how many are found in the time given, after how many
answers of the canary (median, and of nine rollouts in ten) and minutes, and how many within two minutes of *enough traffic*: what one look
with the same alpha needs to find that very fault nine times of ten, had one known beforehand what to look for. Beside them, on the same
streams, a plain rule looked at every minute: taken back where the canary's mean of the last minute is above twice live's (errors, guard
hits, withheld, latency, tokens), if both answered at least 20.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import NormalDist, median
from typing import Any

import numpy as np

from pipelines.rollout_config import Rollout, Stage, Tolerances
from pipelines.serving.canary.signals import TESTS, Record
from pipelines.serving.canary.weighing import Before, Weighing

LIVE, CANARY = "d/r1", "d/r2"
SIGMA, WITHHELD, ERRORS, GUARDS, WRONG = 0.5, 0.08, 0.005, 0.01, 0.1
ALPHA = 0.01
LEAST = 20
"""Answers of each side in a minute, without which the plain rule says nothing."""


@dataclass(frozen=True)
class Fault:
    """How a canary differs: factors, and shares of its own. `live_guards`: of both, before the fault."""

    name: str
    test: str = ""
    longer: float = 1.0
    slower: float = 1.0
    errors: float = ERRORS
    withheld: float = WITHHELD
    wrong: float = WRONG
    guards: float = GUARDS
    live_guards: float = GUARDS
    tolerances: Tolerances = field(default_factory=Tolerances)


EQUAL = Fault("equal")
TIGHT = Tolerances(guards=0.01, quality=0.05)
FAULTS = (
    Fault("tokens doubled", "tokens_out", longer=2.0),
    Fault("2x slower", "latency", slower=2.0),
    Fault("1.5x slower", "latency", slower=1.5),
    Fault("5 % errors", "errors", errors=0.05),
    Fault("quality - 15 points (withheld)", "withheld", withheld=WITHHELD + 0.15),
    Fault("the same, tolerance 0.05", "withheld", withheld=WITHHELD + 0.15, tolerances=TIGHT),
    Fault("quality - 15 points (judged)", "wrong", wrong=WRONG + 0.15),
    Fault("guard hits 5 -> 10 %", "guards", guards=0.1, live_guards=0.05),
    Fault("the same, tolerance 0.01", "guards", guards=0.1, live_guards=0.05, tolerances=TIGHT),
)


def main(argv: list[str]) -> int:
    """Print both tables; write JSON where `--json` says so."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rollouts", type=int, default=200)
    parser.add_argument("--worse", type=int, default=40, help="rollouts of each fault")
    parser.add_argument("--requests", type=int, default=6_000, help="of an equal rollout")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(argv)
    started = time.perf_counter()
    print(f"{'equal canary':<34}{'rollouts':>9}{'taken back':>12}{'95 % interval':>18}{'plain rule':>12}")  # noqa: T201
    equal = []
    for rate, share in () if given.rollouts == 0 else ((1, 0.1), (5, 0.1), (20, 0.1), (5, 0.5), (5, 0.95)):
        equal.append(row := _equal(rate, share, given.rollouts, given.requests))
        label = f"{rate} requests/s, share {share:g}"
        told = f"{row['low']:.1%} to {row['high']:.1%}"
        print(f"{label:<34}{row['rollouts']:>9}{row['taken_back']:>12}{told:>18}{row['plain']:>11.1%}", flush=True)  # noqa: T201
    heads = ("found", "answers", "of 9 in 10", "minutes", "enough", "within 2", "plain rule")
    print(f"\n{'worse canary, share 0.1':<34}{'rps':>5}" + "".join(f"{head:>12}" for head in heads))  # noqa: T201
    worse = []
    for fault in FAULTS:
        for rate, minutes in ((5, 180), (20, 60)):
            worse.append(row := _worse(fault, rate, minutes, given.worse))
            shown = [
                f"{row['found']:.0%}",
                _shown(row["answers"], 0),
                _shown(row["answers_nine_of_ten"], 0),
                _shown(row["minutes"], 1),
                f"{row['enough']:,}",
                f"{row['within_two_minutes']:.0%}",
                f"{row['plain']:.0%}",
            ]
            print(f"{fault.name:<34}{rate:>5}" + "".join(f"{one:>12}" for one in shown), flush=True)  # noqa: T201
    took = round(time.perf_counter() - started)
    print(f"{took} s")  # noqa: T201
    if given.json:
        given.json.write_text(json.dumps({"equal": equal, "worse": worse, "seconds": took}, indent=2), encoding="utf-8")
    return 0


def _equal(rate: float, share: float, rollouts: int, requests: int) -> dict[str, Any]:
    taken = plain = 0
    for seed in range(rollouts):
        draw = np.random.default_rng([seed, int(rate * 100), int(share * 100)])
        found, by_rule = _run(EQUAL, rate, share, requests / rate, draw, to_the_end=True)
        taken += found is not None
        plain += by_rule is not None
    low, high = _wilson(taken, rollouts)
    row = {"rate": rate, "share": share, "rollouts": rollouts, "requests": requests, "taken_back": taken, "low": low, "high": high}
    return row | {"plain": plain / rollouts}


def _worse(fault: Fault, rate: float, minutes: float, rollouts: int) -> dict[str, Any]:
    needed = enough(fault)
    answers: list[float] = []
    when: list[float] = []
    beyond: list[float] = []
    plain = 0
    for seed in range(rollouts):
        draw = np.random.default_rng([seed, 7, int(rate)])
        found, by_rule = _run(fault, rate, 0.1, minutes * 60, draw, needed=needed)
        plain += by_rule is not None and (found is None or by_rule <= found.seconds)
        if found is not None:
            answers.append(found.answers)
            when.append(found.seconds / 60)
            beyond.append((found.seconds - found.enough_at) / 60)
    told = {"answers": answers, "minutes": when, "beyond": beyond}
    row: dict[str, Any] = {"fault": asdict(fault) | {"tolerances": fault.tolerances.model_dump()}, "rate": rate, "given_minutes": minutes}
    row |= {"found": len(answers) / rollouts, "enough": needed, "plain": plain / rollouts, "rollouts": rollouts}
    row |= {name: median(values) if values else None for name, values in told.items()}
    within = sum(one <= 2 for one in beyond) / rollouts
    # Of all rollouts: one that was not found in the time given would have taken longer.
    nine = sorted(answers)[math.ceil(0.9 * rollouts) - 1] if len(answers) >= 0.9 * rollouts else None
    return row | {"answers_nine_of_ten": nine, "worst": max(beyond, default=None), "within_two_minutes": within}


@dataclass(frozen=True)
class Found:
    """After how many answers of the canary and seconds, and when there had been enough."""

    answers: int
    seconds: float
    enough_at: float


def _run(
    fault: Fault, rate: float, share: float, seconds: float, draw: np.random.Generator, *, needed: int = 0, to_the_end: bool = False
) -> tuple[Found | None, float | None]:
    """When the tests found it, and when the plain rule did; up to the first of the tests, or to the end for the rule."""
    stage = Stage(share=share, minutes=0)
    policy = Rollout(steps=(stage,), alpha=ALPHA, tolerances=fault.tolerances)
    same = Fault("before", live_guards=fault.live_guards)
    before = Before.of((record for _, record in _records(same, rate, 0.0, 1_000 / rate, draw)), LIVE)
    weighing = Weighing(policy, CANARY, LIVE, before)
    weighing.enter(stage)
    rule, ruled, found, enough_at = PlainRule(), None, None, math.inf
    for at, record in _records(fault, rate, share, seconds, draw):
        if found is None:
            weighing.feed(record)
            if weighing.answered >= needed and enough_at == math.inf:
                enough_at = at
            if weighing.alarm is not None:
                found = Found(weighing.answered, at, min(enough_at, at))
        if ruled is None and rule.see(at, record):
            ruled = at
        if found is not None and (ruled is not None or not to_the_end):
            break
    return found, ruled


def _records(fault: Fault, rate: float, share: float, seconds: float, draw: np.random.Generator) -> Iterator[tuple[float, Record]]:
    """(seconds, record), in chunks drawn at once."""
    at, number = 0.0, 0
    while at < seconds:
        n = 2_000
        times = at + np.cumsum(draw.exponential(1 / rate, n))
        canary = draw.random(n) < share
        tokens = np.exp(draw.normal(math.log(40), SIGMA, n)) * np.where(canary, fault.longer, 1.0)
        latency = np.exp(draw.normal(math.log(400), SIGMA, n)) * np.where(canary, fault.slower, 1.0)
        tokens_in = np.exp(draw.normal(math.log(300), 0.3, n))
        sure = 1 - draw.beta(2, 12, n)
        bad = draw.random((4, n))
        failed = bad[0] < np.where(canary, fault.errors, ERRORS)
        guarded = bad[1] < np.where(canary, fault.guards, fault.live_guards)
        withheld = bad[2] < np.where(canary, fault.withheld, WITHHELD)
        wrong = bad[3] < np.where(canary, fault.wrong, WRONG)
        judged = draw.random(n) < 0.5
        columns = (times, canary, tokens, latency, tokens_in, sure, failed, guarded, withheld, wrong, judged)
        for when, mine, out, took, given, certain, fails, met, held, is_wrong, is_judged in zip(
            *(c.tolist() for c in columns), strict=True
        ):
            number += 1
            if when >= seconds:
                return
            record: dict[str, Any] = {
                "release": CANARY if mine else LIVE,
                "canary": mine,
                "shadow": False,
                "request_id": str(number),
                "conversation": None,
                "status": 503 if fails else 200,
                "latency_ms": took,
                "cache": None,
                "guards": [],
            }
            if not fails:
                record |= {"tokens_in": int(given), "tokens_out": int(out) + 1, "confidence": certain, "abstained": held}
                record["guards"] = [{"rule": "numbers"}] if met else []
                if is_judged:
                    record["judged"] = 0.0 if is_wrong else 1.0
            yield when, record
        at = float(times[-1])


class PlainRule:
    """What many rollout tools do: each minute, the canary's mean against twice live's."""

    names = ("errors", "guards", "withheld", "latency", "tokens")

    def __init__(self) -> None:
        self.minute = 1
        self._clear()

    def _clear(self) -> None:
        self.sums = {mine: dict.fromkeys(self.names, 0.0) for mine in (True, False)}
        self.counts = {True: 0, False: 0}

    def see(self, at: float, record: Record) -> bool:
        """Whether the minute that ended before this record took the canary back."""
        found = False
        if at >= self.minute * 60:
            found = self._worse()
            self.minute = int(at // 60) + 1
            self._clear()
        mine = bool(record["canary"])
        told = self.sums[mine]
        self.counts[mine] += 1
        told["errors"] += record["status"] >= 500
        told["guards"] += bool(record["guards"])
        told["withheld"] += bool(record.get("abstained"))
        told["latency"] += record["latency_ms"]
        told["tokens"] += record.get("tokens_out", 0)
        return found

    def _worse(self) -> bool:
        if min(self.counts.values()) < LEAST:
            return False
        means = {mine: {name: value / self.counts[mine] for name, value in sums.items()} for mine, sums in self.sums.items()}
        return any(means[True][name] > 2 * means[False][name] for name in self.names)


def enough(fault: Fault) -> int:
    """Answers of the canary that one look needs, with what is tolerated as the null and the fault as the truth, both known: alpha of one
    test, power 0.9 (the usual two-sample formula; nine of live's answers for each of the canary's). Judged answers are half of all.
    """
    normal = NormalDist()
    tail = 1 - normal.cdf(normal.inv_cdf(0.9) - math.log(max(fault.slower, fault.longer)) / SIGMA)
    base, rate = {
        "errors": (ERRORS, fault.errors),
        "latency": (0.1, tail),
        "tokens_out": (0.1, tail),
        "withheld": (WITHHELD, fault.withheld),
        "wrong": (WRONG, fault.wrong),
        "guards": (fault.live_guards, fault.guards),
    }[fault.test]
    allowed = float(getattr(fault.tolerances, TESTS[fault.test].tolerance))
    spread_null = (base + allowed) * (1 - base - allowed) + base * (1 - base) / 9
    spread = rate * (1 - rate) + base * (1 - base) / 9
    z = normal.inv_cdf(1 - ALPHA / len(TESTS)) * math.sqrt(spread_null) + normal.inv_cdf(0.9) * math.sqrt(spread)
    return math.ceil((z / (rate - base - allowed)) ** 2 * (2 if fault.test == "wrong" else 1))


def _wilson(hits: int, n: int) -> tuple[float, float]:
    z = NormalDist().inv_cdf(0.975)
    centre = (hits + z * z / 2) / (n + z * z)
    half = z / (n + z * z) * math.sqrt(hits * (n - hits) / n + z * z / 4)
    return max(0.0, centre - half), min(1.0, centre + half)


def _shown(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
