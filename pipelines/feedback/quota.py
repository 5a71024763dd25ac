"""What one key's judgements may be before they count for nothing: somebody with one key must not teach the model what they like."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from pipelines.config import DomainConfig
from pipelines.feedback import opening
from pipelines.governance import audit
from pipelines.state.models import FeedbackRow, ReviewItem

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
ENOUGH = 20
"""Judgements from which a key's share of bad ones says something."""


def excess(session: Session, domain: DomainConfig, key: str, rating: int, row_id: str, now: datetime) -> tuple[str | None, bool]:
    """(why a judgement is one too many, None where it is not; whether it is so for nearly all of the key's being bad). `row_id` is its own
    row, which is not counted twice.

    Counted over the last 24 hours and the last hour, whatever became of the judgements: who goes on is not let in again meanwhile.
    """
    quota = domain.feedback.quota
    mine = select(FeedbackRow.rating).where(FeedbackRow.domain == domain.domain, FeedbackRow.key == key, FeedbackRow.id != row_id)
    # Never more rows than the limit: whoever sends ten thousand must not make each dearer than the one before.
    newest = mine.order_by(FeedbackRow.at.desc())
    if session.execute(newest.where(FeedbackRow.at > now - HOUR).offset(quota.burst - 1).limit(1)).first() is not None:
        return f"more than {quota.burst} judgements of one key in an hour", False
    ratings = list(session.scalars(newest.where(FeedbackRow.at > now - DAY).limit(quota.per_key)))
    if len(ratings) >= quota.per_key:
        return f"more than {quota.per_key} judgements of one key in a day", False
    if rating < 0 and len(ratings) + 1 >= ENOUGH and (1 + sum(one < 0 for one in ratings)) / (1 + len(ratings)) > quota.down_share:
        return f"more than {quota.down_share:.0%} of one key's judgements in a day are bad", True
    return None, False


def take_back(session: Session, domain: DomainConfig, key: str, why: str, now: datetime) -> None:
    """Put the day's complaints of a key in quarantine too, and count the items anew that they had come to."""
    mine = (
        FeedbackRow.domain == domain.domain,
        FeedbackRow.key == key,
        FeedbackRow.state == "received",
        FeedbackRow.rating < 0,
        FeedbackRow.at > now - DAY,
    )
    items = {item for item in session.scalars(select(FeedbackRow.item_id).where(*mine).distinct()) if item is not None}
    if session.scalar(select(func.count()).where(*mine)):
        session.execute(update(FeedbackRow).where(*mine).values(state="quarantined", why=why))
    for item in session.scalars(select(ReviewItem).where(ReviewItem.id.in_(items))):
        opening.recount(session, item)


def tell_once(session: Session, domain: str, key: str, why: str, row_id: str, now: datetime) -> None:
    """One audit event per key, reason and day, however many judgements there are."""
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    same = (FeedbackRow.domain == domain, FeedbackRow.key == key, FeedbackRow.state == "quarantined", FeedbackRow.why == why)
    if session.scalar(select(FeedbackRow.id).where(*same, FeedbackRow.at >= midnight, FeedbackRow.id != row_id).limit(1)) is None:
        audit.record(session, actor=key, action="feedback.quarantined", subject=domain, allowed=False, detail={"reason": why})
