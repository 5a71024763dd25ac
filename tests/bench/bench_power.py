"""What the gate's verdict is worth, simulated: `python -m tests.bench.bench_power SCORES [--metric M] [--cells A B] [--out OUT.json]`.

SCORES is `mtrag/reference_subset_with_human_evaluations.json` of the shared data (two models' recorded answers to the same tasks), or a
gate's `report.json`; then A and B are two cells of its matrix, and M the metric whose values are read from both.

Verdicts: cases are drawn with replacement from the recorded ones, and a share of them is answered anew: one release gets the one recorded
answer, the other the other, by a coin. So both are equal in truth and differ as two real answerers do. A worse candidate then loses 5
points: some of its answers turn into 0; a better one gains 5 by some that turn into 1. `judge` decides, slices by collection included; two
plain thresholds on the mean decide beside it.

Margins: how often a loss of exactly the margin passes as smaller, at most alpha if all is well: ours, and the paired percentile bootstrap.
For single 0/1 cases ours is exact over all counts, the rest is simulated.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.evaluation.cases import Row
from pipelines.evaluation.report import DATA, read_rows
from pipelines.evaluation.statistics import paired_loss
from pipelines.evaluation.verdict import judge
from pipelines.gate_config import Gate

Numbers = npt.NDArray[np.float64]

METRIC = "score"
CHANGE = 0.05
GATE = Gate(goldens=Path("g.jsonl"), floors={}, max_regression=0.05, alpha=0.05)
MODELS = ("llama-3.1-405b-instruct", "gpt-4o")
RESAMPLES = 500


@dataclass(frozen=True)
class Recorded:
    """Two answerers' scores in [0, 1] of the same cases, and what slice each case is of."""

    name: str
    one: Numbers
    other: Numbers
    types: list[str]


def main(argv: list[str]) -> int:
    """Print both tables; write JSON where `--out` says so."""
    parser = argparse.ArgumentParser()
    parser.add_argument("scores", type=Path)
    parser.add_argument("--metric", default="amount_and_citation")
    parser.add_argument("--cells", nargs=2, default=("candidate", "base + index"))
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--simulations", type=int, default=1_000)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args(argv)
    started = time.perf_counter()
    recorded = _report(given.scores, given.cells, given.metric) if given.scores.name == DATA else _mtrag(given.scores)
    verdicts = []
    print(f"{given.simulations} simulations of {given.cases} cases a row; margin {GATE.max_regression}, alpha {GATE.alpha}")  # noqa: T201
    print(f"{'':<44}{'verdict':^32}{'blocked by a plain threshold':>32}")  # noqa: T201
    heads = ("pass", "inconclusive", "fail", "mean >= 0.8", "live - 0.05")
    print(f"{'scores':<24}{'differ':>8}{'change':>10}  " + "".join(f"{head:>14}" for head in heads))  # noqa: T201
    for scores in recorded:
        # Coarse scores differ in few cases; numbers in nearly all that are answered anew.
        apart = float((scores.one != scores.other).mean())
        for share in dict.fromkeys(min(1.0, wanted / apart) for wanted in ((0.05, 0.1, 0.2) if apart < 0.3 else (0.1, apart))):
            for change in (-CHANGE, 0.0, CHANGE):
                row = _verdicts(scores, share, change, given.cases, given.simulations)
                verdicts.append(row)
                rates = "".join(f"{row[head]:>14.3f}" for head in heads)
                print(f"{scores.name:<24}{row['differ']:>8.3f}{row['change']:>+10.3f}  {rates}", flush=True)  # noqa: T201
    caught = min(1 - row["pass"] for row in verdicts if row["change"] < 0)
    blocked = max(row["fail"] for row in verdicts if row["change"] == 0)
    print(f"a drop of 5 points is caught in {caught:.1%} at least, an equal candidate blocked in {blocked:.1%} at most\n")  # noqa: T201

    margins = []
    print(f"{'a loss of 0.05 passes a margin of 0.05':<44}{'ours':>10}{'bootstrap':>12}{'mean':>10}")  # noqa: T201
    for groups in (False, True):
        for n in (20, 60, 100, 200):
            for gained in (0.0, 0.02, 0.1):
                row = _margins(n, gained, groups, given.simulations)
                margins.append(row)
                label = f"{n} cases{' in groups' if groups else ''}, {0.05 + gained:.0%} lost, {gained:.0%} gained"
                print(f"{label:<44}{row['ours']:>10.3f}{row['bootstrap']:>12.3f}{row['mean']:>10.3f}", flush=True)  # noqa: T201
    took = round(time.perf_counter() - started)
    print(f"{took} s")  # noqa: T201
    if given.out:
        found = {"cases": given.cases, "simulations": given.simulations, "caught": caught, "blocked": blocked, "seconds": took}
        given.out.write_text(json.dumps({**found, "verdicts": verdicts, "margins": margins}, indent=2), encoding="utf-8")
    return 0


def _mtrag(path: Path) -> list[Recorded]:
    """People's ratings of faithfulness (three, 1 to 4), as share of the scale and as yes or no, and a recorded metric that is a number."""
    told = json.loads(path.read_text(encoding="utf-8"))
    tasks = {task["task_id"]: task["Collection"] for task in told["tasks"]}
    marks = {(each["task_id"], each["model_id"]): each["annotations"] for each in told["evaluations"]}

    def values(metric: str, model: str) -> Numbers:
        return np.array([np.mean([float(mark["value"]) for mark in marks[task, model][metric].values()]) for task in tasks])

    one, other = (values("faithfulness", model) for model in MODELS)
    types = list(tasks.values())
    return [
        Recorded("people: faithful", (one >= 3).astype(float), (other >= 3).astype(float), types),
        Recorded("people: rating", (one - 1) / 3, (other - 1) / 3, types),
        Recorded("metric: rl_f", values("rl_f", MODELS[0]), values("rl_f", MODELS[1]), types),
    ]


def _report(path: Path, cells: Sequence[str], metric: str) -> list[Recorded]:
    sides = []
    for cell in cells:
        rows = read_rows(path, cell)
        sides.append({row.place: (value, row.type) for row in rows if (value := row.scores.get(metric)) is not None})
    places = [place for place in sides[0] if place in sides[1]]
    first, second = (np.array([side[place][0] for place in places]) for side in sides)
    if not (first != second).any():
        raise SystemExit(
            f"{metric}: {cells[0]} and {cells[1]} differ in none of {len(places)} cases, so nothing can be simulated from them"
        )
    return [Recorded(metric, first, second, [sides[0][place][1] for place in places])]


def _verdicts(scores: Recorded, share: float, change: float, cases: int, simulations: int) -> dict[str, Any]:
    draw = np.random.default_rng(5)
    mean = float(scores.one.mean() * (1 - share / 2) + scores.other.mean() * share / 2)
    turned = -change / mean if change < 0 else change / (1 - mean)
    seen: Counter[str] = Counter()
    for _ in range(simulations):
        picked = draw.integers(0, len(scores.one), cases)
        one, other = scores.one[picked], scores.other[picked]
        anew, coin = draw.random(cases) < share, draw.random(cases) < 0.5
        live, candidate = np.where(anew & coin, other, one), np.where(anew & ~coin, other, one)
        candidate = np.where(draw.random(cases) < turned, float(change > 0), candidate)
        types = [scores.types[case] for case in picked]
        seen[judge(_rows(candidate, types), _rows(live, types), None, GATE, {METRIC: True}, resamples=10).verdict] += 1
        seen["differ"] += int((live != candidate).sum())
        seen["mean >= 0.8"] += int(candidate.mean() < 0.8)
        seen["live - 0.05"] += int(candidate.mean() < live.mean() - 0.05)
    rates = {key: seen[key] / simulations for key in ("pass", "inconclusive", "fail", "mean >= 0.8", "live - 0.05")}
    return {"scores": scores.name, "mean": round(mean, 4), "differ": seen["differ"] / simulations / cases, "change": change, **rates}


def _rows(values: Numbers, types: list[str]) -> list[Row]:
    return [
        Row("goldens", str(k), "2020-01-01", str(k), types[k], "", "", "", None, None, "", [], False, 0.0, None, {METRIC: value})
        for k, value in enumerate(values.tolist())
    ]


def _margins(n: int, gained: float, grouped: bool, simulations: int) -> dict[str, Any]:
    """0/1 cases; in groups, two by two on average, six of ten groups stand or fall as one."""
    draw = np.random.default_rng(9)
    lost, margin = 0.05 + gained, 0.05
    row = {"n": n, "lost": lost, "gained": gained, "grouped": grouped}
    seen: Counter[str] = Counter()
    for _ in range(simulations):
        sizes = _sizes(n, draw) if grouped else np.ones(n, dtype=np.int64)
        names = np.repeat(np.arange(len(sizes)), sizes)
        chance = np.where((draw.random(len(sizes)) < 0.6)[names], draw.random(len(sizes))[names], draw.random(n))
        lose = np.where(chance < lost, 1, np.where(chance < lost + gained, -1, 0))
        sums = np.bincount(names, weights=lose)
        picked = draw.integers(0, len(sums), (RESAMPLES, len(sums)))
        means = sums[picked].sum(axis=1) / sizes[picked].sum(axis=1)
        seen["bootstrap"] += int(np.percentile(means, 95) <= margin + 1e-9)
        seen["mean"] += int(lose.mean() <= margin + 1e-9)
        if grouped:
            old, new = np.maximum(lose, 0), np.maximum(-lose, 0)
            seen["ours"] += int(paired_loss(old, new, [str(name) for name in names], flips=1).upper <= margin + 1e-9)  # type: ignore[arg-type]
    ours = seen["ours"] / simulations if grouped else _exact(n, lost, gained, margin)
    return {**row, "ours": ours, "bootstrap": seen["bootstrap"] / simulations, "mean": seen["mean"] / simulations}


def _sizes(n: int, draw: np.random.Generator) -> npt.NDArray[np.int64]:
    sizes: list[int] = []
    while (left := n - sum(sizes)) > 0:
        sizes.append(min(left, int(draw.choice([1, 1, 2, 2, 2, 4]))))
    return np.array(sizes)


def _exact(n: int, lost: float, gained: float, margin: float) -> float:
    from scipy import stats  # type: ignore[import-untyped]

    down, up = np.meshgrid(np.arange(n + 1), np.arange(n + 1), indexing="ij")
    chance = stats.binom.pmf(down, n, lost) * stats.binom.pmf(up, n - down, gained / (1 - lost))
    return float(sum(chance[d, u] for d, u in np.argwhere(chance > 1e-7).tolist() if _passes(n, d, u, margin)))


@cache
def _passes(n: int, down: int, up: int, margin: float) -> bool:
    old = [1.0] * down + [0.0] * up + [1.0] * (n - down - up)
    return paired_loss(old, [0.0] * down + [1.0] * (n - down)).upper <= margin + 1e-9


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
