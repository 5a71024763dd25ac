"""The review queue as people see it: what waits, what one item says, and (`deciding`) what becomes of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from pipelines.config import DomainConfig, Settings
from pipelines.errors import NotFound
from pipelines.feedback import rights, texts
from pipelines.feedback.agreement import agreement as agreement
from pipelines.feedback.deciding import decide as decide
from pipelines.feedback.opening import UNSETTLED
from pipelines.feedback.rights import Domain
from pipelines.feedback.texts import Passage, Text, Turn
from pipelines.governance import audit
from pipelines.state.database import reading, transaction
from pipelines.state.models import Review, ReviewItem


@dataclass(frozen=True, slots=True)
class Item:
    """One line of the queue; no text is in it."""

    id: str
    domain: str
    source: str
    signals: dict[str, Any]
    state: str
    priority: float
    opened_at: datetime
    complained_at: datetime | None
    settled_at: datetime | None
    release: str | None
    reviewers: int
    """How many must agree."""
    answers: int
    """How many have answered."""
    mine: Review | None
    waits_for_me: bool
    kinds: dict[str, Any]
    delivered_in: str | None
    mended_by: str | None


@dataclass(frozen=True, slots=True)
class Other:
    """What another reviewer said; shown only once both have."""

    reviewer: str
    verdict: str
    answer: str | None
    cited: str | None
    note: str | None


@dataclass(frozen=True, slots=True)
class Remark:
    """A caller's comment, masked; whose it is does not matter to who judges the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class Shown:
    """One item with its masked text."""

    id: str
    domain: str
    source: str
    signals: dict[str, Any]
    state: str
    release: str | None
    question: str
    answer: str
    span: str | None
    """The answer alone; None where there was none."""
    as_of: str
    passages: tuple[Passage, ...]
    cited: str | None
    suggested: str | None
    suggestions: tuple[str, ...]
    comments: tuple[Remark, ...]
    turns: tuple[Turn, ...]
    accepted: str | None
    """Once it is settled: the accepted answer; None also where it is that nothing states one."""
    mine: Review | None
    others: tuple[Other, ...]
    needs_passage: bool
    """Whether an answer must stand word for word in a passage."""


def items(settings: Settings, domain: Domain, reviewer: str, limit: int = 50, *, states: tuple[str, ...] = ()) -> list[Item]:
    """What waits for this reviewer, the most urgent first; with `states`, all items of these, those that wait for the reviewer first.

    NotAllowed, audited, for who may not review the domain.
    """
    config = rights.config_of(settings, domain)
    rights.require(settings, config, reviewer, config.domain)
    wanted = (ReviewItem.domain == config.domain, ReviewItem.state.in_(states or UNSETTLED))
    with reading(settings) as session:
        rows = list(session.scalars(select(ReviewItem).where(*wanted)))
        given: dict[str, list[Review]] = {}
        for review in session.scalars(select(Review).join(ReviewItem).where(*wanted)):
            given.setdefault(review.item_id, []).append(review)
        found = [_item(row, given.get(row.id, []), reviewer, config) for row in rows]
    found = [one for one in found if states or one.waits_for_me]
    return sorted(found, key=lambda one: (not one.waits_for_me, -one.priority, one.opened_at, one.id))[:limit]


def show(settings: Settings, domain: Domain, item_id: str, reviewer: str) -> Shown:
    """The item's text; the reading is audited. Another reviewer's answer is in it only once both have answered.

    NotAllowed, audited, for who may not review the domain; NotFound for an unknown item, and for one whose text is past its retention.
    """
    config = rights.config_of(settings, domain)
    rights.require(settings, config, reviewer, item_id)
    with transaction(settings) as session:
        row = session.get(ReviewItem, item_id)
        if row is None or row.domain != config.domain:
            raise NotFound(f"there is no item {item_id!r} in {config.domain}", todo=f"`ratchet review list {config.domain}` shows them")
        text = texts.read(settings, config.domain, row.sealed)
        reviews = list(session.scalars(select(Review).where(Review.item_id == item_id).order_by(Review.id)))
        audit.record(session, actor=reviewer, action="review.read", subject=item_id)
        return _shown(session, settings, row, text, reviews, reviewer, needs_passage=config.task.kind == "grounded_extraction")


def domain_of(settings: Settings, item_id: str) -> str:
    """The domain of an item. NotFound for an unknown one."""
    with reading(settings) as session:
        found = session.scalar(select(ReviewItem.domain).where(ReviewItem.id == item_id))
    if found is None:
        raise NotFound(f"there is no item {item_id!r}", todo="`ratchet review list DOMAIN` shows them")
    return found


def _item(row: ReviewItem, given: list[Review], reviewer: str, config: DomainConfig) -> Item:
    mine = next((one for one in given if one.reviewer == reviewer), None)
    waits = mine is None and row.state in UNSETTLED and reviewer in rights.reviewers(config)
    if row.state == "escalated":
        waits = reviewer in config.roles.approvers
    return Item(
        id=row.id, domain=row.domain, source=row.source, signals=row.signals, state=row.state, priority=row.priority,
        opened_at=row.opened_at, complained_at=row.complained_at, settled_at=row.settled_at, release=row.release,
        reviewers=row.reviewers, answers=len(given), mine=mine, waits_for_me=waits, kinds=row.kinds or {},
        delivered_in=row.delivered_in, mended_by=row.mended_by,
    )  # fmt: skip


def _shown(
    session: Session, settings: Settings, row: ReviewItem, text: Text, reviews: list[Review], reviewer: str, *, needs_passage: bool
) -> Shown:
    # Blind: while it is open, each sees nothing but their own.
    others = [one for one in reviews if one.reviewer != reviewer] if row.state != "open" else []
    session.expunge_all()
    return Shown(
        id=row.id, domain=row.domain, source=row.source, signals=row.signals, state=row.state, release=row.release,
        question=text.question, answer=text.answer, span=text.span, as_of=text.as_of, passages=text.passages, cited=text.cited,
        suggested=text.suggested, suggestions=tuple(dict.fromkeys(one.text for one in text.suggestions)),
        comments=tuple(Remark(one.text) for one in text.comments), turns=text.turns,
        accepted=text.accepted.answer if text.accepted is not None else None,
        mine=next((one for one in reviews if one.reviewer == reviewer), None),
        others=tuple(_other(settings, row.domain, one) for one in others), needs_passage=needs_passage,
    )  # fmt: skip


def _other(settings: Settings, domain: str, review: Review) -> Other:
    try:
        said = texts.unseal(settings, domain, review.sealed)
    except NotFound:
        said = {}
    return Other(review.reviewer, review.verdict, said.get("answer"), said.get("cited"), said.get("note"))
