"""What the usual rules find of planted faults, how soon, and how often they err: `python -m tests.bench.bench_detectors [--json FILE]`.

Fourteen simulated days to learn from, fourteen quiet ones on which nothing is to be raised, then faults planted at random minutes of those
days, night and weekend too; each lasts six hours. A fault counts as detected when a rule that is meant for it is raised while it lasts. The
delay is from its first minute, in windows of five minutes, also for the two that creep. Quiet days count every rule.

Beside them, on the same windows: a line at mean + 3 standard deviations of the reference's windows, and lines set by hand, without holding
or clearing; crossings of one line within an hour are counted as one alarm, which flatters them.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.monitor_config import USUAL, Rule
from pipelines.monitoring import simulate as sim
from pipelines.monitoring import simulated_windows as win
from pipelines.monitoring.detectors import learn, look

DAY = 1440
DAYS = 14
LEAD, LASTS = 120, 360
APART = 60
"""Minutes within which crossings of a plain line are one alarm."""
MEANT = {
    "token_spike": ("tokens", "tokens_in"),
    "latency_creep": ("latency", "latency_typical"),
    "hallucination": ("ungrounded",),
    "topic_drift": ("topics",),
    "injections": ("injections",),
    "tenant_errors": ("errors", "tenant_errors"),
}
BY_HAND = {
    "error_share": (0.05, 1), "tokens_out_mean": (100.0, 1), "tokens_in_mean": (1400.0, 1), "latency_p95": (3000.0, 1),
    "latency_p50": (1200.0, 1), "ungrounded_share": (0.1, 1), "abstained_share": (0.2, 1), "confidence_mean": (0.75, -1),
    "topic_distance": (0.6, 1), "injection_share": (0.05, 1),
}  # fmt: skip
PLAIN_LEAST = 20
"""Requests without which a window crosses no plain line."""
WAYS = ("usual rules", "mean + 3 sigma", "lines by hand")


def main(argv: list[str]) -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--sizes", type=float, nargs="*", default=[5, 50, 500], help="requests a minute")
    parser.add_argument("--plants", type=int, default=5, help="of each fault, for each seed and size")
    parser.add_argument("--json", type=Path)
    told = parser.parse_args(argv)
    began = time.perf_counter()
    delays: dict[tuple[str, str, float], list[float | None]] = {}
    false: dict[tuple[str, float], list[int]] = {}
    by_rule: dict[str, int] = {}
    for size in told.sizes:
        for seed in range(told.first_seed, told.first_seed + told.seeds):
            one = _Site(size, seed)
            for way, names in one.quiet().items():
                false.setdefault((way, size), []).append(len(names))
                if way == WAYS[0]:
                    for name in names:
                        by_rule[name] = by_rule.get(name, 0) + 1
            for k in range(told.plants):
                for fault in sim.FAULTS:
                    for way, found in one.planted(fault, k).items():
                        delays.setdefault((way, fault, size), []).append(found)
    rows = [_row(way, fault, size, delays, false) for way in WAYS for fault in (*sim.FAULTS, "all") for size in (*told.sizes, None)]
    for row in rows:
        print(  # noqa: T201
            f"{row['way']:<16}{row['fault']:<16}{row['size'] or 'all':>6}{row['planted']:>6}{row['detected']:>8.1%}"
            f"{row['median_windows']:>7.1f}{row['p90_windows']:>7.1f}"
            + (f"{row['false_per_14_days']:>9.2f}" if row["fault"] == "all" else "")
        )
    seconds = time.perf_counter() - began
    print(f"false alarms of the usual rules by rule: {by_rule or 'none'}; {seconds:.0f} s")  # noqa: T201
    if told.json:
        told.json.write_text(json.dumps({"rows": rows, "false_by_rule": by_rule, "seconds": round(seconds, 1)}, indent=2), encoding="utf-8")
    return 0


class _Site:
    """One simulated site: what was learned of its first fourteen days."""

    def __init__(self, size: float, seed: int) -> None:
        self.seed = seed
        self.rates = sim.rates(2 * DAYS, size, seed)
        self.minutes = sim.draw(self.rates, seed)
        begin = self.minutes.topics[: DAYS * DAY].sum(axis=0)
        self.usual_topics = begin / begin.sum()
        self.states: dict[tuple[str, str], dict[str, Any]] = {}
        self.lines: dict[tuple[str, str], tuple[float, float]] = {}
        self.later: list[tuple[Rule, str, win.Series]] = []
        until = sim.START + timedelta(days=DAYS)
        for rule in USUAL:
            for group in win.groups(rule):
                found = win.series(self.minutes, rule, group, usual_topics=self.usual_topics)
                if found is None:
                    continue
                past = [one for one in win.seen(self.minutes, found, group) if one.at <= until] if rule.kind == "shift" else []
                self.states[rule.name, group] = learn(rule, past)
                before = _enough(found)[: DAYS * DAY]
                before = before[~np.isnan(before)]
                self.lines[rule.name, group] = (float(before.mean()), float(before.std())) if len(before) else (0.0, np.inf)
                self.later.append((rule, group, found))

    def quiet(self) -> dict[str, list[str]]:
        """Names of the rules that each way raised in the quiet days, once for each time."""
        raised: dict[str, list[str]] = {way: [] for way in WAYS}
        for rule, group, found in self.later:
            state = copy.deepcopy(self.states[rule.name, group])
            for one in win.seen(self.minutes, found, group, begin=DAYS * DAY):
                signal = look(rule, state, one)
                if signal is not None and signal.kind == "raised":
                    raised[WAYS[0]].append(rule.name)
            for way in WAYS[1:]:
                over = self._over(way, rule, group, found)[DAYS * DAY :]
                crossed = np.flatnonzero(over)
                raised[way] += [rule.name] * int(np.sum(np.diff(crossed, prepend=-DAY) > APART))
        return raised

    def planted(self, fault: sim.Fault, k: int) -> dict[str, float | None]:
        """Delay of each way in windows; None where it was not found."""
        rng = np.random.default_rng([self.seed, k, sim.FAULTS.index(fault)])
        begin = int(rng.integers(DAYS * DAY, 2 * DAYS * DAY - LEAD - LASTS))
        seed = int(rng.integers(1 << 30))
        minutes = sim.draw(sim.plant(sim.cut(self.rates, begin, begin + LEAD + LASTS), fault, LEAD, LASTS, seed), seed)
        at = minutes.start + timedelta(minutes=LEAD)
        first: dict[str, list[float]] = {way: [] for way in WAYS}
        for rule, group, _ in self.later:
            if rule.name not in MEANT[fault]:
                continue
            found = win.series(minutes, rule, group, usual_topics=self.usual_topics)
            assert found is not None
            state = copy.deepcopy(self.states[rule.name, group])
            for one in win.seen(minutes, found, group):
                signal = look(rule, state, one)
                if signal is not None and signal.kind == "raised" and one.at > at:
                    first[WAYS[0]].append((one.at - at).total_seconds() / one.seconds)
                    break
            for way in WAYS[1:]:
                over = np.flatnonzero(self._over(way, rule, group, found)[LEAD:])
                first[way] += [(float(over[0]) + 1) / 5] if len(over) else []
        return {way: min(some, default=None) for way, some in first.items()}

    def _over(self, way: str, rule: Rule, group: str, found: win.Series) -> Any:
        values = _enough(found)
        middle, sigma = self.lines[rule.name, group]
        direction = getattr(rule, "direction", "up")
        if way == WAYS[2]:
            line, sign = BY_HAND[rule.measure]
            return sign * (np.nan_to_num(values, nan=line) - line) > 0
        off = (np.nan_to_num(values, nan=middle) - middle) / max(sigma, 1e-12)
        return (off if direction == "up" else -off if direction == "down" else np.abs(off)) > 3


def _enough(found: win.Series) -> Any:
    return np.where(found.sizes >= PLAIN_LEAST, found.values, np.nan)


def _row(way: str, fault: str, size: float | None, delays: dict[Any, list[float | None]], false: dict[Any, list[int]]) -> dict[str, Any]:
    some = [one for (w, f, s), found in delays.items() if w == way and fault in (f, "all") and size in (s, None) for one in found]
    wrong = [one for (w, s), found in false.items() if w == way and size in (s, None) for one in found]
    found = sorted(one for one in some if one is not None)
    return {
        "way": way, "fault": fault, "size": size, "planted": len(some), "detected": len(found) / len(some),
        "median_windows": statistics.median(found) if found else float("nan"),
        "p90_windows": found[int(0.9 * len(found))] if found else float("nan"),
        "false_per_14_days": statistics.mean(wrong), "quiet_days": DAYS * len(wrong),
    }  # fmt: skip


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
