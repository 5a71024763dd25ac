"""What a training process is told (job.json), and what its result says of itself (facts.json)."""

from __future__ import annotations

from operator import not_
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from pipelines.config import Recipe
from pipelines.training.probe import Probe


class Job(BaseModel):
    """What the training process needs to know; written as job.json."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    training_set: Path
    base: str
    recipe: Recipe
    out: Path
    work: Path
    threads: int


class TrainingFacts(BaseModel):
    """facts.json of an adapter. `history` has per step: step, loss (mean over the learned tokens), lr, tokens_per_second, and
    held_out_loss where it was looked at. `loss` is the mean of the last ten. `stopped` says why it ended before its last step."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    base: str
    base_sha256: str
    prompt: str
    prompt_sha256: str
    training_set_sha256: str
    recipe: Recipe
    ranks: int
    threads: int
    steps: int
    resumed_at: int | None
    parameters: int
    trained_parameters: int
    examples: int
    loss: float
    history: list[dict[str, float]]
    seconds: float
    peak_mb: float
    weights_sha256: str
    packages: dict[str, str]
    precision: Probe | None = None
    passed_over: tuple[str, ...] = ()
    stopped: str | None = None
    best_step: int | None = None
    chat_template: str | None = Field(None, exclude_if=not_)
    """As the training set's."""


def facts_of_adapter(folder: Path) -> TrainingFacts:
    """What a finished adapter says of itself."""
    return TrainingFacts.model_validate_json((folder / "facts.json").read_text(encoding="utf-8"))
