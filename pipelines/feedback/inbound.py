"""What a caller says of an answer: counted, held where one key says too much, and brought to the review queue where it is a complaint.

The text that comes with it is masked and screened before it comes here; where the answer was not kept, it is not kept either.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from pipelines.config import DomainConfig, Settings
from pipelines.errors import MaskingFailed, NotFound
from pipelines.feedback import opening, quota, texts
from pipelines.feedback.fingerprint import fingerprint
from pipelines.feedback.opening import Found
from pipelines.governance import audit
from pipelines.state.database import reading, transaction
from pipelines.state.models import FeedbackRow, ReviewItem
from pipelines.strict import Strict
from pipelines.traffic import log, samples, segments
from pipelines.traffic.samples import Sample

Why = Literal["wrong", "outdated", "incomplete", "not_cited", "unsafe", "tone", "other"]
IDENTIFIERS = "the correction or the comment holds identifiers"


class Words(Strict):
    """What `FeedbackRow.sealed` holds, masked."""

    correction: str | None = None
    comment: str | None = None


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer that was given, as far as it is still known."""

    request_id: str
    tenant: str | None
    release: str | None
    at: datetime
    stored: bool
    """Whether its text was kept for review; it may be gone, or not on disk yet."""
    sample: Sample | None


@dataclass(frozen=True, slots=True)
class Received:
    """What became of a judgement."""

    id: str
    state: str
    """received | quarantined | refused"""
    why: str | None
    review: str | None
    """The item of the review queue that it came to."""


def answered(settings: Settings, domain: str, request_id: str) -> Answered | None:
    """The answer of a request; None where there was none, or nothing is known of it any more. Blocking: reads the logs."""
    record = log.find(settings, domain, request_id)
    sample = samples.find(settings, domain, [request_id]).get(request_id)
    if sample is not None:
        return Answered(request_id, sample.tenant, sample.release, sample.at, True, sample)
    if record is None or int(record.get("status", 0)) >= 400:
        return None
    return Answered(
        request_id, record.get("tenant"), record.get("release"), segments.moment(record), bool(record.get("stored", False)), None
    )


def receive(
    settings: Settings,
    domain: DomainConfig,
    answer: Answered,
    *,
    key: str,
    tenant: str,
    rating: int,
    now: datetime,
    reason: str | None = None,
    correction: str | None = None,
    comment: str | None = None,
    held: str | None = None,
    refused: str | None = None,
) -> Received:
    """Write one judgement down, in place of what the same key said of the same answer before.

    `key` as `serving.keys.Key.actor`; `rating` 1 up, -1 down; `correction` and `comment` masked. `held`: why a guard keeps it back.
    `refused`: why it is not taken; no text may be given then. Saying the same again changes nothing.
    """
    say = (key, tenant, rating, reason, Words(correction=correction, comment=comment), held, refused, now)
    try:
        return _receive(settings, domain, answer, *say)
    except IntegrityError:  # another gateway wrote the same row, or opened the same item, between our look and our writing
        return _receive(settings, domain, answer, *say)


def _receive(
    settings: Settings,
    domain: DomainConfig,
    answer: Answered,
    key: str,
    tenant: str,
    rating: int,
    reason: str | None,
    words: Words,
    held: str | None,
    refused: str | None,
    now: datetime,
) -> Received:
    stored = None if refused else _sealed(settings, domain, answer, words, now)
    with transaction(settings) as session:
        same = (FeedbackRow.domain == domain.domain, FeedbackRow.request_id == answer.request_id, FeedbackRow.key == key)
        row = session.scalar(select(FeedbackRow).where(*same).with_for_update())
        if row is not None and refused is None and _says_the_same(settings, row, rating, reason, words if stored else Words()):
            return Received(row.id, row.state, row.why, row.item_id)
        if row is not None and refused is not None:
            return Received(row.id, "refused", refused, None)  # what was said before stands
        if row is None:
            row = FeedbackRow(id=f"fb-{secrets.token_hex(8)}", domain=domain.domain, request_id=answer.request_id, key=key)
            row.state = "received"
        before = row.item_id
        over, too_bad = quota.excess(session, domain, key, rating, row.id, now)
        row.release, row.tenant, row.rating, row.reason = answer.release, tenant, rating, reason
        row.sealed, row.at, row.item_id = stored, now, None
        row.why = refused or held or over
        row.state = "refused" if refused else "quarantined" if row.why else "received"
        session.add(row)
        session.flush()
        if before is not None:
            _unheard(session, settings, domain, before, key)
        if row.state == "quarantined" and row.why is not None:
            quota.tell_once(session, domain.domain, key, row.why, row.id, now)
            if too_bad:
                quota.take_back(session, domain, key, row.why, now)
        elif row.state == "received" and answer.sample is not None and is_complaint(rating, words.correction):
            tie(session, settings, domain, row, answer.sample, words, now)
        return Received(row.id, row.state, row.why, row.item_id)


def is_complaint(rating: int, correction: str | None) -> bool:
    """Thumbs up never open an item, unless the caller says at once how it is better said."""
    return rating < 0 or bool(correction)


def tie(
    session: Session, settings: Settings, domain: DomainConfig, row: FeedbackRow, sample: Sample, words: Words, now: datetime
) -> tuple[ReviewItem, bool]:
    """Bring a complaint to the review queue: (the item, whether it was opened for it)."""
    text = texts.of_sample(domain, sample, raised_by=row.key).heard(row.key, words.correction, words.comment)
    signals = {"request_ids": [sample.request_id], "confidence": sample.confidence, "abstained": sample.abstained}
    found = Found(fingerprint(sample.question), "complaint", text, sample.at, sample.release, signals)
    item, opened = opening.enter(session, settings, domain, found, now)
    row.item_id = item.id
    opening.recount(session, item)
    return item, opened


def listed(settings: Settings, domain: str | None = None, state: str | None = None, limit: int = 50) -> list[dict[str, Any]]:
    """Judgements, newest first, without their text."""
    query = select(FeedbackRow).order_by(FeedbackRow.at.desc(), FeedbackRow.id)
    if domain is not None:
        query = query.where(FeedbackRow.domain == domain)
    if state is not None:
        query = query.where(FeedbackRow.state == state)
    columns = ("id", "domain", "request_id", "release", "key", "tenant", "rating", "reason", "state", "why", "item_id", "at")
    with reading(settings) as session:
        return [{name: getattr(row, name) for name in columns} for row in session.scalars(query.limit(limit))]


def words_of(settings: Settings, feedback_id: str, actor: str) -> Words:
    """The masked words of a judgement; the reading is audited. NotFound for an unknown one, and for a text that is gone or never came."""
    with transaction(settings) as session:
        row = session.get(FeedbackRow, feedback_id)
        if row is None:
            raise NotFound(f"there is no judgement {feedback_id!r}", todo="`ratchet feedback list` shows them")
        words = Words.model_validate(texts.unseal(settings, row.domain, row.sealed))
        audit.record(session, actor=actor, action="feedback.read", subject=feedback_id)
    return words


def _sealed(settings: Settings, domain: DomainConfig, answer: Answered, words: Words, now: datetime) -> bytes | None:
    """The words as they are stored; None where there are none, or the answer's text is not kept, so that theirs may not be either."""
    if words == Words():
        return None
    fresh = answer.stored and now - answer.at < timedelta(days=domain.feedback.keep_days)
    if answer.sample is None and not fresh:
        return None
    try:
        return texts.seal(settings, domain, words, texts.day_of(answer.at))
    except MaskingFailed:  # that day's key is destroyed: it is past its retention
        return None


def _says_the_same(settings: Settings, row: FeedbackRow, rating: int, reason: str | None, words: Words) -> bool:
    if (row.rating, row.reason) != (rating, reason) or row.state == "refused":
        return False
    try:
        known = Words.model_validate(texts.unseal(settings, row.domain, row.sealed)) if row.sealed else Words()
    except NotFound:
        return False
    return known == words


def _unheard(session: Session, settings: Settings, domain: DomainConfig, item_id: str, key: str) -> None:
    """Take out of an item what this key said, now that it says something else."""
    item = session.get(ReviewItem, item_id)
    if item is None:
        return
    if item.state in opening.UNSETTLED and item.sealed:
        try:
            text = texts.read(settings, domain.domain, item.sealed).heard(key, None, None)
        except NotFound:
            text = None
        if text is not None:
            item.sealed = texts.seal(settings, domain, text, str(item.signals["day"]))
    opening.recount(session, item)
