"""What is taken away when its time is over: kept answers, the text of items that nobody settled or that were rejected, callers' words.

What people accepted stays: it is on its way to the landing zone, or in a dataset version, and goes by erasure like any document. Where the
domain is not public its copy here is encrypted under the day on which it was accepted, and unread once that day is over its retention.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import select, update

from pipelines.config import DomainConfig, Settings
from pipelines.feedback.opening import UNSETTLED
from pipelines.state.database import transaction
from pipelines.state.models import FeedbackRow, Review, ReviewItem
from pipelines.traffic import samples


def expire(settings: Settings, domain: DomainConfig, now: datetime) -> int:
    """Take away all that is older than `feedback.keep_days`; returns how many unsettled items expired by it. Harmless to repeat."""
    samples.forget(settings, domain.domain, domain.feedback.keep_days)
    first = now - timedelta(days=domain.feedback.keep_days)
    day = first.date().isoformat()
    expired = 0
    with transaction(settings) as session:
        query = select(ReviewItem).where(
            ReviewItem.domain == domain.domain, ReviewItem.state.in_((*UNSETTLED, "rejected")), ReviewItem.sealed != b""
        )
        for item in session.scalars(query):
            if str(item.signals.get("day", "")) >= day and item.opened_at >= first:
                continue
            if item.state in UNSETTLED:
                item.state = "expired"
                expired += 1
            item.sealed = b""
            session.execute(update(Review).where(Review.item_id == item.id).values(sealed=None))
        old = (FeedbackRow.domain == domain.domain, FeedbackRow.sealed.is_not(None), FeedbackRow.at < first)
        session.execute(update(FeedbackRow).where(*old).values(sealed=None))
    return expired
