"""The Iceberg table of a domain: schema, files, rows. Files hold few rows, so that a changed row costs its file and not the table.

Written through PyIceberg's snapshot producers rather than `Table.overwrite`: that one searches the whole table for the rows to replace,
and makes two snapshots of one change.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from pipelines.config import Settings
from pipelines.corpus import sealing
from pipelines.corpus.amendments import Restated, Row
from pipelines.errors import NotFound

NAMESPACE = "ratchet"
ROWS_PER_FILE = 500
_PROPERTIES = {
    "commit.manifest-merge.enabled": "true",
    # What is not needed to find a file only makes manifests long, and bounds of the text would be text.
    "write.metadata.metrics.default": "none",
    "write.metadata.metrics.column.key": "truncate(16)",
}
_NULLABLE = ("subjects", "sealed", "wrapped")


def open_table(settings: Settings, domain_name: str) -> Any:
    """The domain's table. NotFound while it has no version."""
    from pyiceberg.exceptions import NoSuchTableError

    if (settings.warehouse / "catalog.db").exists():
        try:
            return catalog(settings).load_table(f"{NAMESPACE}.{domain_name}")
        except NoSuchTableError:
            pass
    raise NotFound("the domain has no dataset version yet", where=domain_name, todo="deliver a first arrival")


def open_or_create(settings: Settings, domain_name: str) -> Any:
    """The domain's table, made at first use, with the columns and properties of this version of the code."""
    held = catalog(settings)
    held.create_namespace_if_not_exists(NAMESPACE)
    # The text of a version must stay readable as long as its tag stands: nothing here deletes old metadata or data.
    table = held.create_table_if_not_exists(f"{NAMESPACE}.{domain_name}", schema=schema(), properties=_PROPERTIES)
    if any(name not in table.schema().column_names for name in _NULLABLE):
        with table.update_schema() as update:
            update.union_by_name(schema())
        with table.transaction() as change:
            change.set_properties(_PROPERTIES)
    if table.current_snapshot() is None:
        table.append(schema().empty_table())  # Iceberg starts branches from a snapshot only
    return table


def catalog(settings: Settings) -> Any:
    """The warehouse's catalog, for every namespace in it."""
    from pyiceberg.catalog.sql import SqlCatalog

    settings.warehouse.mkdir(parents=True, exist_ok=True)
    return SqlCatalog(NAMESPACE, uri=f"sqlite:///{settings.warehouse / 'catalog.db'}", warehouse=settings.warehouse.resolve().as_uri())


def schema() -> Any:
    """Columns as Arrow has them. `title` and `text` are empty and `sealed` and `wrapped` full where the domain is not public."""
    import pyarrow as pa

    text = {name: pa.string() for name in ("key", "title", "text", "content", "valid_from", "valid_to", "arrival_id", "source")}
    restated = pa.struct([pa.field(name, pa.string(), nullable=False) for name in ("valid_from", "source", "arrival_id")])
    return pa.schema(
        [
            *(pa.field(name, kind, nullable=False) for name, kind in text.items()),
            pa.field("withdrawn", pa.bool_(), nullable=False),
            pa.field("restated", pa.list_(pa.field("element", restated, nullable=False)), nullable=False),
            pa.field("subjects", pa.list_(pa.field("element", pa.string(), nullable=False))),
            pa.field("sealed", pa.large_binary()),
            pa.field("wrapped", pa.large_binary()),
        ]
    )


# --- rows -------------------------------------------------------------------------------------------------------------


def to_arrow(rows: Iterable[Row], keys: sealing.Opener, *, seal: bool) -> Any:
    """Rows as they are stored."""
    import pyarrow as pa

    values = [{**sealing.to_values(row.document, keys, seal=seal), "restated": [asdict(one) for one in row.restated]} for row in rows]
    return pa.Table.from_pylist(values, schema=schema())


def to_rows(stored: Any, keys: sealing.Opener) -> list[Row]:
    """Stored rows, decrypted where their keys exist, sorted by key and date."""
    found = []
    for values in stored.to_pylist():
        restated = tuple(Restated(**one) for one in values.pop("restated"))
        found.append(Row(document=sealing.from_values(values, keys), restated=restated))
    return sorted(found, key=lambda row: (row.document.key, row.document.valid_from))


def of_keys(stored: Any, keys: Iterable[str], *, others: bool = False) -> Any:
    """The stored rows of these keys, or of all others."""
    import pyarrow as pa
    import pyarrow.compute as pc

    mine = pc.is_in(stored["key"], value_set=pa.array(sorted(keys), pa.string()))
    return stored.filter(pc.invert(mine) if others else mine)


def in_order(stored: Any) -> Any:
    """The stored rows by key and date."""
    return stored.sort_by([("key", "ascending"), ("valid_from", "ascending")])


def all_rows(table: Any, snapshot_id: int) -> Any:
    """Every stored row of a snapshot."""
    return table.scan(snapshot_id=snapshot_id).to_arrow()


def rows_of(table: Any, files: Iterable[Any], columns: tuple[str, ...] = ()) -> Any:
    """The stored rows of some data files, all columns unless some are named."""
    files = list(files)
    if not files and not columns:
        return schema().empty_table()
    from pyiceberg.expressions import AlwaysTrue
    from pyiceberg.io.pyarrow import ArrowScan
    from pyiceberg.table import FileScanTask

    wanted = table.schema().select(*columns) if columns else table.schema()
    scan = ArrowScan(table.metadata, table.io, wanted, AlwaysTrue())
    read = scan.to_table([FileScanTask(file) for file in files])
    return read if columns else read.select(schema().names).cast(schema())


# --- files ------------------------------------------------------------------------------------------------------------


def files(table: Any, snapshot_id: int, wanted: set[str] | None = None) -> dict[str, Any]:
    """A snapshot's data files by path: all, or those `wanted`."""
    found: dict[str, Any] = {}
    for manifest in table.snapshot_by_id(snapshot_id).manifests(table.io):
        if wanted is not None and len(found) == len(wanted):
            break
        for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=True):
            if wanted is None or entry.data_file.file_path in wanted:
                found[entry.data_file.file_path] = entry.data_file
    return found


def changed_files(table: Any, before: int, after: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """The data files that one snapshot has and another has not, by path: (gone, come). Manifests that both have are not opened."""
    lists = [{one.manifest_path: one for one in table.snapshot_by_id(snapshot).manifests(table.io)} for snapshot in (before, after)]
    sides: list[dict[str, Any]] = []
    for mine, other in (lists, reversed(lists)):
        entries = (
            entry.data_file
            for path, manifest in mine.items()
            if path not in other
            for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=True)
        )
        sides.append({file.file_path: file for file in entries})
    gone, come = sides
    return {path: gone[path] for path in gone.keys() - come.keys()}, {path: come[path] for path in come.keys() - gone.keys()}


def write(table: Any, stored: Any) -> Any:
    """Rows as one data file, which belongs to nothing until `replace` takes it in."""
    from pyiceberg.io.pyarrow import _dataframe_to_data_files

    (file,) = _dataframe_to_data_files(table.metadata, stored, table.io)
    return file


def replace(table: Any, branch: str, removed: list[Any], added: list[Any], properties: dict[str, str]) -> None:
    """One snapshot on a branch, in which some data files are gone and others have come."""
    from pyiceberg.expressions import AlwaysTrue

    with table.transaction() as change:
        update = change.update_snapshot(snapshot_properties=properties, branch=branch)
        with update.overwrite() if removed else update.merge_append() as snapshot:
            if removed:
                snapshot.delete_by_predicate(AlwaysTrue())  # which manifests may hold what is named below: any
            for file in removed:
                snapshot.delete_data_file(file)
            for file in added:
                snapshot.append_data_file(file)


def said(table: Any, snapshot_id: int) -> Any:
    """What a snapshot says of itself."""
    return table.snapshot_by_id(snapshot_id).summary.additional_properties


def count(table: Any, snapshot_id: int) -> int:
    """Rows of a snapshot."""
    return int(said(table, snapshot_id).get("total-records", 0))
