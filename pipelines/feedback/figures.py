"""The loop's own figures: what callers complained of, what people decided, what was mended, how long it took, what broke again.

Times count from the first complaint of an item, or, where nobody complained, from when it was found, to the day when the release that is
the first to get it right went live; p90 is the smallest time that nine of ten were mended within (nearest rank).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from statistics import median
from typing import Any

from sqlalchemy import select

from pipelines.config import Settings
from pipelines.feedback.agreement import agreement
from pipelines.state.database import reading
from pipelines.state.models import FeedbackRow, Review, ReviewItem, now

WAITING = ("open", "disputed", "escalated")
STATES = (*WAITING, "accepted", "rejected", "expired")


def loop(settings: Settings, domain_name: str, since: datetime | None = None, until: datetime | None = None) -> dict[str, Any]:
    """JSON-able, of all time or of what came from `since` until before `until`; shares and times are None where nothing is there to count.

    feedback {up, down, neither, quarantined, refused}, complaints (items that a caller complained of); items, by_state, by_source;
    waiting, oldest_waiting_hours, waiting_corrections (accepted, in no release yet; `undelivered` of them in no arrival yet);
    accepted, mended, mended_share (of accepted), regressed, regressed_share (of mended); hours_to_mend, hours_to_settle {n, median, p90};
    review_seconds {n, median, p90}; edited_share (of the reviews that took an answer, those that changed it);
    agreement (of two reviewers, of all time).
    """
    with reading(settings) as session:
        told = list(session.execute(_between(select(FeedbackRow.rating, FeedbackRow.state), FeedbackRow, "at", domain_name, since, until)))
        items = list(session.scalars(_between(select(ReviewItem), ReviewItem, "opened_at", domain_name, since, until)))
        query = select(Review.verdict, Review.seconds, Review.item_id).join(ReviewItem, ReviewItem.id == Review.item_id)
        reviews = [row for row in session.execute(_between(query, ReviewItem, "opened_at", domain_name, since, until))]
    moment = until or now()
    counted = Counter(_said(rating, state) for rating, state in told)
    states = Counter(item.state for item in items)
    waiting = [item for item in items if item.state in WAITING]
    accepted = [item for item in items if item.state == "accepted"]
    mended = [item for item in accepted if item.mended_at is not None]
    unmended = [item for item in accepted if item.mended_at is None]
    regressed = [item for item in mended if item.regressed_by]
    taken = [verdict for verdict, _, _ in reviews if verdict in ("accept", "edit")]
    return {
        "domain": domain_name,
        "feedback": {name: counted[name] for name in ("up", "down", "neither", "quarantined", "refused")},
        "complaints": sum(item.complained_at is not None for item in items),
        "items": len(items),
        "by_state": {name: states[name] for name in STATES},
        "by_source": dict(sorted(Counter(item.source for item in items).items())),
        "waiting": len(waiting),
        "oldest_waiting_hours": round(max((_hours(_began(item), moment) for item in waiting), default=0.0), 2) if waiting else None,
        "waiting_corrections": len(unmended),
        "undelivered": sum(item.delivered_in is None for item in unmended),
        "accepted": len(accepted),
        "mended": len(mended),
        "mended_share": _share(len(mended), len(accepted)),
        "regressed": len(regressed),
        "regressed_share": _share(len(regressed), len(mended)),
        "hours_to_mend": spread([_hours(_began(item), item.mended_at) for item in mended if item.mended_at is not None]),
        "hours_to_settle": spread([_hours(_began(item), item.settled_at) for item in items if item.settled_at is not None]),
        "review_seconds": spread([seconds for _, seconds, _ in reviews if seconds is not None]),
        "reviews": len(reviews),
        "edited_share": _share(taken.count("edit"), len(taken)),
        "agreement": agreement(settings, domain_name),
    }


def spread(values: Sequence[float]) -> dict[str, Any]:
    """{n, median, p90}; None where there are no values."""
    if not values:
        return {"n": 0, "median": None, "p90": None}
    ordered = sorted(values)
    return {"n": len(ordered), "median": round(median(ordered), 3), "p90": round(ordered[math.ceil(0.9 * len(ordered)) - 1], 3)}


def _between(query: Any, table: Any, moment: str, domain: str, since: datetime | None, until: datetime | None) -> Any:
    query = query.where(table.domain == domain)
    if since is not None:
        query = query.where(getattr(table, moment) >= since)
    return query if until is None else query.where(getattr(table, moment) < until)


def _said(rating: int, state: str) -> str:
    # What was put aside counts for nothing, whatever it said.
    if state in ("quarantined", "refused"):
        return state
    return "up" if rating > 0 else "down" if rating < 0 else "neither"


def _began(item: ReviewItem) -> datetime:
    return item.complained_at or item.opened_at


def _hours(begin: datetime, end: datetime) -> float:
    return (end - begin).total_seconds() / 3_600


def _share(some: int, every: int) -> float | None:
    return round(some / every, 4) if every else None
