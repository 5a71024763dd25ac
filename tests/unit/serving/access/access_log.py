"""What the audit log says of refusals."""

from __future__ import annotations

from sqlalchemy import select

from pipelines.config import Settings
from pipelines.governance import audit
from pipelines.state.database import reading
from pipelines.state.models import AuditEvent


def refused(settings: Settings) -> list[tuple[str, str, int]]:
    """(who, reason, count) of every refusal in the audit log, whose chain holds."""
    with reading(settings) as session:
        assert audit.verify(session)[1] == []
        rows = session.scalars(select(AuditEvent).where(AuditEvent.action == "access.refused").order_by(AuditEvent.seq))
        return [(row.actor, row.detail["reason"], row.detail["count"]) for row in rows]
