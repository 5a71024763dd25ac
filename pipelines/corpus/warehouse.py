"""Dataset versions: tags on the snapshots of one Iceberg table per domain, published by write, audit, publish.

The new state is written on a branch that nobody reads, read back from there and audited; then one commit moves `main`, sets the tag and
drops the branch. Whatever a crash leaves behind before that commit is swept by the next try, and after it the tag answers.

Does not cover expiry of old snapshots, nor encryption of the text of domains that are not public.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Literal

from pipelines.config import DomainConfig, Settings
from pipelines.corpus.amendments import Folded, Restated, Row, fold, replaced
from pipelines.corpus.documents import Document, faults, state_of
from pipelines.errors import ArrivalRefused, Conflict, NotFound

NAMESPACE = "ratchet"
_ARRIVAL = "ratchet.arrival"
_PARENT = "ratchet.parent"


@dataclass(frozen=True, slots=True)
class Published:
    """A dataset version as the warehouse holds it."""

    snapshot_id: int
    documents: int
    """Rows, past and present."""
    changed: dict[str, int]
    """What became of the delivered documents: added, superseded, withdrawn, unchanged."""
    content: str
    """`documents.state_of` its rows."""


@dataclass(frozen=True, slots=True)
class Change:
    """One difference between two versions, by key and date."""

    kind: Literal["added", "amended", "withdrawn", "removed"]
    key: str
    before: Document | None
    after: Document | None


def publish(
    settings: Settings,
    domain: DomainConfig,
    arrival_id: str,
    rows: list[Document],
    *,
    version_id: str,
    parent_snapshot: int | str | None,
    parts: dict[str, list[Document]] | None = None,
    chained: int = 0,
) -> Published:
    """Fold an arrival's documents into the parent's state and tag the result `version_id`. The same call again gives the same answer.

    `parts` replaces whole parts by what their chain's replay gave, to which `chained` documents of this arrival belong.

    ArrivalRefused when the new state does not stand the audit; `main` is then where it was. Conflict when the version belongs to another
    arrival, or `main` is not at the parent: the control database and the warehouse would part ways.
    """
    with _alone(settings, domain.domain):
        table = _open_or_create(settings, domain.domain)
        if (tag := table.refs().get(version_id)) is not None:
            summary = _summary(table, tag.snapshot_id, version_id, arrival_id)
            return _published(tag.snapshot_id, replaced(fold(_rows(table, int(summary[_PARENT])), rows), parts or {}, chained))
        parent = _parent(table, domain.domain, parent_snapshot)
        branch = f"audit-{arrival_id}"
        if branch in table.refs():
            table.manage_snapshots().remove_branch(branch).commit()  # what a crash left behind

        state = _rows(table, parent)
        folded = replaced(fold(state, rows), parts or {}, chained)
        table.manage_snapshots().create_branch(parent, branch).commit()
        _write(table, branch, state, folded, {_ARRIVAL: arrival_id, _PARENT: str(parent)})
        snapshot = table.refs()[branch].snapshot_id
        try:
            _audit(_rows(table, snapshot), folded, arrival_id)
        except ArrivalRefused:
            table.manage_snapshots().remove_branch(branch).commit()
            raise
        _move_main(table, snapshot, version_id, branch)
        return _published(snapshot, folded)


def restore(settings: Settings, domain: DomainConfig, snapshot: int | str, *, version_id: str, parent_snapshot: int | str) -> None:
    """Tag an earlier version's snapshot `version_id` as well, and move `main` to it. The same call again changes nothing.

    Conflict when the tag is another version's, or `main` is not at the parent.
    """
    with _alone(settings, domain.domain):
        table = _open(settings, domain.domain)
        wanted = int(snapshot)
        if (tag := table.refs().get(version_id)) is not None:
            if tag.snapshot_id == wanted:
                return
            raise Conflict(
                f"the version is tagged on snapshot {tag.snapshot_id}, not on {wanted}",
                where=version_id,
                todo="a publish was interrupted: clear the task that published it, then restore again",
            )
        _parent(table, domain.domain, parent_snapshot)
        table.manage_snapshots().set_current_snapshot(snapshot_id=wanted).create_tag(wanted, version_id).commit()


def documents(settings: Settings, domain_name: str, version_id: str) -> list[Document]:
    """Every document of a version, past, present and withdrawn, sorted by key and date."""
    table = _open(settings, domain_name)
    return [row.document for row in _rows(table, _snapshot_of(table, version_id))]


def versions(settings: Settings, domain_name: str) -> dict[str, int]:
    """Snapshot id by version, oldest first."""
    try:
        table = _open(settings, domain_name)
    except NotFound:
        return {}
    tags = {name: ref.snapshot_id for name, ref in table.refs().items() if ref.snapshot_ref_type == "tag"}
    # By number: a restored version has the snapshot of an older one.
    return dict(sorted(tags.items(), key=lambda item: [int(part) for part in re.findall(r"\d+", item[0].rpartition("_v")[2])]))


def diff(settings: Settings, domain_name: str, a: str, b: str) -> list[Change]:
    """What version `b` says that `a` does not, and the reverse, sorted by key and date."""
    old = {(row.key, row.valid_from): row for row in documents(settings, domain_name, a)}
    new = {(row.key, row.valid_from): row for row in documents(settings, domain_name, b)}
    changes: list[Change] = []
    for place in sorted(old.keys() | new.keys()):
        before, after = old.get(place), new.get(place)
        if after is None:
            changes.append(Change("removed", place[0], before, None))
        elif before is None or before.content != after.content or before.withdrawn != after.withdrawn:
            before = before or _in_force_before(new.values(), after)
            kind: Literal["added", "amended", "withdrawn"] = "withdrawn" if after.withdrawn else "amended" if before else "added"
            changes.append(Change(kind, place[0], before, after))
    return changes


def _in_force_before(rows: Any, after: Document) -> Document | None:
    return next((row for row in rows if row.key == after.key and row.valid_to == after.valid_from and not row.withdrawn), None)


# --- write, audit, publish --------------------------------------------------------------------------------------------


def _summary(table: Any, snapshot_id: int, version_id: str, arrival_id: str) -> Any:
    """What the snapshot behind a version says of itself. Conflict when it is another arrival's."""
    summary = table.snapshot_by_id(snapshot_id).summary.additional_properties
    if summary.get(_ARRIVAL) != arrival_id:
        raise Conflict(
            f"the version holds {summary.get(_ARRIVAL)}, not {arrival_id}",
            where=version_id,
            todo="a publish was interrupted, or another runs: clear the task that published it, then this one",
        )
    return summary


def _parent(table: Any, domain_name: str, parent_snapshot: int | str | None) -> int:
    """The snapshot that the new version grows from: `main`, which must be what the caller believes it to be."""
    main = int(table.current_snapshot().snapshot_id)
    tagged = {ref.snapshot_id for ref in table.refs().values() if ref.snapshot_ref_type == "tag"}
    expected = None if parent_snapshot is None else int(parent_snapshot)
    if expected != (main if main in tagged else None):
        raise Conflict(
            f"the warehouse is at snapshot {main}, the control database at {expected}",
            where=domain_name,
            todo="clear the publish task that was interrupted; `ratchet doctor` tells which version is missing",
        )
    return main


def _write(table: Any, branch: str, state: list[Row], folded: Folded, properties: dict[str, str]) -> None:
    """Replace the rows of the touched keys on the branch."""
    from pyiceberg.expressions import In

    fresh = _to_arrow([row for row in folded.rows if row.document.key in folded.touched])
    replaced = sorted({row.document.key for row in state} & folded.touched)
    if replaced:
        table.overwrite(fresh, overwrite_filter=In("key", replaced), branch=branch, snapshot_properties=properties)
    else:
        # Also when nothing changed: every accepted arrival has a snapshot of its own to tag.
        table.append(fresh, branch=branch, snapshot_properties=properties)


def _audit(written: list[Row], folded: Folded, arrival_id: str) -> None:
    """Check what was really written, read back from the branch."""
    found = faults(row.document for row in written)
    if len(written) != len(folded.rows):
        found.insert(0, f"{len(written)} rows were written, {len(folded.rows)} were meant")
    elif written != folded.rows:
        found.insert(0, "the rows on the branch are not those that were meant")
    if found:
        raise ArrivalRefused(
            f"the new version does not stand the audit ({len(found)} faults): " + "; ".join(found[:3]),
            where=arrival_id,
            todo="nothing was published; mend the source and deliver it again",
        )


def _move_main(table: Any, snapshot: int, version_id: str, branch: str) -> None:
    """One commit: all of it or nothing."""
    table.manage_snapshots().set_current_snapshot(snapshot_id=snapshot).create_tag(snapshot, version_id).remove_branch(branch).commit()


def _published(snapshot: int, folded: Folded) -> Published:
    return Published(snapshot, len(folded.rows), folded.changed, state_of(row.document for row in folded.rows))


# --- the table --------------------------------------------------------------------------------------------------------


@contextmanager
def _alone(settings: Settings, domain_name: str) -> Iterator[None]:
    """One publisher per domain on this host; the lock goes with its process."""
    settings.warehouse.mkdir(parents=True, exist_ok=True)
    lock = os.open(settings.warehouse / f"{domain_name}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _catalog(settings: Settings) -> Any:
    from pyiceberg.catalog.sql import SqlCatalog

    settings.warehouse.mkdir(parents=True, exist_ok=True)
    return SqlCatalog(NAMESPACE, uri=f"sqlite:///{settings.warehouse / 'catalog.db'}", warehouse=settings.warehouse.resolve().as_uri())


def _open(settings: Settings, domain_name: str) -> Any:
    from pyiceberg.exceptions import NoSuchTableError

    if (settings.warehouse / "catalog.db").exists():
        try:
            return _catalog(settings).load_table(f"{NAMESPACE}.{domain_name}")
        except NoSuchTableError:
            pass
    raise NotFound("the domain has no dataset version yet", where=domain_name, todo="deliver a first arrival")


def _open_or_create(settings: Settings, domain_name: str) -> Any:
    catalog = _catalog(settings)
    catalog.create_namespace_if_not_exists(NAMESPACE)
    # The text of a version must stay readable as long as its tag stands: nothing here deletes old metadata or data.
    table = catalog.create_table_if_not_exists(f"{NAMESPACE}.{domain_name}", schema=_schema())
    if table.current_snapshot() is None:
        table.append(_schema().empty_table())  # Iceberg starts branches from a snapshot only
    return table


def _snapshot_of(table: Any, version_id: str) -> int:
    tag = table.refs().get(version_id)
    if tag is None or tag.snapshot_ref_type != "tag":
        known = ", ".join(sorted(name for name, ref in table.refs().items() if ref.snapshot_ref_type == "tag"))
        raise NotFound(f"there is no dataset version {version_id!r}", todo=f"known versions: {known or 'none'}")
    return int(tag.snapshot_id)


def _schema() -> Any:
    import pyarrow as pa

    text = {name: pa.string() for name in ("key", "title", "text", "content", "valid_from", "valid_to", "arrival_id", "source")}
    restated = pa.struct([pa.field(name, pa.string(), nullable=False) for name in ("valid_from", "source", "arrival_id")])
    return pa.schema(
        [
            *(pa.field(name, kind, nullable=False) for name, kind in text.items()),
            pa.field("withdrawn", pa.bool_(), nullable=False),
            pa.field("restated", pa.list_(pa.field("element", restated, nullable=False)), nullable=False),
        ]
    )


def _to_arrow(rows: list[Row]) -> Any:
    import pyarrow as pa

    return pa.Table.from_pylist(
        [{**asdict(row.document), "restated": [asdict(one) for one in row.restated]} for row in rows], schema=_schema()
    )


def _rows(table: Any, snapshot_id: int) -> list[Row]:
    """All rows of a snapshot, sorted by key and date."""
    read = table.scan(snapshot_id=snapshot_id).to_arrow().to_pylist()
    found = [Row(restated=tuple(Restated(**one) for one in values.pop("restated")), document=Document(**values)) for values in read]
    return sorted(found, key=lambda row: (row.document.key, row.document.valid_from))
