"""Accepted corrections on their way back: sealed as an arrival of the domain's landing zone, recognised there by their hash, and followed
until a release gets them right.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import select

from pipelines.config import DomainConfig, Settings
from pipelines.corpus import corrections
from pipelines.corpus.corrections import Kind
from pipelines.errors import NotFound
from pipelines.governance import audit
from pipelines.intake import landing
from pipelines.manifest import sha256
from pipelines.state.database import reading, transaction
from pipelines.state.models import ReviewItem, now
from pipelines.traffic import sealed

UPLOADER = "feedback"
"""Nobody by that name approves: whoever reviewed the corrections is on record with each."""


def digest(question: str, answer: str | None, cites: str | None) -> str:
    """SHA-256 of what a reviewer accepted: of another question, answer (None: nothing states it) or document, another."""
    return sha256(["correction", question, answer, cites])


def waiting(settings: Settings, domain: str) -> list[ReviewItem]:
    """Accepted items that no arrival brings yet, oldest first."""
    with reading(settings) as session:
        query = select(ReviewItem).where(
            ReviewItem.domain == domain,
            ReviewItem.state == "accepted",
            ReviewItem.delivered_in.is_(None),
            ReviewItem.answer_sha256.is_not(None),
        )
        return [row for row in session.scalars(query.order_by(ReviewItem.settled_at, ReviewItem.number)) if kind_of(row) is not None]


def kind_of(item: ReviewItem) -> Kind | None:
    """What it becomes. What is asked by the gate is never trained on, so a golden or a regression case is no example."""
    for kind in ("golden", "regression", "example"):
        if (item.kinds or {}).get(kind):
            return kind
    return None


def deliver(settings: Settings, domain: DomainConfig) -> dict[str, Any]:
    """Seal what was accepted into the landing zone, once there is enough of it or the oldest has waited long enough.

    Returns {"delivered", "waiting", "folder", "lost"}. Killed in between, the next call delivers it again: equal arrivals are told apart by
    their seal, equal corrections by their key. `lost`: accepted, but their text is past its retention.
    """
    items, rule = waiting(settings, domain.domain), domain.feedback
    told: dict[str, Any] = {"delivered": 0, "waiting": len(items), "folder": None, "lost": 0}
    oldest = min((item.settled_at for item in items if item.settled_at is not None), default=None)
    due = oldest is not None and now() - oldest >= timedelta(days=rule.learn_after_days)
    if not items or (len(items) < rule.learn_after and not due):
        return told
    lines, brought = [], []
    for item in items:
        try:
            lines.append(_line(item, sealed.read(settings, domain.domain, item.sealed)))
        except NotFound:
            told["lost"] += 1
            continue
        brought.append(item.id)
    if not brought:
        return told
    with tempfile.TemporaryDirectory(dir=_private(settings)) as folder:
        path = Path(folder) / corrections.FILE
        path.write_text("".join(json.dumps(line, ensure_ascii=False, sort_keys=True) + "\n" for line in lines), encoding="utf-8")
        arrival = landing.deliver(settings, domain.domain, [path], uploader=UPLOADER, source=corrections.SOURCE, effective=settings.day())
    with transaction(settings) as session:
        for name in brought:
            session.get_one(ReviewItem, name).delivered_in = arrival.name
        detail = {"items": brought[:100], "count": len(brought)}
        audit.record(session, actor=UPLOADER, action="corrections.delivered", subject=f"{domain.domain}/{arrival.name}", detail=detail)
    return told | {"delivered": len(brought), "waiting": len(items) - len(brought), "folder": arrival.name}


def outcomes(settings: Settings, domain: str, release: str, right: Mapping[str, bool]) -> dict[str, int]:
    """Write down what a release that is live now makes of corrected questions: `right` by the correction's key.

    The first release that gets one right mends it; a later one that gets it wrong regresses it. Returns {"mended", "regressed", "right",
    "asked"}.
    """
    by_fingerprint = {corrections.fingerprint_of(key): good for key, good in right.items()}
    told = {"mended": 0, "regressed": 0, "right": sum(right.values()), "asked": len(right)}
    with transaction(settings) as session:
        for item in session.scalars(select(ReviewItem).where(ReviewItem.domain == domain, ReviewItem.state == "accepted")):
            good = by_fingerprint.get(item.fingerprint[:16])
            if good and item.mended_by is None:
                item.mended_by, item.mended_at = release, now()
                told["mended"] += 1
            elif good:
                item.regressed_by = None
            elif good is False and item.mended_by is not None and item.mended_by != release:
                told["regressed"] += item.regressed_by is None
                item.regressed_by = release
        if right:
            audit.record(session, actor="ratchet", action="release.answers_complaints", subject=release, detail=told)
    return told


def _line(item: ReviewItem, text: Mapping[str, Any]) -> dict[str, str]:
    kind = kind_of(item)
    assert kind is not None  # noqa: S101 - `waiting` gives no other
    accepted = text["accepted"]
    answer = accepted["answer"]
    return {
        "key": corrections.key_of(kind, item.fingerprint),
        "question": text["question"],
        "answer": corrections.NOT_STATED if answer is None else answer,
        "cites": accepted["cites"] or "",
    }


def _private(settings: Settings) -> Path:
    """Where a file may lie for a moment before it is sealed: in the landing zone, never where others read."""
    place = settings.landing_zone / ".corrections"
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    return place
