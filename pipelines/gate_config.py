"""What a domain file may say about its gate: suites, floors, margins, how sure a verdict must be, and who may judge free text.

The statistics behind `alpha`, `power` and the margins are explained on one page: docs/gate.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from pipelines.strict import Name, Share, Strict

JudgedMetric = Literal["faithfulness", "answer_relevancy", "factual_correctness"]


class Suite(Strict):
    """A file of cases beside the goldens."""

    file: Path = Field(description="JSON lines, relative to the configs folder")
    against: Literal["live", "base"] = Field("live", description="base: what the base model could do before; forgetting is measured so")
    floors: dict[str, Share] = Field({}, description="below one, the candidate fails")
    margins: dict[str, Share] = Field({}, description="largest loss per metric; gate.max_regression for those not named")
    min_cases: int = Field(1, ge=1)


class Judge(Strict):
    """A language model that scores free text, behind any OpenAI-compatible endpoint.

    It votes only after it was calibrated against people, and well enough: see docs/judge.md.
    """

    url: str = Field(pattern=r"^https?://", description="base URL, ending in /v1")
    model: str = Field(min_length=1, description="pinned: a name that can move to other weights makes two gates incomparable")
    api_key_env: str | None = Field(None, pattern=r"^[A-Z][A-Z0-9_]*$", description="environment variable that holds the key")
    metrics: tuple[JudgedMetric, ...] = Field(("faithfulness",), min_length=1)
    timeout_seconds: float = Field(60.0, gt=0, description="of one call; a call that fails is tried twice more")
    max_calls: int = Field(2_000, ge=1, description="of one gating, repeats and retries included")
    max_cost: float | None = Field(None, gt=0, description="of one gating, in the currency of the prices")
    price_in: float = Field(0.0, ge=0, description="per million prompt tokens")
    price_out: float = Field(0.0, ge=0, description="per million completion tokens")
    repeats: int = Field(2, ge=1, le=5, description="times that each of the first `repeated_cases` is scored")
    repeated_cases: int = Field(8, ge=0)
    max_spread: Share = Field(0.2, description="mean difference of repeats beyond which it contradicts itself")
    calibration: Path | None = Field(None, description="JSON of `ratchet calibrate`, relative to the configs folder")
    min_auc: Share = Field(0.7, description="against people's ratings, lower end of the interval; below it the judge cannot vote")


class Gate(Strict):
    """What a candidate must reach. Metrics are in [0, 1], higher is better."""

    goldens: Path = Field(description="relative to the configs folder")
    floors: dict[str, Share] = Field(description="of the goldens' metrics: below one, the candidate fails")
    max_regression: Share = Field(0.05, description="largest loss against the live release, for metrics without a margin of their own")
    margins: dict[str, Share] = Field({}, description="the same for single metrics of the goldens")
    min_goldens: int = Field(8, ge=1)
    suites: dict[Name, Suite] = Field({}, description="beside the goldens, by name")
    held_out: int = Field(0, ge=0, description="examples kept from the adapter's training that are asked too; 0 asks none")
    alpha: float = Field(0.05, gt=0, le=0.2, description="share of equal candidates that may be failed, and of too bad ones that may pass")
    power: float = Field(0.8, ge=0.5, lt=1, description="with which an advised number of further cases would settle an open question")
    min_slice: int = Field(10, ge=2, description="cases of a document type or year from which it is compared apart")
    judge: Judge | None = None

    @model_validator(mode="after")
    def _names_are_free(self) -> Self:
        for name in ("goldens", "held_out", "corrected"):
            if name in self.suites:
                raise ValueError(f"suites.{name}: that name is taken; give the suite another")
        return self
