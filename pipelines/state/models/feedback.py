"""What callers say of answers, and what reviewers make of it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Float, ForeignKey, Index, Integer, LargeBinary, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from pipelines.state.models.base import Base, now


class FeedbackRow(Base):
    """What a caller said of an answer. One of a key for an answer: a later one replaces it."""

    __tablename__ = "feedback"
    __table_args__ = (
        UniqueConstraint("domain", "request_id", "key", name="one_judgement_per_key"),
        Index("feedback_by_key", "key", "at"),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    """`fb-<16 random hex>`"""
    domain: Mapped[str] = mapped_column(String(40), index=True)
    request_id: Mapped[str] = mapped_column(String(64), index=True)
    release: Mapped[str | None] = mapped_column(String(60))
    key: Mapped[str] = mapped_column(String(120))
    tenant: Mapped[str] = mapped_column(String(80))
    rating: Mapped[int]
    """1 up, -1 down, 0 neither."""
    reason: Mapped[str | None] = mapped_column(String(40))
    """wrong | outdated | incomplete | not_cited | unsafe | tone | other"""
    sealed: Mapped[bytes | None] = mapped_column(LargeBinary)
    """Masked correction and comment: see `traffic.sealed`."""
    state: Mapped[str] = mapped_column(String(12))
    """received | quarantined | refused"""
    why: Mapped[str | None] = mapped_column(Text)
    item_id: Mapped[str | None] = mapped_column(String(40), index=True)
    """The item of the review queue that it came to."""
    at: Mapped[datetime] = mapped_column(default=now)


class ReviewItem(Base):
    """An answer that people are to look at. Its text is masked, and encrypted where the domain is not public."""

    __tablename__ = "review_items"
    __table_args__ = (
        UniqueConstraint("domain", "fingerprint", name="asked_once"),
        Index("items_by_state", "domain", "state", "priority"),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    """`<domain>-q12`"""
    domain: Mapped[str] = mapped_column(String(40))
    number: Mapped[int]
    fingerprint: Mapped[str] = mapped_column(String(64))
    """Of the question: who asks the same is counted here, not queued again."""
    source: Mapped[str] = mapped_column(String(20))
    """complaint | low_confidence | ungrounded | abstained | withheld | repeated | transcript | probe | sampled"""
    signals: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """Why it is here, in figures: {"complaints": 3, "confidence": 0.31, ...}; `request_ids`, at most 50."""
    release: Mapped[str | None] = mapped_column(String(60))
    """That gave the answer."""
    sealed: Mapped[bytes] = mapped_column(LargeBinary)
    """`traffic.sealed` of {question, answer, as_of, passages, cited, suggested, comments, turns}."""
    cites: Mapped[str | None] = mapped_column(String(200))
    """Key of the document that the accepted answer rests on."""
    priority: Mapped[float] = mapped_column(Float, default=0.0)
    state: Mapped[str] = mapped_column(String(10), default="open")
    """open | disputed | escalated | accepted | rejected | expired"""
    reviewers: Mapped[int] = mapped_column(default=1)
    """How many must agree."""
    answer_sha256: Mapped[str | None] = mapped_column(String(64))
    """`feedback.corrections.digest` of what was accepted: only exactly that is taken from an arrival."""
    kinds: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """{"example": true, "golden": false, "regression": false}: what the reviewers say it becomes."""
    opened_at: Mapped[datetime] = mapped_column(default=now)
    complained_at: Mapped[datetime | None]
    """Of the first complaint: the loop's figures count from it."""
    settled_at: Mapped[datetime | None]
    delivered_in: Mapped[str | None] = mapped_column(String(255))
    """Folder of the arrival that brings it."""
    mended_by: Mapped[str | None] = mapped_column(String(60))
    """The first release that gets it right, by its gate report."""
    mended_at: Mapped[datetime | None]
    regressed_by: Mapped[str | None] = mapped_column(String(60))
    """A later release that gets it wrong again."""


class Review(Base):
    """What one person said of one item; who looked at what is in the audit log too."""

    __tablename__ = "reviews"
    __table_args__ = (UniqueConstraint("item_id", "reviewer", name="one_review_per_person"),)

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    item_id: Mapped[str] = mapped_column(ForeignKey("review_items.id"), index=True)
    reviewer: Mapped[str] = mapped_column(String(120))
    verdict: Mapped[str] = mapped_column(String(10))
    """accept | edit | reject | escalate"""
    sealed: Mapped[bytes | None] = mapped_column(LargeBinary)
    """`traffic.sealed` of {"answer", "cited", "passage", "note"}."""
    answer_sha256: Mapped[str | None] = mapped_column(String(64))
    kinds: Mapped[dict[str, Any]] = mapped_column(default=dict)
    seconds: Mapped[float | None]
    """From the page's showing to the answer."""
    at: Mapped[datetime] = mapped_column(default=now)
