"""What happened in a domain, for the monitoring page: releases, incidents and who was told of them, what is held back, what is silenced."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from pipelines.config import Settings
from pipelines.monitoring.charts import Band, Mark
from pipelines.state.database import reading
from pipelines.state.models import (
    AlertDelivery,
    AuditEvent,
    Candidate,
    Incident,
    Restraint,
    ReviewItem,
    RolloutRow,
    Silence,
    Tenure,
)

Row = dict[str, Any]
PAST = 20
"""Incidents that are over and still shown."""
OPEN = ("open", "acked")
WAITING = ("open", "disputed", "escalated")
"""States of review items that somebody must look at."""


def marks(settings: Settings, domain: str, begin: datetime, end: datetime) -> list[Mark]:
    """What changed between two moments: releases that went live, what was taken back, steps of canaries. Oldest first."""
    found: list[Mark] = []
    with reading(settings) as session:
        back = {
            event.subject: datetime.fromisoformat(event.at)
            for event in session.scalars(
                select(AuditEvent).where(
                    AuditEvent.action == "release.rollback", AuditEvent.subject.startswith(f"{domain}/"), AuditEvent.at >= begin.isoformat()
                )
            )
        }
        tenures = select(Tenure).where(Tenure.domain == domain, Tenure.began_at >= begin, Tenure.began_at < end)
        for row in session.scalars(tenures.order_by(Tenure.began_at)):
            reverted = row.candidate_id in back and abs(back[row.candidate_id] - row.began_at) < timedelta(minutes=1)
            says = f"{'back to ' if reverted else ''}{row.candidate_id}{'' if reverted else ' live'}, by {row.actor}: {row.reason}"
            found.append(Mark(row.began_at, short(row.candidate_id), "revert" if reverted else "release", says))
        rollouts = (
            select(RolloutRow)
            .join(Candidate, Candidate.id == RolloutRow.candidate_id)
            .where(Candidate.domain == domain, RolloutRow.began_at >= begin - timedelta(days=31), RolloutRow.began_at < end)
        )
        for rollout in session.scalars(rollouts):
            for stage in rollout.facts.get("stages", []):
                at = datetime.fromisoformat(stage["began"])
                of = "of requests in shadow" if stage.get("shadow") else "of conversations"
                if begin <= at < end:
                    says = f"canary {rollout.candidate_id}: {100 * stage['share']:.0f} % {of}"
                    found.append(Mark(at, short(rollout.candidate_id), "canary", says))
    return [replace(one, href=f"#change-{number}") for number, one in enumerate(sorted(found, key=lambda one: one.at), 1)]


def bands(settings: Settings, domain: str, begin: datetime, end: datetime) -> list[Band]:
    """When something was wrong, between two moments."""
    query = select(Incident).where(
        Incident.domain == domain, Incident.opened_at < end, Incident.closed_at.is_(None) | (Incident.closed_at >= begin)
    )
    with reading(settings) as session:
        return [
            Band(row.opened_at, row.closed_at or end, f"{row.id}, {row.severity}: {row.title}", f"#{row.id}")
            for row in session.scalars(query.order_by(Incident.opened_at))
        ]


def incidents(settings: Settings, domain: str) -> list[Row]:
    """Open incidents, then the newest that are over: each a dict of its row's columns, `deliveries`, `actions`, `candidates`, `events`."""
    open_first = select(Incident).where(Incident.domain == domain).order_by(Incident.state == "closed", Incident.opened_at.desc())
    with reading(settings) as session:
        rows = session.scalars(open_first.limit(200)).all()
        past = [row for row in rows if row.state not in OPEN][:PAST]
        return [_incident(session, row) for row in (*(row for row in rows if row.state in OPEN), *past)]


def _incident(session: Session, row: Incident) -> Row:
    told = session.scalars(select(AlertDelivery).where(AlertDelivery.incident_id == row.id).order_by(AlertDelivery.id)).all()
    held = session.scalars(select(Restraint).where(Restraint.incident_id == row.id).order_by(Restraint.began_at)).all()
    audited = session.scalars(select(AuditEvent).where(AuditEvent.subject == row.id).order_by(AuditEvent.seq)).all()
    named = sorted(
        set(re.findall(rf"\b{re.escape(row.domain)}/r\d+\b", f"{row.cause} {row.timeline}")), key=lambda one: int(one.rpartition("r")[2])
    )
    candidates = session.scalars(select(Candidate).where(Candidate.id.in_(named))).all()
    return {column.key: getattr(row, column.key) for column in Incident.__table__.columns} | {
        "deliveries": told,
        "failed": [one for one in told if one.state == "failed"],
        "restraints": held,
        "audited": audited,
        "candidates": candidates,
        "events": row.timeline.get("events", []),
    }


def restraints(settings: Settings, domain: str, moment: datetime) -> list[Restraint]:
    """What is held back at this moment, oldest first."""
    query = select(Restraint).where(Restraint.domain == domain, Restraint.until > moment, Restraint.lifted_at.is_(None))
    with reading(settings) as session:
        return list(session.scalars(query.order_by(Restraint.began_at)))


def silences(settings: Settings, domain: str, moment: datetime) -> list[Silence]:
    """What nobody is told of at this moment, oldest first."""
    query = select(Silence).where(Silence.domain == domain, Silence.until > moment)
    with reading(settings) as session:
        return list(session.scalars(query.order_by(Silence.id)))


def review_waits(settings: Settings, domain: str) -> dict[str, int]:
    """Review items that somebody must look at, by state."""
    query = (
        select(ReviewItem.state, func.count()).where(ReviewItem.domain == domain, ReviewItem.state.in_(WAITING)).group_by(ReviewItem.state)
    )
    with reading(settings) as session:
        return {state: count for state, count in session.execute(query)}


def short(candidate_id: str) -> str:
    """`r7` of `law/r7`."""
    return candidate_id.rpartition("/")[2]
