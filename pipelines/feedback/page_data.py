"""Rows of the review queue as the review page shows them beside `queue`: what one item is, what became of the settled ones. No text."""

from __future__ import annotations

from sqlalchemy import select

from pipelines.config import Settings
from pipelines.state.database import reading
from pipelines.state.models import ReviewItem

SETTLED = 20


def item(settings: Settings, domain: str, item_id: str) -> ReviewItem | None:
    """An item of this domain; None for any other name."""
    with reading(settings) as session:
        row = session.get(ReviewItem, item_id)
    return row if row is not None and row.domain == domain else None


def settled(settings: Settings, domain: str, limit: int = SETTLED) -> list[ReviewItem]:
    """The items that were settled last, newest first."""
    query = select(ReviewItem).where(ReviewItem.domain == domain, ReviewItem.settled_at.is_not(None))
    with reading(settings) as session:
        return list(session.scalars(query.order_by(ReviewItem.settled_at.desc(), ReviewItem.number.desc()).limit(limit)))
