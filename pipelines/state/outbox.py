"""Tells other systems what became true here: written in the same transaction, delivered afterwards, as often as it takes.

MLflow being down costs a later `doctor` run, never a training run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from pipelines.config import Settings
from pipelines.errors import Unavailable
from pipelines.state.database import reading, transaction
from pipelines.state.models import OutboxMessage, now

Handler = Callable[[Settings, dict[str, Any]], None]


def put(session: Session, kind: str, key: str, payload: dict[str, Any]) -> None:
    """Add one message in the caller's transaction; the same key again adds nothing."""
    if session.scalar(select(OutboxMessage.id).where(OutboxMessage.key == key)) is None:
        session.add(OutboxMessage(kind=kind, key=key, payload=payload))


def pending(settings: Settings) -> int:
    """Messages not yet delivered."""
    with reading(settings) as session:
        return session.scalar(select(func.count()).where(OutboxMessage.published_at.is_(None))) or 0


def drain(settings: Settings, handlers: Mapping[str, Handler]) -> tuple[int, list[str]]:
    """Deliver what is pending, oldest first. Returns (delivered, one line per service that did not answer).

    A handler must be idempotent: a crash between its work and our mark repeats it.
    """
    with reading(settings) as session:
        rows = session.execute(
            select(OutboxMessage.id, OutboxMessage.kind, OutboxMessage.payload)
            .where(OutboxMessage.published_at.is_(None))
            .order_by(OutboxMessage.id)
        ).all()
    delivered = 0
    faults: list[str] = []
    for row_id, kind, payload in rows:
        try:
            handlers[kind](settings, payload)
        except Unavailable as error:
            _mark(settings, row_id, str(error))
            faults.append(str(error))
            break  # the service is down: the rest would only wait for the same time-out
        _mark(settings, row_id, None)
        delivered += 1
    return delivered, faults


def _mark(settings: Settings, row_id: int, error: str | None) -> None:
    with transaction(settings) as session:
        message = session.get_one(OutboxMessage, row_id)
        message.attempts += 1
        message.last_error = error
        message.published_at = now() if error is None else None
