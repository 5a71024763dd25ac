"""Records of the traffic log as DuckDB sees them: a connection, and a table in it with the columns of `traffic.segments.Record`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from pipelines.monitoring.observations import PROBE_KEY

CALLERS = f"NOT coalesce(shadow, false) AND coalesce(key, '') <> '{PROBE_KEY}'"
"""SQL: requests of callers, without what only a shadow answered and what our own probes asked."""
FINDING = 'STRUCT("rule" VARCHAR, "action" VARCHAR, score DOUBLE, "where" VARCHAR)[]'
TYPES: dict[str, str] = {
    "at": "TIMESTAMPTZ",
    **dict.fromkeys(("request_id", "conversation", "release", "prompt"), "VARCHAR"),
    **dict.fromkeys(("canary", "shadow"), "BOOLEAN"),
    "status": "BIGINT",
    **dict.fromkeys(("key", "tenant", "as_of"), "VARCHAR"),
    **dict.fromkeys(("latency_ms", "first_ms"), "DOUBLE"),
    **dict.fromkeys(("tokens_in", "tokens_out"), "BIGINT"),
    **dict.fromkeys(("confidence", "min_logprob"), "DOUBLE"),
    "abstained": "BOOLEAN",
    "reason": "VARCHAR",
    "sources": "VARCHAR[]",
    "cited": "VARCHAR",
    "guards": FINDING,
    "judged": "DOUBLE",
    **dict.fromkeys(("cache", "route"), "VARCHAR"),
    "stored": "BOOLEAN",
    "top_score": "DOUBLE",
    **dict.fromkeys(("engine", "instance"), "VARCHAR"),
}
"""DuckDB's types of a record's fields, without `question_masked`: no figure needs it, and what is not read cannot leak."""


@dataclass(frozen=True, slots=True)
class Source:
    """Records to look at. `table` is a name or a query in parentheses, as it stands behind FROM. One thread at a time."""

    connection: Any
    table: str = "records"

    def arrow(self, query: str) -> Any:
        """What a query gives, as an Arrow table. In it, `{records}` stands for the records."""
        return self.connection.sql(query.replace("{records}", self.table)).to_arrow_table()

    def close(self) -> None:
        """Let go of its memory."""
        with suppress(Exception):
            self.connection.close()


def connect(memory_mb: int = 1_200, threads: int = 2) -> Any:
    """A DuckDB in memory that fetches nothing, writes nothing to disk, and stays within its memory. Times are UTC."""
    import duckdb

    limits = {"memory_limit": f"{memory_mb}MB", "threads": str(threads), "temp_directory": "", "preserve_insertion_order": "false"}
    offline = {"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
    connection = duckdb.connect(":memory:", config={**limits, **offline})
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def empty(connection: Any) -> None:
    """Make the table `records` without a record."""
    columns = ", ".join(f'"{name}" {kind}' for name, kind in TYPES.items())
    connection.execute(f"CREATE TABLE records ({columns})")


def of_records(records: Iterable[Mapping[str, Any]]) -> Source:
    """Records that are at hand, each `at` a datetime or ISO 8601; fields that are not there are empty."""
    import pyarrow as pa

    from pipelines.corpus.traffic_table import schema

    columns = pa.schema([schema(questions=False).field(name).with_nullable(True) for name in TYPES])
    rows = [{**record, "at": _moment(record["at"])} for record in records]
    held = pa.Table.from_pylist(rows, schema=columns)
    connection = connect()
    empty(connection)
    connection.register("given", held)
    connection.execute("INSERT INTO records BY NAME SELECT * FROM given")
    connection.unregister("given")
    return Source(connection)


def moment(at: datetime) -> str:
    """A moment as SQL has it; one without a zone is UTC."""
    return f"TIMESTAMPTZ '{(at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC).isoformat(timespec='microseconds')}'"


def day(at: datetime) -> date:
    """Its day in UTC, as the warehouse divides the log."""
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC).date()


def text(value: str) -> str:
    """A string as SQL has it."""
    return "'" + value.replace("'", "''") + "'"


def _moment(at: datetime | str) -> datetime:
    found = datetime.fromisoformat(at) if isinstance(at, str) else at
    return found if found.tzinfo else found.replace(tzinfo=UTC)
