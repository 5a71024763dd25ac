"""What is held back for a while: a tenant's requests, or a way to answer. Gateways read it with the pointers, twice a second."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, get_args

from sqlalchemy import select
from sqlalchemy.orm import Session

from pipelines.config import Settings
from pipelines.errors import BadInput, Conflict, NotFound
from pipelines.governance import audit
from pipelines.monitor_config import RouteName
from pipelines.state.database import reading, transaction
from pipelines.state.models import Restraint, now

EVERYBODY = "*"


def hold(
    session: Session,
    domain: str,
    kind: str,
    subject: str,
    *,
    minutes: float,
    by: str,
    reason: str,
    at: datetime,
    requests_per_minute: int | None = None,
    incident_id: str | None = None,
) -> Restraint:
    """Hold back from `at` on, in the caller's transaction; audited. `subject`: a tenant, `*`, or a route. BadInput for an unknown route."""
    if kind == "route_off" and subject not in get_args(RouteName):
        raise BadInput(f"there is no route {subject!r}", todo=f"name one of {', '.join(get_args(RouteName))}")
    row = Restraint(
        domain=domain, kind=kind, subject=subject, requests_per_minute=requests_per_minute, began_at=at,
        until=at + timedelta(minutes=minutes), by=by, reason=reason, incident_id=incident_id,
    )  # fmt: skip
    session.add(row)
    session.flush()
    detail = {"subject": subject, "requests_per_minute": requests_per_minute, "minutes": minutes, "reason": reason, "incident": incident_id}
    audit.record(session, actor=by, action=f"restraint.{kind}", subject=f"{domain}/{row.id}", detail=detail)
    return row


def in_force(settings: Settings, domain: str | None, at: datetime) -> list[Restraint]:
    """What is held back at that time, of one domain or of all, oldest first."""
    query = select(Restraint).where(Restraint.began_at <= at, Restraint.until > at, Restraint.lifted_at.is_(None)).order_by(Restraint.id)
    with reading(settings) as session:
        return list(session.scalars(query.where(Restraint.domain == domain) if domain else query))


def lift(settings: Settings, number: int, by: str, reason: str) -> Restraint:
    """End it now; audited. NotFound for a number that there is not, Conflict for one that is over."""
    with transaction(settings) as session:
        row = session.get(Restraint, number)
        if row is None:
            raise NotFound(f"there is no restraint {number}", todo="`ratchet alerts restraints` lists them")
        moment = now()
        if row.lifted_at is not None or row.until <= moment:
            raise Conflict(f"restraint {number} is over already")
        row.lifted_at = moment
        detail = {"kind": row.kind, "subject": row.subject, "reason": reason}
        audit.record(session, actor=by, action="restraint.lifted", subject=f"{row.domain}/{row.id}", detail=detail)
        return row


def facts(row: Restraint) -> dict[str, Any]:
    """What is shown of one."""
    return {
        "id": row.id, "domain": row.domain, "kind": row.kind, "subject": row.subject, "requests_per_minute": row.requests_per_minute,
        "until": row.until, "by": row.by, "reason": row.reason, "incident": row.incident_id,
    }  # fmt: skip
