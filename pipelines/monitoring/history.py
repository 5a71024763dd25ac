"""The traffic log as far back as it goes: rows of the warehouse, and the segments that are not in it yet, each record once."""

# ruff: noqa: S608 -- no part of a query comes from outside: column names are this project's, file names are quoted.

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from pipelines import locks
from pipelines.config import Settings
from pipelines.corpus import traffic_table
from pipelines.errors import NotFound
from pipelines.manifest import sha256_file
from pipelines.monitoring.source import TYPES, Source, connect, day, empty, moment, text
from pipelines.traffic import segments

ONCE = 'request_id, release, shadow, canary, "at"'
"""What is the same of a record that stands there twice. One request has several records: of live, and of shadows."""


def history(settings: Settings, domain: str, since: datetime, until: datetime) -> Source:
    """Records written from `since` until before `until`, for `windows.windows`; to be closed. Empty where there is nothing.

    Of the warehouse only files of these days are read, and of a segment only whole lines that are records. Blocking.
    """
    # In this order: a segment that goes into the warehouse in between is known to the table.
    folder = segments.folder_of(settings, domain)
    names = segments.names(folder, since)
    waiting = {path.name for path in folder.glob("*.jsonl")}
    try:
        table = traffic_table.open_table(settings, domain)
    except NotFound:
        table, known, files = None, {}, []
    else:
        known, files = traffic_table.held(table), _files(table, since, until)
    source = Source(connect())
    try:
        empty(source.connection)
        between = f'"at" >= {moment(since)} AND "at" < {moment(until)}'
        # What lies in rotated/ went into the table, also where the snapshot that says so is forgotten.
        new = [name for name in names if name not in known and (table is None or name in waiting)]
        _take_in(source.connection, folder, new, set(known.values()), between)
        return Source(source.connection, _with_files(source.connection, files, between))
    except BaseException:
        source.close()
        raise


def _files(table: Any, since: datetime, until: datetime) -> list[str]:
    from pyiceberg.expressions import And, GreaterThanOrEqual, LessThanOrEqual

    days = And(GreaterThanOrEqual("day", day(since).isoformat()), LessThanOrEqual("day", day(until).isoformat()))
    return sorted(task.file.file_path.removeprefix("file://") for task in table.scan(row_filter=days).plan_files())


def _with_files(connection: Any, files: list[str], between: str) -> str:
    """SQL of what was taken in, and of the warehouse's files; columns that older files lack are empty."""
    if not files:
        return "records"
    listed = f"[{', '.join(map(text, files))}]"
    there = {name for (name,) in connection.sql(f"SELECT DISTINCT name FROM parquet_schema({listed})").fetchall()}
    columns = ", ".join(f'"{name}"' for name in TYPES if name in there)
    stored = f"SELECT {columns} FROM read_parquet({listed}, union_by_name = true) WHERE {between}"
    return f"(SELECT * FROM records UNION ALL BY NAME {stored})"


def _take_in(connection: Any, folder: Path, names: list[str], known: set[str], between: str) -> None:
    """Read segments into the table `records`; one that is in the warehouse, or was read, under another name is left out."""
    import duckdb

    columns = ", ".join(f"{text(name)}: {text(kind)}" for name, kind in TYPES.items())
    read = f"read_json(<path>, format = 'newline_delimited', ignore_errors = true, columns = {{{columns}}})"
    taken = 0
    for name in names:
        path = segments.place(folder, name)
        if path is None or (not locks.is_held(path) and _repeated(path, known)):
            continue
        for again in (False, True):
            try:
                connection.execute(
                    f"INSERT INTO records BY NAME SELECT * FROM {read.replace('<path>', text(str(path)))} "
                    f"WHERE request_id IS NOT NULL AND status IS NOT NULL AND {between}"
                )
                taken += 1
                break
            except duckdb.IOException:
                # Moved since it was found.
                path = segments.place(folder, name)
                if again or path is None:
                    break
    if taken:
        connection.execute(
            f"CREATE TABLE once AS SELECT DISTINCT ON ({ONCE}) * FROM records; DROP TABLE records; ALTER TABLE once RENAME TO records"
        )


def _repeated(path: Path, known: set[str]) -> bool:
    try:
        digest = sha256_file(path)
    except FileNotFoundError:
        return False
    if digest in known:
        return True
    known.add(digest)
    return False
