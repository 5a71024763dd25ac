"""What people do with incidents: look, acknowledge, close, silence. Each with who did it, audited."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from pipelines.config import Settings, load_domain
from pipelines.errors import BadInput, Conflict, NotFound, RatchetError
from pipelines.governance import audit
from pipelines.monitor_config import Alerts
from pipelines.monitoring import alerts, incidents
from pipelines.monitoring.lease import alone
from pipelines.state.database import reading, transaction
from pipelines.state.models import AlertDelivery, Incident, MonitorMark, Silence, now

ACCEPT = "accept"
"""Name of the mark that asks the watcher to take what a measure is now for what it should be."""


def listed(settings: Settings, domain: str | None = None, *, closed: bool = False, limit: int = 50) -> list[dict[str, Any]]:
    """Incidents, newest first: id, severity, state, title, opened_at, closed_at, told, not_told (failed deliveries), drill."""
    query = select(Incident).order_by(Incident.opened_at.desc(), Incident.number.desc()).limit(limit)
    if domain is not None:
        query = query.where(Incident.domain == domain)
    if not closed:
        query = query.where(Incident.state != "closed")
    with reading(settings) as session:
        return [_row(session, row) for row in session.scalars(query)]


def shown(settings: Settings, incident_id: str) -> dict[str, Any]:
    """All of one incident, with its deliveries. NotFound for an id that there is not."""
    with reading(settings) as session:
        row = _get(session, incident_id)
        rows = session.scalars(select(AlertDelivery).where(AlertDelivery.incident_id == row.id).order_by(AlertDelivery.id))
        told = [
            {"event": one.event, "address": one.address, "state": one.state, "tries": one.tries, "sent_at": one.sent_at, "error": one.error}
            for one in rows
        ]
        return _row(session, row) | {
            "signals": row.signals, "cause": row.cause, "timeline": row.timeline.get("events", []), "runbook": row.runbook,
            "acked_by": row.acked_by, "acked_at": row.acked_at, "deliveries": told,
        }  # fmt: skip


def acknowledge(settings: Settings, incident_id: str, by: str) -> None:
    """Somebody has it: it is not told again. Harmless to repeat. NotFound; Conflict for one that is closed."""
    with transaction(settings) as session:
        row = _open(session, incident_id)
        if row.state == "acked":
            return
        row.state, row.acked_by, row.acked_at = "acked", by, now()
        incidents.note(row, row.acked_at, "acknowledged", by)
        audit.record(session, actor=by, action="incident.acknowledged", subject=row.id)


def close(settings: Settings, incident_id: str, by: str, reason: str, *, no_fault: bool = False) -> None:
    """End it, though not all of it is well. `no_fault`: what is seen is as it should be, and the detectors learn it so.

    Without `no_fault`, what is still bad is not raised again before it was well in between. NotFound, Conflict as `acknowledge`; BadInput
    without a reason.
    """
    if not reason.strip():
        raise BadInput("an incident is not closed without a reason", todo="--reason what it was")
    with transaction(settings) as session:
        row = _open(session, incident_id)
        if no_fault:
            keys = [key for key, one in row.signals.items() if not one["over"]]
            mark = session.get(MonitorMark, (row.domain, ACCEPT))
            if mark is None:
                session.add(MonitorMark(domain=row.domain, name=ACCEPT, state={"signals": keys}))
            else:
                mark.state = {"signals": sorted({*mark.state.get("signals", []), *keys})}
        moment = now()
        incidents.end(session, row, moment, by, reason + (" (no fault: it is as it should be)" if no_fault else ""))
        alerts.queue(session, _alerts(settings, row.domain), row, "closed", moment)


def silence(
    settings: Settings,
    domain: str,
    *,
    hours: float,
    by: str,
    why: str,
    rule: str | None = None,
    group: str | None = None,
    actions_too: bool = False,
) -> Silence:
    """Tell nobody of these signals for so long. BadInput for an unknown rule, no reason, or a time that is none; NotFound for a domain."""
    config = load_domain(domain, settings)
    names = [*(one.name for one in config.monitors.watched()), *incidents.OWN]
    if rule is not None and rule not in names:
        raise BadInput(f"{domain} has no rule {rule!r}", todo=f"its rules are {', '.join(names)}")
    if not why.strip():
        raise BadInput("a silence needs a reason", todo="--why")
    if not 0 < hours <= 24 * 31:
        raise BadInput(
            f"a silence cannot last {hours:g} hours", todo="up to 744, a month: a rule that is never wanted is taken out of the file"
        )
    with transaction(settings) as session:
        moment = now()
        row = Silence(
            domain=domain, rule=rule, group=group, actions_too=actions_too, until=moment + timedelta(hours=hours), by=by, why=why,
            created_at=moment,
        )  # fmt: skip
        session.add(row)
        session.flush()
        detail = {"rule": rule, "group": group, "hours": hours, "actions_too": actions_too, "why": why}
        audit.record(session, actor=by, action="silence.begun", subject=f"{domain}/{row.id}", detail=detail)
        for one in incidents.open_of(session, domain):
            incidents.note(one, moment, f"silence {row.id} until {row.until:%Y-%m-%d %H:%M} UTC: {why}", by)
        return row


def unsilence(settings: Settings, number: int, by: str) -> Silence:
    """End a silence now. What is still open and was held back is told. NotFound; Conflict for one that is over."""
    with transaction(settings) as session:
        row = session.get(Silence, number)
        if row is None:
            raise NotFound(f"there is no silence {number}", todo="`ratchet alerts silences` lists them")
        moment = now()
        if row.until <= moment:
            raise Conflict(f"silence {number} is over already")
        row.until = moment
        audit.record(session, actor=by, action="silence.ended", subject=f"{row.domain}/{row.id}")
        return row


def silences(settings: Settings, domain: str | None, at: datetime) -> list[dict[str, Any]]:
    """Silences that hold at that time."""
    query = select(Silence).where(Silence.until > at).order_by(Silence.id)
    with reading(settings) as session:
        rows = session.scalars(query.where(Silence.domain == domain) if domain else query)
        names = ("id", "domain", "rule", "group", "actions_too", "until", "by", "why")
        return [{name: getattr(row, name) for name in names} for row in rows]


def _alerts(settings: Settings, domain: str) -> Alerts:
    try:
        return load_domain(domain, settings).monitors.alerts
    except RatchetError:  # its file is broken, or it belongs to the site
        return Alerts()


def _get(session: Session, incident_id: str) -> Incident:
    row = session.get(Incident, incident_id)
    if row is None:
        raise NotFound(f"there is no incident {incident_id!r}", todo="`ratchet alerts list --closed` lists them")
    return row


def _open(session: Session, incident_id: str) -> Incident:
    alone(session)
    row = _get(session, incident_id)
    if row.state == "closed":
        raise Conflict(f"{incident_id} is closed already", todo="`ratchet alerts show` says by whom")
    return row


def _row(session: Session, row: Incident) -> dict[str, Any]:
    states = list(session.scalars(select(AlertDelivery.state).where(AlertDelivery.incident_id == row.id)))
    names = ("id", "domain", "severity", "state", "title", "opened_at", "closed_at", "drill")
    return {name: getattr(row, name) for name in names} | {"told": states.count("sent"), "not_told": states.count("failed")}
