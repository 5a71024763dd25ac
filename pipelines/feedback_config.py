"""What a domain file may say about learning from what went wrong: what is kept, who reviews, when it is learned. See docs/feedback.md."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipelines.strict import Share, Strict


class Harvest(Strict):
    """Which answers go to the review queue by themselves, and how many at most."""

    below_confidence: Share = Field(0.5, description="answers less sure than that")
    below_groundedness: Share = Field(0.6)
    abstained: bool = Field(True, description="questions without an answer")
    withheld: bool = Field(True, description="answers that a guard held back")
    repeated: int = Field(3, ge=2, description="one conversation that asks nearly the same so many times")
    similarity: Share = Field(0.95, description="cosine of two questions that are nearly the same: one item for both")
    per_day: int = Field(50, ge=0, description="items opened by harvest; complaints of callers are not counted")
    sampled_per_day: int = Field(5, ge=0, description="of these, answers that look well: uncertain ones first, unlike one another")


class Quota(Strict):
    """What one key may say in a day. What is beyond is kept in quarantine and counts for nothing."""

    per_key: int = Field(200, ge=1)
    down_share: Share = Field(0.9, description="of a key's judgements, from 20 on: one that finds nearly all bad is quarantined")
    burst: int = Field(50, ge=1, description="in an hour, of one key")


class Feedback(Strict):
    """How a domain learns from its callers."""

    keep: Literal["public", "sealed", "none"] = Field(
        "public",
        description="masked questions and answers for review. public: only where the profile is public. sealed: elsewhere too, encrypted "
        "under a key per day that is destroyed with it. none: never",
    )
    consent: Literal["opt_out", "opt_in"] = Field(
        "opt_out", description="what a request that does not say `store` means; `store: false` is never kept, in either"
    )
    keep_days: int = Field(30, ge=1, le=366)
    harvest: Harvest = Harvest()
    quota: Quota = Quota()
    reviewers: Literal[1, 2] = Field(1, description="2: two people each see an item without the other's answer; where they differ, a third")
    reviewer_names: tuple[str, ...] = Field((), description="Airflow user names; none: the domain's stewards and approvers")
    learn_after: int = Field(1, ge=1, description="accepted corrections that are delivered together")
    learn_after_days: float = Field(7.0, gt=0, description="or however few, once the oldest has waited so long")
    corrected_cases: int = Field(50, ge=0, description="corrected questions that the gate asks apart, newest first")
