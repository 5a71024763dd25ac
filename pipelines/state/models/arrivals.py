"""What arrived and what became of it: arrivals, the lines of their account, what is held, signatures, amendment chains, outside sources."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, LargeBinary, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from pipelines.state.models.base import Base, now


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
