"""The last hours of a domain's traffic, in memory: what a watcher looks at every minute.

Bounded whatever comes: at most `MOST` records, of which the newest stay, and no field that no figure needs. Rows are dropped by making the
table anew: DuckDB gives the memory of deleted rows back only so.
"""

# ruff: noqa: S608 -- no part of a query comes from outside: column names are this module's, moments and numbers are its own.

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from pydantic import ValidationError

from pipelines.config import DomainConfig, Settings
from pipelines.monitor_config import By
from pipelines.monitoring import observed
from pipelines.monitoring.source import TYPES, Source, connect, empty, moment
from pipelines.monitoring.windows import Window, windows
from pipelines.traffic import segments
from pipelines.traffic.log import Tail

KEEP = timedelta(hours=7)
"""An hour more than the longest burn window."""
MOST = 1_000_000
"""Records that are held: about 300 MB. In a burst the newest stay, and `full_since` says from when on nothing is missing."""
AHEAD = timedelta(minutes=2)
"""A clock that is further ahead is not believed."""
_CHUNK = 20_000
_SLACK = 1.25
"""By so much more than what is kept the table may grow before it is made anew."""
_UNUSED = ("conversation", "as_of", "min_logprob", "judged", "stored", "engine", "instance")


class Recent:
    """The traffic log of the last `keep`. One thread at a time.

    Counters, since it was made: `taken` records; `skipped` lines that are no records; `torn` segments that end in a piece of a line;
    `repeated` records that stood there already; `ahead` of our clock, kept at the time of their arrival; `late`, older than what is kept;
    `dropped` for want of room.
    """

    def __init__(self, settings: Settings, domain: DomainConfig, keep: timedelta = KEEP, *, most: int = MOST) -> None:
        self._settings, self._domain, self._keep, self._most = settings, domain, keep, most
        self.taken = self.skipped = self.torn = self.repeated = self.ahead = self.late = self.dropped = 0
        self.full_since: datetime | None = None
        self._tail: Tail | None = None
        self._folder = segments.folder_of(settings, domain.domain)
        self._ended: set[str] = set()
        self._bad = 0
        connection = connect(memory_mb=1_000)
        empty(connection)
        connection.execute("; ".join(f'ALTER TABLE records DROP COLUMN "{name}"' for name in _UNUSED))
        connection.execute("ALTER TABLE records ADD COLUMN ident UBIGINT")
        self.source = Source(connection)
        """The table `records`: `traffic.segments.Record` without what no figure needs, and with `ident`."""

    def take_in(self, now: datetime) -> int:
        """Read what is new in the log; the number of records that were taken in, each once. Blocking."""
        if self._tail is None:
            self._tail = Tail(self._settings, self._domain.domain, since=now - self._keep)
            self.full_since = now - self._keep
        # Looked at before they are read: what is closed now gets no more lines.
        closed = [name for name in self._names(now) if name not in self._ended and not self._is_open(name)]
        before, lines = self.taken, self._tail.new()
        while chunk := list(islice(lines, _CHUNK)):
            self._add(chunk, now)
            self._make_room(now)
        self._make_room(now)
        self._end(closed)
        self.skipped = self._tail.skipped + self._bad
        return self.taken - before

    def latest(self, by: By, now: datetime, seconds: float, measures: Collection[str] | None = None) -> list[Window]:
        """The window of `seconds` that ends at `now`, of each group that has a record in it; by "all" there always is one.

        By "all" and "release" with what was observed in that time.
        """
        begin = now - timedelta(seconds=seconds)
        config = self._domain.monitors
        found = windows(self.source, by, begin=begin, end=now, seconds=seconds, every=seconds, config=config, measures=measures)
        if not found and by == "release":
            blank = windows(self.source, "all", begin=begin, end=now, seconds=seconds, every=seconds, config=config, measures=measures)
            return [one for one in observed.joined(self._settings, self._domain.domain, blank, by, measures) if one.group != "all"]
        return observed.joined(self._settings, self._domain.domain, found, by, measures)

    def close(self) -> None:
        """Let go of the memory."""
        self.source.close()

    def _names(self, now: datetime) -> list[str]:
        return segments.names(self._folder, now - self._keep)

    def _is_open(self, name: str) -> bool:
        path = segments.place(self._folder, name)
        return path is not None and segments.is_open(path)

    def _end(self, closed: list[str]) -> None:
        """Count those that end in a piece of a line. Nobody writes to them any more."""
        for name in closed:
            self._ended.add(name)
            path = segments.place(self._folder, name)
            if path is not None and self._tail is not None:
                try:
                    self.torn += path.stat().st_size > self._tail.offsets.get(name, 0)
                except FileNotFoundError:
                    continue

    def _add(self, chunk: list[dict[str, Any]], now: datetime) -> None:
        import pyarrow as pa

        oldest, newest, rows = now - self._keep, now + AHEAD, []
        for record in chunk:
            said = segments.moment(record)
            at = said if said <= newest else now
            self.ahead += at is not said
            if at < oldest:
                self.late += 1
            elif not isinstance(record.get("request_id"), str) or not isinstance(record.get("status"), int):
                self._bad += 1
            elif not record.get("shadow"):
                rows.append({**record, "at": at, "said": said, "sources": (record.get("sources") or [])[:1]})
        try:
            held = pa.Table.from_pylist(rows, schema=_columns())
        except (pa.ArrowException, TypeError, ValueError, OverflowError, AttributeError):
            held = pa.Table.from_pylist(list(self._checked(rows)), schema=_columns())
        connection = self.source.connection
        connection.register("given", held)
        columns = ", ".join(f'"{name}"' for name in held.column_names if name != "said")
        count = "SELECT count(*) FROM records"
        ((before,),) = connection.execute(count).fetchall()
        connection.execute(
            f"INSERT INTO records BY NAME SELECT DISTINCT ON (ident) {columns}, ident FROM "
            "(SELECT *, hash(request_id, release, coalesce(canary, false), said) AS ident FROM given) AS new "
            "WHERE NOT EXISTS (SELECT 1 FROM records AS old WHERE old.ident = new.ident)"
        )
        ((after,),) = connection.execute(count).fetchall()
        connection.unregister("given")
        self.repeated += len(held) - (after - before)
        self.taken += after - before

    def _checked(self, rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Those that are records, one by one: among them is a line that only looks like one."""
        for row in rows:
            said = row["said"]
            try:
                record = segments.Record.model_validate({name: value for name, value in row.items() if name in segments.FIELDS})
            except ValidationError:
                self._bad += 1
                continue
            yield record.model_dump() | {"said": said}

    def _make_room(self, now: datetime) -> None:
        connection, oldest = self.source.connection, now - self._keep
        query = f'SELECT count(*), count(*) FILTER ("at" < {moment(oldest)}) FROM records'
        ((count, old),) = connection.execute(query).fetchall()
        if self.full_since is not None:
            self.full_since = max(self.full_since, oldest)
        if count - old > self._most * _SLACK:
            ((first,),) = connection.execute(f'SELECT "at" FROM records ORDER BY "at" DESC LIMIT 1 OFFSET {self._most - 1}').fetchall()
            kept = self._anew(f'"at" >= {moment(first)} ORDER BY "at" DESC LIMIT {self._most}')
            self.dropped += count - old - kept
            self.full_since = first
        elif old > count * (_SLACK - 1):
            self._anew(f'"at" >= {moment(oldest)}')

    def _anew(self, where: str) -> int:
        connection = self.source.connection
        connection.execute(f"CREATE TABLE kept AS SELECT * FROM records WHERE {where}")
        connection.execute("DROP TABLE records; ALTER TABLE kept RENAME TO records")
        ((count,),) = connection.execute("SELECT count(*) FROM records").fetchall()
        return int(count)


def _columns() -> Any:
    import pyarrow as pa

    from pipelines.corpus.traffic_table import schema

    whole = schema(questions=False)
    columns = [whole.field(name).with_nullable(True) for name in TYPES if name not in _UNUSED]
    return pa.schema([*columns, pa.field("said", whole.field("at").type)])
