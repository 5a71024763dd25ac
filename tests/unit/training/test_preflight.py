from __future__ import annotations

from typing import Any

import pytest

from pipelines.config import Recipe
from pipelines.errors import BadInput
from pipelines.training import methods, preflight, worker

from .conftest import RECIPE, MakeJob


def recipe(**change: Any) -> Recipe:
    return RECIPE.model_copy(update=change)


def part(base: str, name: str, **change: Any) -> float:
    told = preflight.estimate(base, recipe(**change), timed=False)
    return sum(part.bytes for part in told.parts if part.what == name)


@pytest.mark.parametrize("method", ["lora", "dora", "full"])
def test_sizes_are_those_of_the_real_model(method: str, base: str) -> None:
    asked = Recipe(method=method, precision="fp32")
    sizes, layers, _ = preflight.measure(base, asked)
    model = methods.build(base, asked, "cpu", "fp32")
    assert sizes.parameters == sum(p.numel() for p in model.parameters())
    assert sizes.learning == sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert (layers, sizes.embedding) == (2, 400 * 32)


def test_operations_are_four_per_frozen_weight_and_six_per_learning_one() -> None:
    sizes = preflight.Sizes(parameters=110, learning=10, embedding=20)
    assert preflight.flops(sizes, Recipe()) == 4 * 80 + 6 * 10
    assert preflight.flops(sizes, Recipe(method="full")) == 6 * 90
    assert preflight.flops(sizes, Recipe(gradient_checkpointing=True)) == 4 * 80 + 6 * 10 + 2 * 90


def test_zero_shares_states_then_gradients_then_weights() -> None:
    sizes = preflight.Sizes(parameters=1000, learning=1000, embedding=0)

    def bytes_of(zero: int) -> tuple[float, ...]:
        parts = {part.what: part.bytes for part in preflight._state(sizes, Recipe(method="full", zero=zero, ranks=4), "bf16")}
        return parts["learning weights"], parts["gradients"], parts["Adam"]

    # Rajbhandari et al. 2020, figure 1, with K = 12
    assert [bytes_of(zero) for zero in (0, 1, 2, 3)] == [
        (2000, 2000, 12000), (2000, 2000, 3000), (2000, 500, 3000), (500, 500, 3000),
    ]  # fmt: skip


def test_activations_follow_batch_length_and_checkpointing(base: str) -> None:
    once = part(base, "activations")
    assert part(base, "activations", batch_sequences=4) == pytest.approx(2 * once, rel=0.2)
    assert part(base, "activations", batch_sequences=4, accumulate=2) == once
    assert part(base, "activations", sequence_tokens=512) > 1.9 * once
    assert part(base, "activations", gradient_checkpointing=True) < once
    assert part(base, "activations", precision="bf16") < once
    assert part(base, "Adam", ranks=2) == 2 * part(base, "Adam"), "two ranks on one host"


def test_what_does_not_fit_is_refused_with_the_arithmetic(job: MakeJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "capacity", lambda: 1e6)
    with pytest.raises(BadInput, match=r"needs .* frozen weights \+ .* Adam .* = \d+\.\d+ GB, and .* has 0\.00 GB"):
        worker.run(job("a"))
    assert not job("a").out.exists()


def test_the_time_is_that_of_the_probe(base: str) -> None:
    told = preflight.estimate(base, recipe(steps=50))
    assert told.seconds is not None and told.seconds > 0
    assert preflight.estimate(base, recipe(steps=None, epochs=2.0), sequences=10, timed=False).steps == 10
    assert told.capacity > 1e8
