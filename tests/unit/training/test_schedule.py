from __future__ import annotations

import pytest

from pipelines.config import Recipe
from pipelines.errors import BadInput
from pipelines.recipe_config import EarlyStopping
from pipelines.training import schedule, watch


def test_batches_are_functions_of_the_step() -> None:
    rows = list(range(10, 20))
    seen = [row for step in range(5) for row in schedule.batch_rows(rows, 2, step, seed=1)]
    assert sorted(seen) == rows
    assert schedule.batch_rows(rows, 2, 3, seed=1) == seen[6:8]
    assert [row for step in range(5, 10) for row in schedule.batch_rows(rows, 2, step, seed=1)] != seen


@pytest.mark.parametrize(("name", "last"), [("linear", 0.25), ("cosine", 0.146), ("constant", 1.0)])
def test_rates_rise_and_fall_by_the_schedule(name: str, last: float) -> None:
    recipe = Recipe(schedule=name, warmup_steps=2, steps=6, learning_rate=1.0)
    rates = [schedule.learning_rate(recipe, step, 6) for step in range(6)]
    assert rates[:3] == [0.5, 1.0, 1.0]
    assert rates[-1] == pytest.approx(last, abs=1e-3)


def test_epochs_become_steps_and_ranks_need_rows() -> None:
    recipe = Recipe(epochs=2.5, batch_sequences=4, ranks=2)
    assert recipe.total_steps(10) == 7
    with pytest.raises(BadInput, match="2 ranks, but only 1 sequences"):
        schedule.check_ranks(1, recipe)


def test_what_is_held_out_is_not_trained_on() -> None:
    rows, held = schedule.split(20, Recipe(early_stopping=EarlyStopping(held_out=0.25)))
    assert len(held) == 5 and sorted(rows + held) == list(range(20))
    assert schedule.split(20, Recipe()) == (list(range(20)), [])


def test_patience_counts_looks_without_a_fall_of_min_delta() -> None:
    recipe = Recipe(early_stopping=EarlyStopping(patience=2, min_delta=0.1))
    looks = [{"step": float(step), "held_out_loss": loss} for step, loss in enumerate([2.0, 1.0, 0.95, 0.92])]
    assert schedule.out_of_patience(looks[:3], recipe) is None
    assert "did not fall below 1.0000 in 2 looks" in str(schedule.out_of_patience(looks, recipe))
    assert schedule.best(looks)["step"] == 3


def test_divergence_wants_several_steps_far_over_the_best_mean() -> None:
    falling = [3.0, 2.0, 1.0, 0.8]
    assert not watch.diverged([*falling, 9.0], 3, 2)
    assert watch.diverged([*falling, 9.0, 9.0], 3, 2)
    assert not watch.diverged([*falling, 2.0, 2.0], 3, 2)
    assert not watch.diverged([0.001, 0.001, 0.01, 0.01], 3, 2), "noise near zero"
