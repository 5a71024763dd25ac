"""From documents to a candidate's parts: dataset versions, manifests, plans, charges, artifacts, erasures."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from pipelines.state.models.base import Base, now


class DatasetVersion(Base):
    """An immutable, named state of a domain's documents: a tag on an Iceberg snapshot."""

    __tablename__ = "dataset_versions"
    __table_args__ = (UniqueConstraint("domain", "major", "minor", name="one_version_per_number"),)

    id: Mapped[str] = mapped_column(String(80), primary_key=True)
    """`ConsumerLeasing_v1.0`"""
    domain: Mapped[str] = mapped_column(String(40), index=True)
    major: Mapped[int]
    minor: Mapped[int]
    snapshot_id: Mapped[str] = mapped_column(String(24))
    """Iceberg's 64-bit snapshot id, as text: JSON readers lose its last digits."""
    arrival_id: Mapped[str] = mapped_column(String(80), unique=True)
    """What it came from; of a restored version, the ledger's entry of the restore itself."""
    restores_id: Mapped[str | None] = mapped_column(String(80))
    """The version whose documents it has, where it was restored."""
    known_on: Mapped[str] = mapped_column(String(10))
    """Latest effective date among the arrivals it rests on."""
    documents: Mapped[int]
    changed: Mapped[dict[str, Any]]
    """Counts: added, superseded, withdrawn, unchanged."""
    content: Mapped[str] = mapped_column(String(64))
    """`documents.state_of` its documents."""
    parent_id: Mapped[str | None] = mapped_column(String(80))
    announced_at: Mapped[datetime | None]
    """When Airflow was told; an asset event goes out once, never for a clear."""
    created_at: Mapped[datetime] = mapped_column(default=now)


class ManifestRow(Base):
    """What a step did, addressed by the hash of what determines it."""

    __tablename__ = "manifests"

    hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    step: Mapped[str] = mapped_column(String(40), index=True)
    domain: Mapped[str] = mapped_column(String(40), index=True)
    body: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(default=now)


class Plan(Base):
    """What a dataset version calls for: pending, then none | index | prompt | adapter."""

    __tablename__ = "plans"

    version_id: Mapped[str] = mapped_column(ForeignKey("dataset_versions.id"), primary_key=True)
    domain: Mapped[str] = mapped_column(String(40), index=True)
    kind: Mapped[str] = mapped_column(String(10), default="pending")
    reason: Mapped[str] = mapped_column(Text, default="")
    cost: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """Estimated before, metered after: see `registry.costs`."""
    signals: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default="{}")
    """What was looked at, with the thresholds that were exceeded: see docs/planning.md."""
    decided: Mapped[str | None] = mapped_column(String(10))
    """What the rules said, where a person overrode them."""
    overridden_by: Mapped[str | None] = mapped_column(String(120))
    overridden_why: Mapped[str | None] = mapped_column(Text)
    waits: Mapped[str | None] = mapped_column(Text)
    """What its training waits for; nothing once it may start."""
    waits_since: Mapped[datetime | None]
    claimed_dag: Mapped[str | None] = mapped_column(String(120))
    claimed_run: Mapped[str | None] = mapped_column(String(255))
    done_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(default=now)


class Charge(Base):
    """What one training costs its domain: an estimate from its admission on, then what was metered. One row per training."""

    __tablename__ = "charges"
    __table_args__ = (Index("charges_by_month", "domain", "at"),)

    key: Mapped[str] = mapped_column(String(100), primary_key=True)
    """`<version>/<first 16 of the learning key>`: a cleared run finds its own."""
    domain: Mapped[str] = mapped_column(String(40))
    version_id: Mapped[str] = mapped_column(ForeignKey("dataset_versions.id"))
    adapter_id: Mapped[str | None] = mapped_column(String(80))
    """Once metered."""
    money: Mapped[float | None]
    """In the budget's currency; nothing where the compute profile has no price."""
    facts: Mapped[dict[str, Any]]
    """Hours, prices, energy: see `registry.costs.Cost`."""
    at: Mapped[datetime] = mapped_column(default=now)
    """Its month pays: of admission, then of the training's end."""


class Artifact(Base):
    """A training set, adapter, index or prompt on disk, with its hash and ancestry."""

    __tablename__ = "artifacts"

    id: Mapped[str] = mapped_column(String(80), primary_key=True)
    """`<kind>-<first 16 of step_hash>`"""
    kind: Mapped[str] = mapped_column(String(16), index=True)
    domain: Mapped[str] = mapped_column(String(40), index=True)
    step_hash: Mapped[str] = mapped_column(String(64), unique=True)
    path: Mapped[str] = mapped_column(String(255))
    """Relative to the artifact store."""
    sha256: Mapped[str] = mapped_column(String(64))
    """SHA-256 of the folder's sorted (name, sha256) list."""
    facts: Mapped[dict[str, Any]]
    barred: Mapped[str | None] = mapped_column(Text)
    """Why no release may use it: it was made from text that was erased since."""
    created_at: Mapped[datetime] = mapped_column(default=now)


class Erasure(Base):
    """One erasure on request. Holds no identifier: the request's hash, and what was found and done."""

    __tablename__ = "erasures"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    """SHA-256 of the request file."""
    domain: Mapped[str] = mapped_column(String(40), index=True)
    actor: Mapped[str] = mapped_column(String(120))
    reason: Mapped[str] = mapped_column(Text)
    receipt: Mapped[dict[str, Any]]
    """What the receipt file says."""
    path: Mapped[str] = mapped_column(String(255))
    """The receipt, relative to the artifact store."""
    created_at: Mapped[datetime] = mapped_column(default=now)
