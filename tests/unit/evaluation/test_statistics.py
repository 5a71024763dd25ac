from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats  # type: ignore[import-untyped]

from pipelines.errors import BadInput
from pipelines.evaluation.statistics import Loss, cases_needed, estimate, holm, paired_loss

RIGHT, WRONG = 1.0, 0.0


def test_a_mean_has_a_seeded_interval_around_it() -> None:
    mixed = estimate([RIGHT] * 9 + [WRONG] * 3)
    assert mixed == estimate([RIGHT] * 9 + [WRONG] * 3)
    assert mixed.low < mixed.mean == 0.75 < mixed.high
    assert (mixed.n, mixed.missing) == (12, 0)


def test_what_has_no_spread_is_no_proof_of_perfection() -> None:
    perfect = estimate([RIGHT] * 12)
    assert (perfect.mean, perfect.high) == (1.0, 1.0)
    wilson = stats.binomtest(12, 12).proportion_ci(method="wilson")
    assert perfect.low == pytest.approx(wilson.low)
    assert estimate([WRONG] * 12).high == pytest.approx(1 - wilson.low)
    halves = estimate([0.5] * 12)
    assert halves.low < 0.3 < 0.7 < halves.high


@pytest.mark.parametrize("nothing", [[], [None], [math.nan, None], [math.inf]])
def test_without_a_value_there_are_no_figures(nothing: list[float | None]) -> None:
    found = estimate(nothing)
    assert math.isnan(found.mean) and math.isnan(found.low) and math.isnan(found.high)
    assert (found.n, found.missing) == (0, len(nothing))


def test_missing_values_are_counted_and_left_out() -> None:
    found = estimate([RIGHT, None, WRONG, math.nan])
    assert (found.mean, found.n, found.missing) == (0.5, 2, 2)


def test_cases_of_one_group_count_once() -> None:
    values = [RIGHT] * 20 + [WRONG] * 20
    apart = estimate(values)
    together = estimate(values, [f"document-{k // 10}" for k in range(40)])
    assert together.high - together.low > 2 * (apart.high - apart.low)
    one = estimate(values, ["the only document"] * 40)
    assert one.low < 0.1 and one.high > 0.9


def test_the_bootstrap_agrees_with_the_normal_interval_on_many_values() -> None:
    values = np.random.default_rng(1).random(400)
    found, half = estimate(list(values)), 1.96 * values.std() / 20
    assert found.low == pytest.approx(values.mean() - half, abs=0.005)
    assert found.high == pytest.approx(values.mean() + half, abs=0.005)


def test_values_and_groups_of_different_length_are_refused() -> None:
    with pytest.raises(BadInput, match="2 values and 1 groups"):
        estimate([RIGHT, WRONG], ["a"])
    with pytest.raises(BadInput, match="2 old values and 1 new ones"):
        paired_loss([RIGHT, WRONG], [RIGHT])


@pytest.mark.parametrize(("n", "within"), [(10, False), (58, False), (59, True)])
def test_equal_answers_prove_equality_only_when_they_are_enough(n: int, within: bool) -> None:
    loss = paired_loss([RIGHT] * n, [RIGHT] * n)
    assert loss.mean == 0.0 and loss.p_worse == 1.0 and loss.low < 0.0 < loss.high
    assert (loss.upper <= 0.05) is within
    assert loss.upper == pytest.approx(1 - 0.05 ** (1 / n))


def test_equal_answers_about_few_documents_are_few() -> None:
    groups = [f"document-{k // 6}" for k in range(60)]
    assert paired_loss([RIGHT] * 60, [RIGHT] * 60, groups).upper == pytest.approx(paired_loss([RIGHT] * 10, [RIGHT] * 10).upper)


def test_the_interval_of_0_and_1_is_the_published_one() -> None:
    # 200 cases, 12 lost, 8 gained: (12 - 8) / 202 and sqrt((22 - 4^2 / 202) / 201 / 202), with Student's t for the normal.
    loss = paired_loss([RIGHT] * 12 + [WRONG] * 8 + [RIGHT] * 180, [WRONG] * 12 + [RIGHT] * 8 + [RIGHT] * 180)
    centre, error = 4 / 202, math.sqrt((22 - 16 / 202) / 201 / 202)
    assert loss.mean == pytest.approx(0.02)
    assert loss.high == pytest.approx(centre + stats.t.ppf(0.975, 199) * error)
    assert loss.low == pytest.approx(centre - stats.t.ppf(0.975, 199) * error)
    assert loss.upper == pytest.approx(centre + stats.t.ppf(0.95, 199) * error)


def test_losses_without_gains_have_the_exact_bound() -> None:
    loss = paired_loss([RIGHT] * 76, [WRONG] + [RIGHT] * 75)
    assert loss.upper == pytest.approx(stats.beta.ppf(0.95, 2, 75))
    assert paired_loss([RIGHT] * 3, [WRONG] * 3).upper == 1.0


@pytest.mark.parametrize(("lost", "gained"), [(5, 0), (12, 8), (3, 9), (1, 1)])
def test_p_of_0_and_1_is_that_of_mcnemars_exact_test(lost: int, gained: int) -> None:
    old = [RIGHT] * lost + [WRONG] * gained + [RIGHT] * 30
    new = [WRONG] * lost + [RIGHT] * gained + [RIGHT] * 30
    expected = stats.binomtest(lost, lost + gained, alternative="greater").pvalue
    assert paired_loss(old, new).p_worse == pytest.approx(expected)


@pytest.mark.parametrize("n", [9, 150])
def test_p_of_numbers_is_that_of_turning_signs_round(n: int) -> None:
    draw = np.random.default_rng(n)
    old = draw.random(n)
    new = np.clip(old - 0.02 + draw.normal(0, 0.15, n), 0, 1)
    ours = paired_loss(list(old), list(new)).p_worse
    theirs = stats.permutation_test((old, new), lambda a, b: np.mean(a - b), permutation_type="samples", alternative="greater", rng=3)
    assert ours == pytest.approx(theirs.pvalue, abs=1e-9 if n == 9 else 0.02)
    assert ours == paired_loss(list(old), list(new)).p_worse


def test_one_document_lost_is_one_loss_however_many_cases_ask_for_it() -> None:
    old, new = [RIGHT] * 40, [WRONG] * 10 + [RIGHT] * 30
    assert paired_loss(old, new).p_worse < 0.001
    assert paired_loss(old, new, [f"document-{k // 10}" for k in range(40)]).p_worse == 0.5


def test_a_pair_without_both_values_is_missing() -> None:
    loss = paired_loss([RIGHT, None, RIGHT, math.nan], [RIGHT, RIGHT, None, RIGHT])
    assert (loss.n, loss.missing, loss.mean) == (1, 3, 0.0)
    nothing = paired_loss([None], [RIGHT])
    assert (nothing.n, nothing.missing) == (0, 1)
    assert all(math.isnan(one) for one in (nothing.mean, nothing.low, nothing.high, nothing.upper, nothing.p_worse))


def test_a_gain_mirrors_a_loss() -> None:
    old, new = [RIGHT] * 30 + [WRONG] * 5, [RIGHT] * 27 + [WRONG] * 3 + [RIGHT] * 4 + [WRONG]
    there, back = paired_loss(old, new), paired_loss(new, old)
    assert (back.mean, back.low, back.high) == pytest.approx((-there.mean, -there.high, -there.low))
    assert there.low <= there.mean <= there.high


def test_holm_is_the_published_example_and_keeps_order() -> None:
    adjusted = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005})
    assert list(adjusted) == ["a", "b", "c", "d"]
    assert adjusted == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02})
    assert holm({"a": 0.6, "b": 0.7}) == {"a": 1.0, "b": 1.0}
    assert holm({}) == {}


def _loss(mean: float, sd: float, n: int = 100, groups: int = 100) -> Loss:
    return Loss(mean, mean - sd / 5, mean + sd / 5, mean + sd / 6, 0.5, sd, n, 0, groups)


def test_cases_needed_is_the_normal_approximation() -> None:
    # (1.6449 + 0.8416)^2 x 0.3^2 / 0.04^2 = 347.8
    assert cases_needed(_loss(0.01, 0.3), 0.05, 0.05, 0.8) == 348
    assert cases_needed(_loss(-0.02, 0.3), 0.05, 0.05, 0.8) == 114


def test_cases_needed_is_more_than_there_are_and_than_the_exact_bound() -> None:
    assert cases_needed(_loss(0.0, 0.0, n=20, groups=20), 0.05, 0.05, 0.8) == 59
    assert cases_needed(_loss(0.0, 0.0, n=40, groups=20), 0.05, 0.05, 0.8) == 118
    assert cases_needed(_loss(0.0, 0.05, n=300, groups=300), 0.05, 0.05, 0.8) == 301


@pytest.mark.parametrize("mean", [0.05, 0.2, math.nan])
def test_no_number_of_cases_shows_what_is_not_so(mean: float) -> None:
    assert cases_needed(_loss(mean, 0.3), 0.05, 0.05, 0.8) is None


def test_with_a_margin_of_nothing_only_a_gain_can_be_shown() -> None:
    assert cases_needed(_loss(0.0, 0.3), 0.0, 0.05, 0.8) is None
    assert cases_needed(_loss(-0.1, 0.3), 0.0, 0.05, 0.8) == 101


@pytest.mark.parametrize("n", [20, 60, 200])
@pytest.mark.parametrize(("lost", "gained"), [(0.05, 0.0), (0.06, 0.01), (0.1, 0.05), (0.2, 0.15)])
def test_too_bad_a_candidate_rarely_stays_below_its_margin(n: int, lost: float, gained: float) -> None:
    """Exactly: the chance of every count of lost and gained cases, where the true loss is the margin, 0.05."""
    down, up = np.meshgrid(np.arange(n + 1), np.arange(n + 1), indexing="ij")
    chance = stats.binom.pmf(down, n, lost) * stats.binom.pmf(up, n - down, gained / (1 - lost))
    passed = 0.0
    for d, u in np.argwhere(chance > 1e-6):
        old = [RIGHT] * d + [WRONG] * u + [RIGHT] * (n - d - u)
        passed += chance[d, u] * (paired_loss(old, [WRONG] * d + [RIGHT] * (n - d)).upper <= 0.05)
    assert passed <= 0.07
