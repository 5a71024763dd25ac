"""Candidates and what becomes of them: gate reports, approvals, the pointer, tenures, rollouts; and who may ask."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Float, ForeignKey, Index, Integer, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from pipelines.state.models.base import Base, now


class Candidate(Base):
    """base + adapter + prompt + index + serving policy under one number. Once live it is a release."""

    __tablename__ = "candidates"
    __table_args__ = (UniqueConstraint("domain", "number", name="one_candidate_per_number"),)

    id: Mapped[str] = mapped_column(String(60), primary_key=True)
    """`regulatory/r3`"""
    domain: Mapped[str] = mapped_column(String(40), index=True)
    number: Mapped[int]
    version_id: Mapped[str] = mapped_column(ForeignKey("dataset_versions.id"))
    base: Mapped[str] = mapped_column(String(255))
    base_sha256: Mapped[str] = mapped_column(String(64))
    adapter_id: Mapped[str | None] = mapped_column(ForeignKey("artifacts.id"))
    index_id: Mapped[str] = mapped_column(ForeignKey("artifacts.id"))
    prompt: Mapped[str] = mapped_column(String(80))
    prompt_sha256: Mapped[str] = mapped_column(String(64))
    policy: Mapped[dict[str, Any]]
    """passages, max_new_tokens, and chat_template where it is on: what the gateway needs beside the parts."""
    uploader: Mapped[str] = mapped_column(String(120))
    """Who delivered the data it rests on; never its approver."""
    state: Mapped[str] = mapped_column(String(12), default="assembled", index=True)
    """assembled -> gated -> approved -> canary -> live -> retired | reverted; or refused"""
    reason: Mapped[str | None] = mapped_column(Text)
    step_hash: Mapped[str] = mapped_column(String(64), unique=True)
    claimed_dag: Mapped[str | None] = mapped_column(String(120))
    claimed_run: Mapped[str | None] = mapped_column(String(255))
    announced_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(default=now)


class GateReport(Base):
    """Every metric of one candidate beside the live release, and one verdict."""

    __tablename__ = "gate_reports"

    candidate_id: Mapped[str] = mapped_column(ForeignKey("candidates.id"), primary_key=True)
    verdict: Mapped[str] = mapped_column(String(12))
    reasons: Mapped[list[str]]
    metrics: Mapped[dict[str, Any]]
    against: Mapped[str | None] = mapped_column(String(60))
    path: Mapped[str] = mapped_column(String(255))
    step_hash: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(default=now)


class Approval(Base):
    """A person's answer, read from Airflow's own record."""

    __tablename__ = "approvals"

    candidate_id: Mapped[str] = mapped_column(ForeignKey("candidates.id"), primary_key=True)
    decision: Mapped[str] = mapped_column(String(10))
    actor: Mapped[str] = mapped_column(String(120))
    responded_at: Mapped[datetime]
    source: Mapped[str] = mapped_column(String(512))
    """`dag/run/task` whose record was read."""


class Pointer(Base):
    """One row per domain: what answers now. Gateways read it twice a second."""

    __tablename__ = "pointers"

    domain: Mapped[str] = mapped_column(String(40), primary_key=True)
    live_id: Mapped[str | None] = mapped_column(ForeignKey("candidates.id"))
    previous_id: Mapped[str | None] = mapped_column(ForeignKey("candidates.id"))
    canary_id: Mapped[str | None] = mapped_column(ForeignKey("candidates.id"))
    canary_share: Mapped[float] = mapped_column(Float, default=0.0)
    """Of the conversations that the canary answers."""
    shadow_share: Mapped[float] = mapped_column(Float, default=0.0, server_default="0")
    """Of the requests that the canary answers too, for nobody to see."""
    epoch: Mapped[int] = mapped_column(default=0, server_default="0")
    """Raised by whatever makes cached answers worthless: a rollback, an erasure."""
    since: Mapped[datetime | None]


class Tenure(Base):
    """When a release was live: `live --on DATE` is one query here."""

    __tablename__ = "tenures"
    __table_args__ = (Index("tenure_by_time", "domain", "began_at"),)

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    domain: Mapped[str] = mapped_column(String(40))
    candidate_id: Mapped[str] = mapped_column(ForeignKey("candidates.id"))
    began_at: Mapped[datetime] = mapped_column(default=now)
    ended_at: Mapped[datetime | None]
    actor: Mapped[str] = mapped_column(String(120))
    reason: Mapped[str] = mapped_column(Text)
    announced_at: Mapped[datetime | None]


class RolloutRow(Base):
    """How far a candidate's rollout came, so that a cleared task goes on where it was and never starts the canary anew."""

    __tablename__ = "rollouts"

    candidate_id: Mapped[str] = mapped_column(ForeignKey("candidates.id"), primary_key=True)
    against: Mapped[str | None] = mapped_column(String(60))
    """The release that was live when it began."""
    stage: Mapped[int] = mapped_column(default=0)
    """0 is the shadow where there is one, then the canary's steps."""
    stage_began_at: Mapped[datetime] = mapped_column(default=now)
    began_at: Mapped[datetime] = mapped_column(default=now)
    state: Mapped[str] = mapped_column(String(12), default="running")
    """running | passed | reverted | withdrawn"""
    reason: Mapped[str | None] = mapped_column(Text)
    facts: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """Per stage and test what was seen: counts and evidence, no text."""


class ApiKey(Base):
    """A key of the gateway, by its hash. Never deleted: the audit log names it."""

    __tablename__ = "api_keys"

    hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    """SHA-256 of the key, which has 256 random bits: there is nothing to guess, so no slow hash."""
    name: Mapped[str] = mapped_column(String(120), index=True)
    tenant: Mapped[str] = mapped_column(String(80))
    """Whose it is; answers are cached per tenant. The name where nothing else is said."""
    grants: Mapped[dict[str, Any]]
    """domains, roles, delivers, candidates, pins: see `serving.keys.Grants`."""
    limits: Mapped[dict[str, Any]]
    """requests_per_minute, tokens_per_day; a missing one does not limit."""
    issued_by: Mapped[str] = mapped_column(String(120))
    issued_at: Mapped[datetime] = mapped_column(default=now)
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
