"""What a domain file may say about going live: approval, shadow, canary steps, and when a canary is taken back. See docs/rollout.md."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from pipelines.strict import Share, Strict


class AutoApproval(Strict):
    """A release that nobody need approve: of a plan `index` (only the index is new), that changes and risks little."""

    max_changed_share: Share = Field(0.02, description="documents added, amended, withdrawn or removed since the live version")
    max_loss: Share = Field(0.02, description="upper end of each metric's loss against the live release")


class Stage(Strict):
    """One step of a rollout."""

    share: Share = Field(description="of the conversations")
    minutes: float = Field(10.0, ge=0, description="it lasts at least so long")
    requests: int = Field(0, ge=0, description="and until the candidate answered so many")


class Tolerances(Strict):
    """By how much the candidate may be worse than live, in share of requests, before it counts as worse. See docs/rollout.md."""

    errors: Share = 0.01
    latency: Share = Field(0.15, description="requests slower than nine of ten of the live release's")
    tokens: Share = Field(0.15, description="answers longer than nine of ten of the live release's")
    guards: Share = 0.01
    confidence: Share = Field(0.15, description="answers less sure than nine of ten of the live release's")
    quality: Share = Field(0.05, description="answers withheld, or judged wrong where a judge looks at live traffic")


class Rollout(Strict):
    """How a release goes live: an approver, a shadow that answers nobody, a canary by steps, then everybody."""

    approval_hours: float = Field(72, gt=0)
    auto_approve: AutoApproval | None = Field(None, description="none: a person approves every release")
    shadow: Stage | None = Field(None, description="requests that the candidate answers too, for nobody to see; none: no shadow")
    steps: tuple[Stage, ...] = Field((Stage(share=0.1, minutes=0),), min_length=1, description="of the canary, in rising order")
    canary_requests: int = Field(8, ge=0, description="goldens that the canary is asked by name at the start of its first step")
    max_error_share: Share = Field(0.0, description="of those")
    alpha: float = Field(
        0.01, gt=0, lt=0.5, description="probability that a candidate no worse than live is taken back, over the whole rollout"
    )
    tolerances: Tolerances = Tolerances()
    hours: float = Field(24.0, gt=0, description="a rollout that has not seen its requests by then ends as `too_little` says")
    too_little: Literal["promote", "withdraw"] = Field("promote", description="when traffic was too little to see every step's requests")

    @field_validator("steps")
    @classmethod
    def _shares_rise(cls, value: tuple[Stage, ...]) -> tuple[Stage, ...]:
        shares = [step.share for step in value]
        if shares != sorted(shares) or shares[0] == 0:
            raise ValueError("shares must be above 0 and rise from step to step")
        return value
