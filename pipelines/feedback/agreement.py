"""How far two people who judged the same items without seeing one another's answer agree."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from pipelines.config import Settings
from pipelines.state.database import reading
from pipelines.state.models import Review, ReviewItem


def agreement(settings: Settings, domain: str) -> dict[str, Any]:
    """{"items", "agreed", "share", "kappa"} over the items of a domain that two people judged, the first two of each.

    `share`: of these, with the same verdict on the same answer. `kappa`: J. Cohen, "A coefficient of agreement for nominal scales",
    Educational and Psychological Measurement 20, 1960, over their verdicts (accept, edit, reject, escalate), whoever the two were; None
    while there are no items, or all verdicts are one, for then chance would agree as well.
    """
    query = (
        select(Review)
        .join(ReviewItem, ReviewItem.id == Review.item_id)
        .where(ReviewItem.domain == domain, ReviewItem.reviewers == 2)
        .order_by(Review.id)
    )
    by_item: dict[str, list[Review]] = {}
    with reading(settings) as session:
        for review in session.scalars(query):
            by_item.setdefault(review.item_id, []).append(review)
    pairs = [(reviews[0], reviews[1]) for reviews in by_item.values() if len(reviews) > 1]
    agreed = sum(first.verdict == second.verdict and first.answer_sha256 == second.answer_sha256 for first, second in pairs)
    verdicts = [[first.verdict for first, _ in pairs], [second.verdict for _, second in pairs]]
    return {
        "items": len(pairs),
        "agreed": agreed,
        "share": round(agreed / len(pairs), 4) if pairs else None,
        "kappa": _kappa(*verdicts),
    }


def _kappa(first: list[str], second: list[str]) -> float | None:
    if len({*first, *second}) < 2:
        return None
    from sklearn.metrics import cohen_kappa_score  # type: ignore[import-untyped]

    return round(float(cohen_kappa_score(first, second)), 4)
