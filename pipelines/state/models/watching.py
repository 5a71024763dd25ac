"""What is seen of the answers: incidents, who was told, silences, restraints, marks of the watcher, observations."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, Integer, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from pipelines.state.models.base import Base, now


class Incident(Base):
    """Something that is wrong with a domain's answers: what was seen, what changed last, who was told, what was done."""

    __tablename__ = "incidents"
    __table_args__ = (Index("incidents_by_time", "domain", "opened_at"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    """`regulatory-i12`"""
    domain: Mapped[str] = mapped_column(String(40))
    number: Mapped[int]
    title: Mapped[str] = mapped_column(Text)
    severity: Mapped[str] = mapped_column(String(8))
    """page | ticket | note"""
    state: Mapped[str] = mapped_column(String(8), default="open", index=True)
    """open | acked | closed"""
    signals: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """By `rule/group`: what was seen, what was expected, since when, whether it is over. One that is open belongs to one incident only."""
    cause: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """What changed last: release, prompt, index, traffic mix, provider, engine; with times, the likeliest first."""
    timeline: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """`{"events": [{"at", "what", "by"}]}`, oldest first."""
    runbook: Mapped[str] = mapped_column(String(120))
    opened_at: Mapped[datetime] = mapped_column(default=now)
    acked_by: Mapped[str | None] = mapped_column(String(120))
    acked_at: Mapped[datetime | None]
    closed_at: Mapped[datetime | None]
    drill: Mapped[bool] = mapped_column(default=False)
    """Planted on purpose."""


class AlertDelivery(Base):
    """One message to one address about one event of an incident. Unique: nobody is told the same twice."""

    __tablename__ = "alert_deliveries"
    __table_args__ = (
        UniqueConstraint("incident_id", "event", "address", name="told_once"),
        Index("deliveries_due", "state", "due_at"),
    )

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    incident_id: Mapped[str] = mapped_column(ForeignKey("incidents.id"), index=True)
    event: Mapped[str] = mapped_column(String(80))
    """opened | escalated | repeated-<n> | closed ..."""
    address: Mapped[str] = mapped_column(String(80))
    """`<scheme>-<first 8 of the SHA-256 of the address>`: the address itself holds a secret."""
    state: Mapped[str] = mapped_column(String(10), default="waiting")
    """waiting | sending | sent | failed | silenced; `sending` is never sent again: nobody knows whether it came"""
    tries: Mapped[int] = mapped_column(default=0)
    due_at: Mapped[datetime] = mapped_column(default=now)
    sent_at: Mapped[datetime | None]
    error: Mapped[str | None] = mapped_column(Text)


class Silence(Base):
    """Nobody is told of these signals until then. What is seen is still written down, and actions are still taken unless it says not."""

    __tablename__ = "silences"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    domain: Mapped[str] = mapped_column(String(40), index=True)
    rule: Mapped[str | None] = mapped_column(String(40))
    """Empty: every rule of the domain."""
    group: Mapped[str | None] = mapped_column(String(120))
    actions_too: Mapped[bool] = mapped_column(default=False)
    until: Mapped[datetime]
    by: Mapped[str] = mapped_column(String(120))
    why: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(default=now)


class Restraint(Base):
    """What the watcher, or a person, holds back for a while: gateways read it with the pointers, twice a second."""

    __tablename__ = "restraints"
    __table_args__ = (Index("restraints_in_force", "domain", "until"),)

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    domain: Mapped[str] = mapped_column(String(40))
    kind: Mapped[str] = mapped_column(String(10))
    """throttle | route_off"""
    subject: Mapped[str] = mapped_column(String(80))
    """A tenant, `*` for all of them; or a route: small, provider, semantic_cache."""
    requests_per_minute: Mapped[int | None]
    began_at: Mapped[datetime] = mapped_column(default=now)
    until: Mapped[datetime]
    lifted_at: Mapped[datetime | None]
    by: Mapped[str] = mapped_column(String(120))
    reason: Mapped[str] = mapped_column(Text)
    incident_id: Mapped[str | None] = mapped_column(String(40))


class MonitorMark(Base):
    """What a watcher must know after a restart: how far it read, what its detectors had seen."""

    __tablename__ = "monitor_marks"

    domain: Mapped[str] = mapped_column(String(40), primary_key=True)
    name: Mapped[str] = mapped_column(String(120), primary_key=True)
    state: Mapped[dict[str, Any]] = mapped_column(default=dict)
    at: Mapped[datetime] = mapped_column(default=now, onupdate=now)


class Observation(Base):
    """One figure that was measured beside the traffic log: of a probe, a judge, a text, a drift. No text is in it."""

    __tablename__ = "observations"
    __table_args__ = (Index("observations_by_time", "domain", "measure", "at"),)

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    domain: Mapped[str] = mapped_column(String(40))
    at: Mapped[datetime]
    """Of the answer, or of the end of what was looked at."""
    measure: Mapped[str] = mapped_column(String(40))
    source: Mapped[str] = mapped_column(String(10))
    """probe | judge | text | drift | drill"""
    release: Mapped[str | None] = mapped_column(String(60))
    request_id: Mapped[str | None] = mapped_column(String(64))
    value: Mapped[float]
    n: Mapped[int] = mapped_column(default=1)
    """Answers that the value is the mean of."""
    detail: Mapped[dict[str, Any]] = mapped_column(default=dict)
