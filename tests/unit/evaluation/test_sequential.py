"""The wealth of who bets against a canary: fair while it is no worse than tolerated, large soon after it is not."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from pipelines.errors import BadInput
from pipelines.evaluation import sequential
from pipelines.evaluation.sequential import BLOCK, STEPS, Evidence, ceiling, quantile


def mean_of_block(live_n: int, n: int, bet: float, step: int, tolerance: float, live: float, canary: float) -> float:
    """What a block is worth on average when these are the true rates: summed over every outcome."""
    odds = sequential._paired(live_n, n, bet, tolerance)[step]
    total = 0.0
    for a, b in itertools.product(range(live_n + 1), range(n + 1)):
        chance = math.comb(live_n, a) * live**a * (1 - live) ** (live_n - a) * math.comb(n, b) * canary**b * (1 - canary) ** (n - b)
        total += chance * math.exp(a * odds[0] + (live_n - a) * odds[1] + b * odds[2] + (n - b) * odds[3])
    return total


@pytest.mark.parametrize(("live_n", "n"), [(9, 1), (4, 4), (30, 4), (4, 17)])
@pytest.mark.parametrize("tolerance", [0.0, 0.01, 0.15])
def test_a_block_is_worth_no_more_than_its_stake_at_any_tolerated_pair_of_rates(live_n: int, n: int, tolerance: float) -> None:
    for bet, step, live in itertools.product((0.005, 0.1, 0.5), range(len(STEPS)), (0.0, 0.003, 0.05, 0.3, 0.8)):
        for canary in (min(1.0, live + tolerance) * part for part in (0.0, 0.5, 1.0)):
            assert mean_of_block(live_n, n, bet, step, tolerance, live, canary) <= 1 + 1e-9


def test_a_block_gains_where_the_bet_is_right() -> None:
    assert mean_of_block(36, 4, 0.1, STEPS.index(0.32), 0.15, 0.1, 0.57) > 1.5


def test_against_a_known_rate_no_lower_rate_gains() -> None:
    for ceiling_, true in itertools.product((0.01, 0.2, 0.6), (0.0, 0.005, 0.01)):
        for _, _, hit, miss in sequential._alone(ceiling_):
            assert true * math.exp(hit) + (1 - true) * math.exp(miss) <= 1 + 1e-9


def stream(rate_live: float, rate: float, n: int, seed: int, share: float = 0.1, **more: float) -> Evidence:
    draw = np.random.default_rng(seed)
    evidence = Evidence(0.05, **more)  # type: ignore[arg-type]
    for canary, chance in zip((draw.random(n) < share).tolist(), draw.random(n).tolist(), strict=True):
        evidence.see(canary=canary, hit=chance < (rate if canary else rate_live))
    return evidence


def test_at_the_very_edge_of_what_is_tolerated_few_reach_the_alarm_however_often_one_looks() -> None:
    reached = 0
    for seed in range(300):
        draw = np.random.default_rng(seed)
        evidence = Evidence(0.05)
        for canary, chance in zip((draw.random(3_000) < 0.2).tolist(), draw.random(3_000).tolist(), strict=True):
            evidence.see(canary=canary, hit=chance < (0.15 if canary else 0.1))
            if evidence.value >= 20:
                reached += 1
                break
    assert reached <= 300 * 0.05


@pytest.mark.parametrize("rate", [0.02, 0.1, 0.15])
def test_rates_that_drift_together_are_no_evidence(rate: float) -> None:
    evidence, draw = Evidence(0.05), np.random.default_rng(3)
    for k in range(6_000):
        # Both three times as bad from the middle on, as in a rush hour.
        now = rate * (3 if k > 3_000 else 1)
        evidence.see(canary=bool(draw.random() < 0.1), hit=bool(draw.random() < now))
    assert evidence.value < 20


def test_what_is_worse_is_found_soon() -> None:
    assert stream(0.01, 0.3, 1_000, 1).value > 1_000
    assert stream(0.01, 0.01, 1_000, 1).value < 1


def test_a_canary_that_turns_bad_late_is_found_too() -> None:
    evidence, draw = Evidence(0.05), np.random.default_rng(5)
    for k in range(10_000):
        canary = bool(draw.random() < 0.1)
        evidence.see(canary=canary, hit=bool(draw.random() < (0.4 if canary and k > 6_000 else 0.05)))
    assert evidence.value > 1_000


def test_what_was_known_before_is_not_needed_but_helps() -> None:
    bare, known = (stream(0.1, 0.5, 300, 2, known=before) for before in ((0, 0), (100, 1_000)))  # type: ignore[arg-type]
    assert known.value > bare.value > 1


def test_without_live_beside_it_the_known_rate_is_the_measure() -> None:
    assert stream(0.0, 0.3, 400, 1, share=1.0, ceiling=0.15).value > 100
    assert stream(0.0, 0.1, 400, 1, share=1.0, ceiling=0.15).value < 1
    assert stream(0.0, 1.0, 400, 1, share=1.0, ceiling=1.0).value == pytest.approx(1.0)


def test_only_counts_close_a_block() -> None:
    evidence = Evidence(0.0)
    for _ in range(BLOCK):
        evidence.see(canary=True, hit=True)
    assert (evidence.blocks, evidence.value) == (0, pytest.approx(1.0))
    for _ in range(BLOCK):
        evidence.see(canary=False, hit=False)
    assert evidence.blocks == 1 and evidence.value > 1
    evidence.see(canary=True, hit=True)
    evidence.fresh()
    assert evidence.canary == [BLOCK + 1, BLOCK + 1]


def test_a_ceiling_holds_the_rate_that_was_seen_but_for_its_chance() -> None:
    # 1 - 0.05^(1/59): the rule of three, exactly.
    assert ceiling(0, 59, 0.0, 0.05) == pytest.approx(1 - 0.05 ** (1 / 59))
    assert ceiling(5, 5, 0.1, 0.05) == 1.0
    assert ceiling(100, 1_000, 0.15, 0.01) == pytest.approx(0.274, abs=0.002)


def test_a_quantile_is_one_of_the_values() -> None:
    assert quantile([5.0, 1.0, 4.0, 2.0, 3.0], 0.9) == 5.0
    assert quantile([float(k) for k in range(1, 11)], 0.9) == 9.0
    assert quantile([7.0], 0.5) == 7.0


@pytest.mark.parametrize("tolerance", [-0.1, 1.1, math.nan])
def test_a_tolerance_that_is_no_share_is_bad_input(tolerance: float) -> None:
    with pytest.raises(BadInput):
        Evidence(tolerance)


def test_counts_that_are_none_are_bad_input() -> None:
    for known in ((3, 2), (-1, 2)):
        with pytest.raises(BadInput):
            Evidence(0.1, known)
        with pytest.raises(BadInput):
            ceiling(*known, 0.0, 0.05)
    with pytest.raises(BadInput):
        quantile([], 0.9)
