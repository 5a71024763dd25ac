"""The traffic log in the warehouse: an Iceberg table per domain in the namespace `traffic`, partitioned by day (a column of its own:
Iceberg's day transform would take a further library).

A segment goes in once: its name and hash stand in the summary of the snapshot that holds its rows, so they are committed with them or not
at all. Snapshots older than `KEEP_SNAPSHOTS` are forgotten, rows never.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from pipelines.config import Settings
from pipelines.corpus.table import catalog
from pipelines.errors import NotFound

NAMESPACE = "traffic"
KEEP_SNAPSHOTS = timedelta(days=30)
"""Longer than any segment waits to be moved after it was committed: one that is still there is known by its snapshot."""
_SEGMENTS = "ratchet.segments"
_PROPERTIES = {
    "commit.manifest-merge.enabled": "true",
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "20",
    # Bounds of a question's text would be text.
    "write.metadata.metrics.default": "none",
    "write.metadata.metrics.column.at": "full",
    "write.metadata.metrics.column.release": "truncate(60)",
}


def schema(*, questions: bool) -> Any:
    """Columns as Arrow has them; `question_masked` only where questions may be kept."""
    import pyarrow as pa

    finding = pa.struct(
        [pa.field("rule", pa.string()), pa.field("action", pa.string()), pa.field("score", pa.float64()), pa.field("where", pa.string())]
    )
    texts = ("request_id", "conversation", "release", "prompt", "key", "tenant", "as_of", "reason", "cited", "cache", "route")
    columns = {
        "at": pa.timestamp("us", tz="UTC"),
        **dict.fromkeys((*texts, "engine", "instance"), pa.string()),
        **dict.fromkeys(("canary", "shadow", "abstained", "stored"), pa.bool_()),
        **dict.fromkeys(("status", "tokens_in", "tokens_out"), pa.int64()),
        **dict.fromkeys(("latency_ms", "first_ms", "confidence", "min_logprob", "judged", "top_score"), pa.float64()),
        "sources": pa.list_(pa.field("element", pa.string(), nullable=False)),
        "guards": pa.list_(pa.field("element", finding, nullable=False)),
        "segment": pa.string(),
        "day": pa.date32(),
    }
    if questions:
        columns["question_masked"] = pa.string()
    needed = ("at", "request_id", "status", "canary", "shadow", "segment", "day")
    return pa.schema([pa.field(name, kind, nullable=name not in needed) for name, kind in columns.items()])


def open_table(settings: Settings, domain: str) -> Any:
    """The domain's table. NotFound while nothing was rotated."""
    from pyiceberg.exceptions import NoSuchTableError

    if (settings.warehouse / "catalog.db").exists():
        try:
            return catalog(settings).load_table(f"{NAMESPACE}.{domain}")
        except NoSuchTableError:
            pass
    raise NotFound("no traffic of the domain is in the warehouse yet", where=domain, todo=f"ratchet traffic rotate {domain}")


def open_or_create(settings: Settings, domain: str, *, questions: bool) -> Any:
    """The domain's table, made at first use; columns that have come since are added."""
    held, name = catalog(settings), f"{NAMESPACE}.{domain}"
    held.create_namespace_if_not_exists(NAMESPACE)
    wanted = schema(questions=questions)
    if not held.table_exists(name):
        with (
            held.create_table_transaction(name, schema=wanted, properties=_PROPERTIES) as change,
            change.update_spec() as spec,
        ):
            spec.add_identity("day")
    table = held.load_table(name)
    if any(column not in table.schema().column_names for column in wanted.names):
        with table.update_schema() as update:
            update.union_by_name(wanted)
    return table


def held(table: Any) -> dict[str, str]:
    """SHA-256 by name of the segments that are in the table, as far back as its snapshots go."""
    found: dict[str, str] = {}
    for snapshot in table.metadata.snapshots:
        if snapshot.summary is not None and (said := snapshot.summary.additional_properties.get(_SEGMENTS)):
            found |= json.loads(said)
    return found


def append(table: Any, rows: Any, names: Mapping[str, str]) -> int:
    """One commit: the rows of some segments (SHA-256 by name), and that they are in. The number of rows, as the snapshot has it."""
    wanted = table.schema().as_arrow()
    table.append(rows.select(wanted.names).cast(wanted), snapshot_properties={_SEGMENTS: json.dumps(dict(names))})
    said = table.current_snapshot().summary.additional_properties
    return int(said.get("added-records", 0))


def to_arrow(records: Iterable[Mapping[str, Any]], *, questions: bool) -> Any:
    """Records, each with its `segment`, as they are stored. Fields that the schema lacks are left out."""
    import pyarrow as pa

    rows = [{**record, "day": record["at"].astimezone(UTC).date()} for record in records]
    return pa.Table.from_pylist(rows, schema=schema(questions=questions))


def forget_old(table: Any) -> None:
    """Drop snapshots that are older than `KEEP_SNAPSHOTS`; the newest stays."""
    before = datetime.now(UTC) - KEEP_SNAPSHOTS
    if any(one.timestamp_ms < before.timestamp() * 1000 for one in table.metadata.snapshots[:-1]):
        table.maintenance.expire_snapshots().older_than(before.replace(tzinfo=None)).commit()
