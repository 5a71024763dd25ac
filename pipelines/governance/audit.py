"""The audit log: append-only, each event carrying the hash of the one before, so that a removed or altered row shows."""

from __future__ import annotations

from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from pipelines.manifest import sha256
from pipelines.state.models import AuditEvent, now

GENESIS = "0" * 64


def record(
    session: Session,
    *,
    actor: str,
    action: str,
    subject: str,
    allowed: bool = True,
    detail: dict[str, Any] | None = None,
) -> None:
    """Append one event in the caller's transaction: what happened and its record stand or fall together."""
    if session.get_bind().dialect.name == "postgresql":
        # SQLite has one writer anyway; elsewhere two appenders must not read the same tail.
        session.execute(select(func.pg_advisory_xact_lock(0x7261746368)))
    tail = session.execute(select(AuditEvent.seq, AuditEvent.hash).order_by(AuditEvent.seq.desc()).limit(1)).one_or_none()
    seq, previous = (tail[0] + 1, tail[1]) if tail else (1, GENESIS)
    event = AuditEvent(
        seq=seq,
        at=now().isoformat(),
        actor=actor,
        action=action,
        subject=subject,
        allowed=allowed,
        detail=detail or {},
        previous=previous,
    )
    event.hash = _digest(event)
    session.add(event)
    session.flush()


def verify(session: Session) -> tuple[int, list[str]]:
    """Number of events, and one line per break in the chain (empty when whole)."""
    faults: list[str] = []
    expected, count, previous = 1, 0, GENESIS
    for event in session.scalars(select(AuditEvent).order_by(AuditEvent.seq)):
        if event.seq != expected:
            faults.append(f"event {expected} is missing")
        if event.previous != previous:
            faults.append(f"event {event.seq} does not follow the one before it")
        if event.hash != _digest(event):
            faults.append(f"event {event.seq} was altered")
        expected, previous, count = event.seq + 1, event.hash, count + 1
    return count, faults


def _digest(event: AuditEvent) -> str:
    return sha256([event.seq, event.at, event.actor, event.action, event.subject, event.allowed, event.detail, event.previous])
