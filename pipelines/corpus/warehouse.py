"""Dataset versions: tags on the snapshots of one Iceberg table per domain, published by write, audit, publish.

The new state is written on a branch that nobody reads, read back from there and audited; then one commit moves `main`, sets the tag and
drops the branch. Whatever a crash leaves behind before that commit is swept by the next try, and after it the tag answers. A publish
reads the rows of the keys it touches, and rewrites the files that hold them (`draft.py`); what it costs does not grow with the table, and
what it holds in memory not with the arrival's text.

Does not cover expiry of old snapshots.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal

from pipelines import locks
from pipelines.config import DomainConfig, Settings
from pipelines.corpus import draft as drafts
from pipelines.corpus import places, sealing
from pipelines.corpus import table as tables
from pipelines.corpus.amendments import Row
from pipelines.corpus.documents import Document, Place, digest, faults, lanes, shifted
from pipelines.corpus.draft import Draft
from pipelines.errors import ArrivalRefused, Conflict, NotFound

_ARRIVAL = "ratchet.arrival"
_PARENT = "ratchet.parent"
_CONTENT = "ratchet.content"
_CHANGED = "ratchet.changed"


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
    rows: Sequence[Document],
    *,
    version_id: str,
    parent_snapshot: int | str | None,
    parts: Mapping[str, Sequence[Document]] | None = None,
    chained: int = 0,
) -> Published:
    """Fold an arrival's documents into the parent's state and tag the result `version_id`. The same call again gives the same answer.

    `rows` are read twice, in their order, and may lie on disk. `parts` replaces whole parts by what their chain's replay gave, to which
    `chained` documents of this arrival belong.

    ArrivalRefused when the new state does not stand the audit; `main` is then where it was. Conflict when the version belongs to another
    arrival, or `main` is not at the parent: the control database and the warehouse would part ways.
    """
    with _alone(settings, domain.domain):
        table = tables.open_or_create(settings, domain.domain)
        if (tag := table.refs().get(version_id)) is not None:
            return _published(table, _tagged(table, tag.snapshot_id, version_id, arrival_id))
        parent = _parent(table, domain.domain, parent_snapshot)
        branch = f"audit-{arrival_id}"
        if branch in table.refs():
            table.manage_snapshots().remove_branch(branch).commit()  # what a crash left behind

        keys = sealing.sealer(settings)
        with places.at(settings, domain.domain, table, parent) as known:
            draft = drafts.draw(table, parent, known, rows, parts or {}, chained=chained, keys=keys)
        table.manage_snapshots().create_branch(parent, branch).commit()
        properties = {_ARRIVAL: arrival_id, _PARENT: str(parent), _CONTENT: draft.content, _CHANGED: json.dumps(draft.changed)}
        written = _write(table, branch, draft, properties, sealing.is_sealed(domain))
        snapshot = table.refs()[branch].snapshot_id
        try:
            _audit(table, parent, snapshot, draft, written, keys, arrival_id)
        except ArrivalRefused:
            table.manage_snapshots().remove_branch(branch).commit()
            raise
        _move_main(table, snapshot, version_id, branch)
        return _published(table, snapshot)


def restore(settings: Settings, domain: DomainConfig, snapshot: int | str, *, version_id: str, parent_snapshot: int | str) -> None:
    """Tag an earlier version's snapshot `version_id` as well, and move `main` to it. The same call again changes nothing.

    Conflict when the tag is another version's, or `main` is not at the parent.
    """
    with _alone(settings, domain.domain):
        table = tables.open_table(settings, domain.domain)
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
    """Every document of a version, past, present, withdrawn and erased, sorted by key and date."""
    table = tables.open_table(settings, domain_name)
    stored = tables.all_rows(table, _snapshot_of(table, version_id))
    return [row.document for row in tables.to_rows(stored, sealing.sealer(settings))]


def subjects_of(settings: Settings, domain_name: str, version_id: str, keys: set[str]) -> dict[str, tuple[str, ...]]:
    """The subjects of these documents' newest texts, by key; nothing is decrypted."""
    table = tables.open_table(settings, domain_name)
    stored = tables.of_keys(tables.all_rows(table, _snapshot_of(table, version_id)), keys)
    rows = sorted(zip(*(stored[name].to_pylist() for name in ("key", "valid_from", "subjects")), strict=True), key=lambda row: row[:2])
    return {key: tuple(subjects or ()) for key, _, subjects in rows}


def versions(settings: Settings, domain_name: str) -> dict[str, int]:
    """Snapshot id by version, oldest first."""
    try:
        table = tables.open_table(settings, domain_name)
    except NotFound:
        return {}
    tags = {name: ref.snapshot_id for name, ref in table.refs().items() if ref.snapshot_ref_type == "tag"}
    # By number: a restored version has the snapshot of an older one.
    return dict(sorted(tags.items(), key=lambda item: [int(part) for part in re.findall(r"\d+", item[0].rpartition("_v")[2])]))


def diff(settings: Settings, domain_name: str, a: str, b: str) -> list[Change]:
    """What version `b` says that `a` does not, and the reverse, sorted by key and date."""
    gone, come = changed_rows(settings, domain_name, a, b)
    old = {(row.key, row.valid_from): row for row in gone}
    new = {(row.key, row.valid_from): row for row in come}
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


def changed_rows(settings: Settings, domain_name: str, a: str, b: str) -> tuple[list[Document], list[Document]]:
    """All rows of the keys that differ between two versions, as each has them. Reads the files that only one of them has."""
    table = tables.open_table(settings, domain_name)
    sides = tables.changed_files(table, _snapshot_of(table, a), _snapshot_of(table, b))
    stored = [tables.rows_of(table, side.values()) for side in sides]
    # Rows only moved from file to file are in both; what a row says is told without decrypting any.
    told = [_by_key(one) for one in stored]
    changed = {key for key in told[0].keys() | told[1].keys() if told[0].get(key) != told[1].get(key)}
    keys = sealing.sealer(settings)
    gone, come = ([row.document for row in tables.to_rows(tables.of_keys(one, changed), keys)] for one in stored)
    return gone, come


def _by_key(stored: Any) -> dict[str, set[tuple[Any, ...]]]:
    found: dict[str, set[tuple[Any, ...]]] = {}
    names = ("key", "valid_from", "valid_to", "content", "withdrawn")
    for key, *said in zip(*(stored[name].to_pylist() for name in names), strict=True):
        found.setdefault(key, set()).add(tuple(said))
    return found


def _in_force_before(rows: Any, after: Document) -> Document | None:
    return next((row for row in rows if row.key == after.key and row.valid_to == after.valid_from and not row.withdrawn), None)


# --- write, audit, publish --------------------------------------------------------------------------------------------


def _tagged(table: Any, snapshot_id: int, version_id: str, arrival_id: str) -> int:
    """The snapshot behind a version. Conflict when it is another arrival's."""
    if (holds := tables.said(table, snapshot_id).get(_ARRIVAL)) != arrival_id:
        raise Conflict(
            f"the version holds {holds}, not {arrival_id}",
            where=version_id,
            todo="a publish was interrupted, or another runs: clear the task that published it, then this one",
        )
    return snapshot_id


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


@dataclass(frozen=True, slots=True)
class _Written:
    """Paths of the data files of a new snapshot: of rows that only moved, and of rows that are new."""

    moved: list[str]
    fresh: list[str]


def _write(table: Any, branch: str, draft: Draft, properties: dict[str, str], seal: bool) -> _Written:
    """One snapshot on the branch; also when nothing changed: every accepted arrival has a snapshot of its own to tag."""
    moved = [tables.write(table, piece) for piece in draft.kept()]
    fresh = [tables.write(table, piece) for piece in draft.written(seal=seal)]
    tables.replace(table, branch, draft.removed, [*moved, *fresh], properties)
    return _Written([file.file_path for file in moved], [file.file_path for file in fresh])


def _audit(table: Any, parent: int, snapshot: int, draft: Draft, written: _Written, keys: sealing.Opener, arrival_id: str) -> None:
    """Check what was really written, read back from the branch file by file: those that changed, and the count and hash of the whole."""
    gone, come = tables.changed_files(table, parent, snapshot)
    rows: list[Row] = []

    def fresh() -> Iterator[Document]:
        for path in written.fresh:
            for row in tables.to_rows(tables.rows_of(table, [come[path]]), keys):
                rows.append(drafts.bare_row(row))
                yield row.document

    if come.keys() != {*written.moved, *written.fresh} or gone.keys() != {file.file_path for file in draft.removed}:
        found = ["the files on the branch are not those that were meant"]
    else:
        found = faults(fresh())
        if (count := tables.count(table, snapshot)) != draft.documents:
            found.insert(0, f"the version has {count} rows, {draft.documents} were meant")
        if sorted(rows, key=drafts.by_day) != sorted(draft.fresh, key=drafts.by_day):
            found.insert(0, "the rows on the branch are not those that were meant")
        moved = (tables.rows_of(table, [come[path]]) for path in written.moved)
        if not all(one.equals(other) for one, other in zip(moved, draft.kept(), strict=True)):
            found.insert(0, "rows that were only to be moved were changed")
        # What only moved is in both and cancels out.
        less = lanes(place for file in gone.values() for place in _places_of(table, file, draft.touched))
        if digest(shifted(draft.before, less=less, more=drafts.state_lanes(rows))) != draft.content:
            found.insert(0, "the version's content hash does not follow from its files")
    if found:
        raise ArrivalRefused(
            f"the new version does not stand the audit ({len(found)} faults): " + "; ".join(found[:3]),
            where=arrival_id,
            todo="nothing was published; mend the source and deliver it again",
        )


def _places_of(table: Any, file: Any, keys: set[str]) -> Iterator[Place]:
    names = ("key", "valid_from", "content")
    stored = tables.of_keys(tables.rows_of(table, [file], names), keys)
    return zip(*(stored[name].to_pylist() for name in names), strict=True)


def _move_main(table: Any, snapshot: int, version_id: str, branch: str) -> None:
    """One commit: all of it or nothing."""
    table.manage_snapshots().set_current_snapshot(snapshot_id=snapshot).create_tag(snapshot, version_id).remove_branch(branch).commit()


def _published(table: Any, snapshot: int) -> Published:
    said = tables.said(table, snapshot)
    return Published(snapshot, tables.count(table, snapshot), json.loads(said[_CHANGED]), said[_CONTENT])


def _alone(settings: Settings, domain_name: str) -> AbstractContextManager[None]:
    """One publisher per domain on this host."""
    settings.warehouse.mkdir(parents=True, exist_ok=True)
    return locks.alone(settings.warehouse / f"{domain_name}.lock")


def _snapshot_of(table: Any, version_id: str) -> int:
    tag = table.refs().get(version_id)
    if tag is None or tag.snapshot_ref_type != "tag":
        known = ", ".join(sorted(name for name, ref in table.refs().items() if ref.snapshot_ref_type == "tag"))
        raise NotFound(f"there is no dataset version {version_id!r}", todo=f"known versions: {known or 'none'}")
    return int(tag.snapshot_id)
