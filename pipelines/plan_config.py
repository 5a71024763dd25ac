"""Config of the plan and the budget: when new text calls for training, and what training may cost."""

from __future__ import annotations

from pydantic import Field

from pipelines.strict import Share, Strict


class PlanPolicy(Strict):
    """When new text calls for training. Facts travel by index; adapters teach behaviour. docs/planning.md explains each."""

    retrain_when_new_share: Share = Field(0.3, description="share of documents that the live adapter's dataset version did not have")
    retrain_when_drift: float = Field(
        0.1, gt=0, le=1, description="Jensen-Shannon divergence, in bits, of the version's words from those the live adapter learned"
    )
    retrain_when_stale_share: Share = Field(
        0.5, description="share of the live adapter's examples that rest on a document changed since and still fit a question rule"
    )
    retrain_when_new_shape: int = Field(
        10, ge=1, description="new documents that fit a rule which fitted nothing the live adapter learned from"
    )
    retrain_after_feedback: int = Field(200, ge=1, description="documents of source `feedback` since the live adapter's version")


class Budget(Strict):
    """What a domain's training may cost in a calendar month (UTC). Prices are in the compute profile."""

    monthly: float = Field(gt=0, description="in `currency`")
    currency: str = Field("EUR", min_length=1, max_length=12, description="a label; nothing is converted")
    ask: str | None = Field(None, min_length=1, description="whom to ask for more; else the domain's owner")
