"""The one way into the review queue: an item is opened, or the one that asks the same is extended."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from pipelines.config import DomainConfig, Settings
from pipelines.errors import NotFound
from pipelines.feedback import texts
from pipelines.feedback.texts import Text
from pipelines.manifest import sha256
from pipelines.state.models import FeedbackRow, ReviewItem

UNSETTLED = ("open", "disputed", "escalated")
REQUESTS = 50
"""Request ids that an item names."""
_WEIGHTS = {
    "complaint": 10.0, "probe": 8.0, "transcript": 5.0, "ungrounded": 4.0, "withheld": 3.5, "repeated": 3.0, "low_confidence": 3.0,
    "abstained": 2.0, "sampled": 1.0,
}  # fmt: skip
_UNSAFE = 5.0


@dataclass(frozen=True, slots=True)
class Found:
    """An answer that people should look at."""

    fingerprint: str
    source: str
    text: Text
    at: datetime
    """When the answer was given; its text is kept from that day on."""
    release: str | None = None
    signals: dict[str, Any] = field(default_factory=dict)
    """Figures, and `request_ids`."""


def find(session: Session, domain: str, fingerprint: str) -> ReviewItem | None:
    """The item of a question."""
    return session.scalar(select(ReviewItem).where(ReviewItem.domain == domain, ReviewItem.fingerprint == fingerprint).with_for_update())


def enter(session: Session, settings: Settings, domain: DomainConfig, found: Found, now: datetime) -> tuple[ReviewItem, bool]:
    """(the item that it came to, whether it was opened for it).

    An item that is settled stays as it is, unless it has to be asked anew: its text is gone, a later release brought another complaint
    about what was rejected, or one came after the answer was mended. Then it steps aside, with all that was decided, and another is opened.
    """
    item = find(session, domain.domain, found.fingerprint)
    if item is not None and _asked_anew(item, found):
        item.fingerprint = sha256([item.fingerprint, item.id])
        session.flush()
        found = Found(**{**_fields(found), "signals": {**found.signals, "after": item.id}})
        item = None
    if item is None:
        return _open(session, settings, domain, found, now), True
    if item.state in UNSETTLED:
        _extend(settings, domain, item, found)
    return item, False


def recount(session: Session, item: ReviewItem) -> None:
    """Set an item's complaints to those that count now, and its priority by them. Only complaints are tied to an item."""
    session.flush()
    query = select(func.count(), func.min(FeedbackRow.at)).where(FeedbackRow.item_id == item.id, FeedbackRow.state == "received")
    count, first = session.execute(query).one()
    unsafe = session.scalar(query.with_only_columns(func.count()).where(FeedbackRow.reason == "unsafe"))
    item.signals = {**item.signals, "complaints": count, "unsafe": unsafe or 0}
    if first is not None:
        item.complained_at = min(first, item.complained_at or first)
    item.priority = priority(item.source, item.signals)


def priority(source: str, signals: dict[str, Any]) -> float:
    """What is looked at first: complaints by their number, what is unsafe, what was surely wrong, last what looks well."""
    complaints = int(signals.get("complaints", 0))
    # One whose complaints were all taken into quarantine waits behind everything else.
    base = 0.0 if source == "complaint" and not complaints else _WEIGHTS.get(source, 1.0)
    if complaints and source != "complaint":
        base = max(base, _WEIGHTS["complaint"])
    doubt = 1.0 - min([1.0, *(float(signals[name]) for name in ("confidence", "groundedness") if signals.get(name) is not None)])
    unsafe = _UNSAFE if signals.get("unsafe") else 0.0
    return round(base + 2.0 * math.log1p(complaints) + unsafe + doubt + math.log1p(int(signals.get("seen", 1))), 4)


def _asked_anew(item: ReviewItem, found: Found) -> bool:
    complaint = found.source == "complaint"
    if item.state == "rejected":
        return complaint and found.release != item.release
    if item.state == "accepted":
        return complaint and item.mended_at is not None and found.at > item.mended_at
    return item.state == "expired"


def _open(session: Session, settings: Settings, domain: DomainConfig, found: Found, now: datetime) -> ReviewItem:
    number = 1 + (session.scalar(select(func.max(ReviewItem.number)).where(ReviewItem.domain == domain.domain)) or 0)
    day = texts.day_of(found.at)
    signals = {"seen": 1, **found.signals, "request_ids": found.signals.get("request_ids", [])[:REQUESTS], "day": day}
    item = ReviewItem(
        id=f"{domain.domain}-q{number}",
        domain=domain.domain,
        number=number,
        fingerprint=found.fingerprint,
        source=found.source,
        signals=signals,
        release=found.release,
        sealed=texts.seal(settings, domain, found.text, day),
        priority=priority(found.source, signals),
        state="open",
        reviewers=domain.feedback.reviewers,
        opened_at=now,
    )
    session.add(item)
    session.flush()
    return item


def _extend(settings: Settings, domain: DomainConfig, item: ReviewItem, found: Found) -> None:
    merged = dict(item.signals)
    for name, value in found.signals.items():
        if name == "request_ids" or name == "conversations":
            merged[name] = list(dict.fromkeys([*merged.get(name, []), *value]))[:REQUESTS]
        elif name in ("confidence", "groundedness"):
            merged[name] = min(one for one in (merged.get(name), value) if one is not None) if value is not None else merged.get(name)
        elif name != "seen":
            merged.setdefault(name, value)
    merged["seen"] = int(merged.get("seen", 1)) + int(found.signals.get("seen", 1))
    item.signals = merged
    try:
        text = texts.read(settings, domain.domain, item.sealed)
    except NotFound:
        return
    changed = text
    for suggestion in found.text.suggestions:
        changed = changed.heard(suggestion.by, suggestion.text, next((c.text for c in found.text.comments if c.by == suggestion.by), None))
    for comment in found.text.comments:
        if not any(one.by == comment.by for one in found.text.suggestions):
            changed = changed.heard(comment.by, None, comment.text)
    if changed != text:
        item.sealed = texts.seal(settings, domain, changed, str(item.signals["day"]))
    item.priority = priority(item.source, merged)


def _fields(found: Found) -> dict[str, Any]:
    return {name: getattr(found, name) for name in Found.__dataclass_fields__}
