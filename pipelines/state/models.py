"""The tables of the control database: the only authority on arrivals, versions, candidates, approvals and releases.

Everything else (Iceberg, MLflow, Airflow's asset events, Triton) can be rebuilt or verified from the hashes kept here.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, DateTime, Float, ForeignKey, Index, Integer, LargeBinary, String, Text, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator


class UTCDateTime(TypeDecorator[datetime]):
    """An aware UTC datetime on every backend; SQLite forgets the zone, so it is put back on reading."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> datetime | None:  # noqa: ARG002
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a datetime without a zone cannot be stored")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Any) -> datetime | None:  # noqa: ARG002
        return None if value is None else value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    """Declarative base; JSON columns hold small, non-personal facts only."""

    type_annotation_map = {datetime: UTCDateTime, dict[str, Any]: JSON, list[str]: JSON}  # noqa: RUF012


def now() -> datetime:
    """The present, aware, UTC."""
    return datetime.now(UTC)


class Arrival(Base):
    """A sealed delivery. `state`: received -> accepted | quarantined | refused."""

    __tablename__ = "arrivals"
    __table_args__ = (UniqueConstraint("domain", "folder", name="one_arrival_per_folder"),)

    id: Mapped[str] = mapped_column(String(80), primary_key=True)
    """`<domain>-<first 12 of the seal>`, with `-2`, `-3` ... where the same content came again."""
    domain: Mapped[str] = mapped_column(String(40), index=True)
    folder: Mapped[str] = mapped_column(String(255))
    """Name of its folder in the landing zone, relative to the domain's."""
    seal: Mapped[str] = mapped_column(String(64), index=True)
    """SHA-256 over source, effective date and files: equal for equal deliveries."""
    duplicate_of: Mapped[str | None] = mapped_column(String(80))
    """An earlier arrival with the same seal that was not refused: nothing is stored twice."""
    uploader: Mapped[str] = mapped_column(String(120))
    source: Mapped[str] = mapped_column(String(120))
    effective: Mapped[str] = mapped_column(String(10))
    """ISO date from which the delivered text holds, unless a document says otherwise."""
    files: Mapped[int] = mapped_column(Integer)
    state: Mapped[str] = mapped_column(String(12), default="received", index=True)
    reason: Mapped[str | None] = mapped_column(Text)
    received_at: Mapped[datetime] = mapped_column(default=now)
    settled_at: Mapped[datetime | None]
    claimed_dag: Mapped[str | None] = mapped_column(String(120))
    claimed_run: Mapped[str | None] = mapped_column(String(255))
    claimed_at: Mapped[datetime | None]
    staged: Mapped[str | None] = mapped_column(String(255))
    """Folder of its masked documents, relative to the artifact store, once prepared."""
    prepared: Mapped[str | None] = mapped_column(String(16))
    """First 16 of the hash of its preparation, a refused one's too: its reports lie in `contract/<this>` and `masking/<this>`."""
    version_id: Mapped[str | None] = mapped_column(ForeignKey("dataset_versions.id"))
    releases: Mapped[str | None] = mapped_column(String(80), index=True)
    """Of a release from quarantine: the arrival whose held documents it brings. It has no files and no lines of its own."""
    undone_by: Mapped[str | None] = mapped_column(String(80))
    """The restoring version that took its documents out again; empty while the newest version holds them."""


class ArrivalItem(Base):
    """One line of the account: a file, or a document in it, and what became of it."""

    __tablename__ = "arrival_items"
    __table_args__ = (
        UniqueConstraint("arrival_id", "file", "place", name="one_line_per_place"),
        Index("lines_by_key", "key"),
        Index("lines_by_file", "file"),
    )

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    arrival_id: Mapped[str] = mapped_column(ForeignKey("arrivals.id"), index=True)
    file: Mapped[str] = mapped_column(String(64))
    """First 16 of the file's SHA-256 plus its suffix: a file's own name may hold a person's."""
    place: Mapped[str] = mapped_column(String(120), default="")
    """Where in the file: a paragraph label, a row number; empty for the file itself."""
    key: Mapped[str | None] = mapped_column(String(200))
    """The document's key (a surrogate, where the domain is not public)."""
    content: Mapped[str | None] = mapped_column(String(64))
    """SHA-256 of the masked text."""
    state: Mapped[str] = mapped_column(String(12))
    """accepted | unchanged | duplicate | quarantined | refused"""
    reason: Mapped[str | None] = mapped_column(Text)


class HeldDocument(Base):
    """A document that waits for a person, or waited: which rules hold it, and what was decided. Its text is in the staged folder."""

    __tablename__ = "held_documents"
    __table_args__ = (UniqueConstraint("arrival_id", "file", "place", name="held_once"), Index("held_by_domain", "domain", "decision"))

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    domain: Mapped[str] = mapped_column(String(40))
    arrival_id: Mapped[str] = mapped_column(ForeignKey("arrivals.id"), index=True)
    row: Mapped[int]
    """Its row in `held.parquet`."""
    file: Mapped[str] = mapped_column(String(64))
    place: Mapped[str] = mapped_column(String(120))
    key: Mapped[str | None] = mapped_column(String(200))
    findings: Mapped[dict[str, Any]]
    """`{"findings": [{rule, reason, part, start, end}]}`: places and words, never text."""
    held_at: Mapped[datetime] = mapped_column(default=now)
    decision: Mapped[str | None] = mapped_column(String(10))
    """released | refused; nothing while it waits."""
    decided_by: Mapped[str | None] = mapped_column(String(120))
    decided_why: Mapped[str | None] = mapped_column(Text)
    decided_at: Mapped[datetime | None]
    release_id: Mapped[str | None] = mapped_column(String(80), index=True)
    """The arrival that takes it through publishing."""
    state: Mapped[str] = mapped_column(String(12), default="quarantined")
    """State of its line in the account."""
    reason: Mapped[str | None] = mapped_column(Text)
    """Reason of its line."""


class Upload(Base):
    """What an arrival weighs on its uploader's quota, counted once."""

    __tablename__ = "uploads"
    __table_args__ = (Index("uploads_by_day", "domain", "uploader", "day"),)

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    arrival_id: Mapped[str] = mapped_column(ForeignKey("arrivals.id"), unique=True)
    domain: Mapped[str] = mapped_column(String(40))
    uploader: Mapped[str] = mapped_column(String(120))
    day: Mapped[str] = mapped_column(String(10))
    """ISO date, UTC, of receipt."""
    documents: Mapped[int]
    size: Mapped[int] = mapped_column(BigInteger)
    """Bytes."""


class ScreenCount(Base):
    """The domain's history for the outlier rules: accepted documents per bin of length, or per label's hash."""

    __tablename__ = "screen_counts"

    domain: Mapped[str] = mapped_column(String(40), primary_key=True)
    measure: Mapped[str] = mapped_column(String(8), primary_key=True)
    """length | label"""
    bin: Mapped[str] = mapped_column(String(16), primary_key=True)
    documents: Mapped[int]


class TextSignature(Base):
    """The text that a key has now, as hashes: what later arrivals are compared with. Texts of amendment chains are not here."""

    __tablename__ = "text_signatures"
    __table_args__ = (Index("signature_by_text", "domain", "text"),)

    domain: Mapped[str] = mapped_column(String(40), primary_key=True)
    key: Mapped[str] = mapped_column(String(200), primary_key=True)
    arrival_id: Mapped[str] = mapped_column(String(80))
    text: Mapped[str] = mapped_column(String(64))
    """SHA-256 of title and text, both masked."""
    valid_from: Mapped[str] = mapped_column(String(10))
    sketch: Mapped[bytes | None] = mapped_column(LargeBinary)
    """MinHash of the text; none for a short or withdrawn one."""
    linked_to: Mapped[str | None] = mapped_column(String(200), index=True)
    """The key whose text stands for this one's; nothing is stored under this key then."""


class SignatureBand(Base):
    """The bands of a signature: like texts share one."""

    __tablename__ = "signature_bands"

    domain: Mapped[str] = mapped_column(String(40), primary_key=True)
    band: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    key: Mapped[str] = mapped_column(String(200), primary_key=True)


class ChainLink(Base):
    """A source document's place in its amendment chain, by the arrival that brought it. Replaying all links of a part gives its text."""

    __tablename__ = "chain_links"
    __table_args__ = (
        UniqueConstraint("arrival_id", "part", "number", "effective", "amends", name="one_link_per_arrival"),
        Index("links_by_part", "domain", "part"),
    )

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    domain: Mapped[str] = mapped_column(String(40))
    arrival_id: Mapped[str] = mapped_column(ForeignKey("arrivals.id"), index=True)
    part: Mapped[str] = mapped_column(String(160))
    number: Mapped[str] = mapped_column(String(60))
    effective: Mapped[str] = mapped_column(String(10))
    amends: Mapped[str] = mapped_column(String(80), default="")
    """Number of the document it changes, perhaps with `@date`; empty for a whole text."""
    waits: Mapped[bool] = mapped_column(default=False)
    """Its base, or its base's base, has not arrived."""


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


class FeedbackRow(Base):
    """What a caller said of an answer. One of a key for an answer: a later one replaces it."""

    __tablename__ = "feedback"
    __table_args__ = (
        UniqueConstraint("domain", "request_id", "key", name="one_judgement_per_key"),
        Index("feedback_by_key", "key", "at"),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    """`fb-<16 random hex>`"""
    domain: Mapped[str] = mapped_column(String(40), index=True)
    request_id: Mapped[str] = mapped_column(String(64), index=True)
    release: Mapped[str | None] = mapped_column(String(60))
    key: Mapped[str] = mapped_column(String(120))
    tenant: Mapped[str] = mapped_column(String(80))
    rating: Mapped[int]
    """1 up, -1 down, 0 neither."""
    reason: Mapped[str | None] = mapped_column(String(40))
    """wrong | outdated | incomplete | not_cited | unsafe | tone | other"""
    sealed: Mapped[bytes | None] = mapped_column(LargeBinary)
    """Masked correction and comment: see `traffic.sealed`."""
    state: Mapped[str] = mapped_column(String(12))
    """received | quarantined | refused"""
    why: Mapped[str | None] = mapped_column(Text)
    item_id: Mapped[str | None] = mapped_column(String(40), index=True)
    """The item of the review queue that it came to."""
    at: Mapped[datetime] = mapped_column(default=now)


class ReviewItem(Base):
    """An answer that people are to look at. Its text is masked, and encrypted where the domain is not public."""

    __tablename__ = "review_items"
    __table_args__ = (
        UniqueConstraint("domain", "fingerprint", name="asked_once"),
        Index("items_by_state", "domain", "state", "priority"),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    """`<domain>-q12`"""
    domain: Mapped[str] = mapped_column(String(40))
    number: Mapped[int]
    fingerprint: Mapped[str] = mapped_column(String(64))
    """Of the question: who asks the same is counted here, not queued again."""
    source: Mapped[str] = mapped_column(String(20))
    """complaint | low_confidence | ungrounded | abstained | withheld | repeated | transcript | probe | sampled"""
    signals: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """Why it is here, in figures: {"complaints": 3, "confidence": 0.31, ...}; `request_ids`, at most 50."""
    release: Mapped[str | None] = mapped_column(String(60))
    """That gave the answer."""
    sealed: Mapped[bytes] = mapped_column(LargeBinary)
    """`traffic.sealed` of {question, answer, as_of, passages, cited, suggested, comments, turns}."""
    cites: Mapped[str | None] = mapped_column(String(200))
    """Key of the document that the accepted answer rests on."""
    priority: Mapped[float] = mapped_column(Float, default=0.0)
    state: Mapped[str] = mapped_column(String(10), default="open")
    """open | disputed | escalated | accepted | rejected | expired"""
    reviewers: Mapped[int] = mapped_column(default=1)
    """How many must agree."""
    answer_sha256: Mapped[str | None] = mapped_column(String(64))
    """`feedback.corrections.digest` of what was accepted: only exactly that is taken from an arrival."""
    kinds: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """{"example": true, "golden": false, "regression": false}: what the reviewers say it becomes."""
    opened_at: Mapped[datetime] = mapped_column(default=now)
    complained_at: Mapped[datetime | None]
    """Of the first complaint: the loop's figures count from it."""
    settled_at: Mapped[datetime | None]
    delivered_in: Mapped[str | None] = mapped_column(String(255))
    """Folder of the arrival that brings it."""
    mended_by: Mapped[str | None] = mapped_column(String(60))
    """The first release that gets it right, by its gate report."""
    mended_at: Mapped[datetime | None]
    regressed_by: Mapped[str | None] = mapped_column(String(60))
    """A later release that gets it wrong again."""


class Review(Base):
    """What one person said of one item; who looked at what is in the audit log too."""

    __tablename__ = "reviews"
    __table_args__ = (UniqueConstraint("item_id", "reviewer", name="one_review_per_person"),)

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    item_id: Mapped[str] = mapped_column(ForeignKey("review_items.id"), index=True)
    reviewer: Mapped[str] = mapped_column(String(120))
    verdict: Mapped[str] = mapped_column(String(10))
    """accept | edit | reject | escalate"""
    sealed: Mapped[bytes | None] = mapped_column(LargeBinary)
    """`traffic.sealed` of {"answer", "cited", "passage", "note"}."""
    answer_sha256: Mapped[str | None] = mapped_column(String(64))
    kinds: Mapped[dict[str, Any]] = mapped_column(default=dict)
    seconds: Mapped[float | None]
    """From the page's showing to the answer."""
    at: Mapped[datetime] = mapped_column(default=now)


class Watermark(Base):
    """How far a source was collected. One row per source, moved only after what was fetched is sealed."""

    __tablename__ = "watermarks"

    domain: Mapped[str] = mapped_column(String(40), primary_key=True)
    source: Mapped[str] = mapped_column(String(40), primary_key=True)
    state: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """What the connector needs to go on; names of objects only as salted hashes."""
    progress: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """Of a pull that is under way: the address of an export that still runs."""
    pending: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """Sealed but not yet in sight: hidden folders, their seals, and the state to move to. Empty most of the time."""
    generation: Mapped[int] = mapped_column(default=0)
    """Raised by every move: two collectors on two hosts cannot both move it."""
    checked_at: Mapped[datetime | None]
    """When a pull last ended well, with or without something new."""
    moved_at: Mapped[datetime | None]
    fault: Mapped[str | None] = mapped_column(Text)
    """Why the last pull failed."""


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


class OutboxMessage(Base):
    """Something to tell another system (MLflow, Airflow), written in the transaction that made it true."""

    __tablename__ = "outbox"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    kind: Mapped[str] = mapped_column(String(40), index=True)
    key: Mapped[str] = mapped_column(String(200), unique=True)
    """Same fact, same key: a rerun adds nothing."""
    payload: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(default=now)
    published_at: Mapped[datetime | None]
    attempts: Mapped[int] = mapped_column(default=0)
    last_error: Mapped[str | None] = mapped_column(Text)


class AuditEvent(Base):
    """Who did what, and whether it was allowed; each row holds the hash of the one before."""

    __tablename__ = "audit"

    seq: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    at: Mapped[str] = mapped_column(String(32))
    """ISO 8601 UTC, as text: it is hashed."""
    actor: Mapped[str] = mapped_column(String(120))
    action: Mapped[str] = mapped_column(String(60), index=True)
    subject: Mapped[str] = mapped_column(String(200), index=True)
    allowed: Mapped[bool]
    detail: Mapped[dict[str, Any]]
    previous: Mapped[str] = mapped_column(String(64))
    hash: Mapped[str] = mapped_column(String(64), unique=True)
