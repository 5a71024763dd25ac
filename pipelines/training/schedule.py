"""What step `n` of a training is: its rows and its learning rate, each a function of the step number alone, so that a resumed run takes
the very steps of an unbroken one."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pipelines.config import Recipe
from pipelines.errors import BadInput


def split(sequences: int, recipe: Recipe) -> tuple[list[int], list[int]]:
    """(rows to train on, rows held out for early stopping), drawn by the seed."""
    import torch

    if recipe.early_stopping is None:
        return list(range(sequences)), []
    held = max(1, round(sequences * recipe.early_stopping.held_out))
    order = torch.randperm(sequences, generator=torch.Generator().manual_seed(recipe.seed)).tolist()
    return sorted(order[held:]), sorted(order[:held])


def check_ranks(rows: int, recipe: Recipe) -> None:
    """BadInput when a rank would have nothing of its own to train on."""
    if rows < recipe.ranks:
        raise BadInput(
            f"{recipe.ranks} ranks, but only {rows} sequences to train on",
            where="recipe.ranks",
            todo="use fewer ranks, shorter sequences, or more examples",
        )


def batch_rows(rows: Sequence[int], size: int, step: int, seed: int) -> list[int]:
    """`size` rows of step `step` (from 0): the next ones of an endless run of shuffled epochs."""
    import torch

    found: list[int] = []
    epochs: dict[int, list[int]] = {}
    for place in range(step * size, (step + 1) * size):
        epoch, index = divmod(place, len(rows))
        if epoch not in epochs:
            generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
            epochs[epoch] = torch.randperm(len(rows), generator=generator).tolist()
        found.append(rows[epochs[epoch][index]])
    return found


def learning_rate(recipe: Recipe, step: int, steps: int) -> float:
    """Of step `step` (from 0) of `steps`: linear warm-up, then by the recipe's schedule."""
    if step < recipe.warmup_steps:
        return recipe.learning_rate * (step + 1) / recipe.warmup_steps
    left = min(1.0, (steps - step) / max(1, steps - recipe.warmup_steps))
    match recipe.schedule:
        case "linear":
            return recipe.learning_rate * left
        case "cosine":
            return recipe.learning_rate * 0.5 * (1 - math.cos(math.pi * left))
        case "constant":
            return recipe.learning_rate


def best(history: Sequence[dict[str, float]]) -> dict[str, float]:
    """The first of the steps with the lowest held-out loss."""
    return min((row for row in history if "held_out_loss" in row), key=lambda row: row["held_out_loss"])


def out_of_patience(history: Sequence[dict[str, float]], recipe: Recipe) -> str | None:
    """Why training stops early, or None."""
    rule = recipe.early_stopping
    looks = [row["held_out_loss"] for row in history if "held_out_loss" in row]
    if rule is None or len(looks) <= rule.patience:
        return None
    before, recent = min(looks[: -rule.patience]), min(looks[-rule.patience :])
    if recent < before - rule.min_delta:
        return None
    return f"stopped early at step {len(history)}: the held-out loss did not fall below {before:.4f} in {rule.patience} looks"
