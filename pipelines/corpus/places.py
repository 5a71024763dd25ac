"""Which data file holds which key, in the newest snapshot: an index in SQLite beside the table, so that an arrival reads what it touches.

A cache: it follows the table by the files that changed between two snapshots, whatever changed them, and is made again from the table
when it is lost. It also keeps the running hash of the state (`documents.lanes`).
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.config import Settings
from pipelines.corpus import table as tables
from pipelines.corpus.documents import Place, lanes, shifted

_SCHEMA = """
CREATE TABLE IF NOT EXISTS at (one INTEGER PRIMARY KEY CHECK (one = 1), snapshot INTEGER NOT NULL, state BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS files (id INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE, rows INTEGER NOT NULL, bytes INTEGER NOT NULL);
SELECT bytes FROM files LIMIT 0; -- an index of another version is made anew
CREATE INDEX IF NOT EXISTS files_by_rows ON files (rows);
CREATE TABLE IF NOT EXISTS keys (key TEXT NOT NULL, file INTEGER NOT NULL, PRIMARY KEY (key, file)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS keys_by_file ON keys (file);
"""
_AT_ONCE = 500
_SMALL_BYTES = 4_000_000
"""A file of few but long texts is not small."""
_FEW = 24
"""So many small files may lie about; beyond, each write takes up to twelve of them in."""


@dataclass(frozen=True, slots=True)
class Places:
    """An index that is at one snapshot of its table."""

    connection: sqlite3.Connection
    state: bytes

    def of_keys(self, keys: Iterable[str]) -> set[str]:
        """Paths of the files that hold any of these keys."""
        wanted = sorted(set(keys))
        found: set[str] = set()
        for at in range(0, len(wanted), _AT_ONCE):
            some = wanted[at : at + _AT_ONCE]
            marks = ",".join("?" * len(some))
            rows = self.connection.execute(f"SELECT DISTINCT path FROM keys JOIN files ON id = file WHERE key IN ({marks})", some)  # noqa: S608 - marks only
            found |= {path for (path,) in rows}
        return found

    def of_parts(self, parts: Iterable[str]) -> set[str]:
        """Keys of whole parts (`chain.part_of`)."""
        found: set[str] = set()
        for part in parts:
            # "." follows "-": everything that begins with the part and a hyphen.
            rows = self.connection.execute(
                "SELECT DISTINCT key FROM keys WHERE key = ? OR (key >= ? AND key < ?)", (part, f"{part}-", f"{part}.")
            )
            found |= {key for (key,) in rows}
        return found

    def small(self) -> set[str]:
        """Paths of small files that a write should take in, so that many little arrivals do not leave as many files."""
        rows = self.connection.execute(
            "SELECT path FROM files WHERE rows < ? AND bytes < ? ORDER BY rows, id LIMIT ?",
            (tables.ROWS_PER_FILE // 4, _SMALL_BYTES, _FEW + 1),
        ).fetchall()
        return {path for (path,) in rows[: _FEW // 2]} if len(rows) > _FEW else set()


@contextmanager
def at(settings: Settings, domain_name: str, table: Any, snapshot: int) -> Iterator[Places]:
    """The index, brought to a snapshot. Only for whoever holds the domain's lock."""
    path = settings.warehouse / f"{domain_name}.places.db"
    try:
        connection, state = _opened(path, table, snapshot)
    except sqlite3.DatabaseError:
        path.unlink(missing_ok=True)  # a cache: made again
        connection, state = _opened(path, table, snapshot)
    try:
        yield Places(connection, state)
    finally:
        connection.close()


def _opened(path: Path, table: Any, snapshot: int) -> tuple[sqlite3.Connection, bytes]:
    connection = sqlite3.connect(path)
    try:
        connection.executescript(_SCHEMA)
        connection.execute("PRAGMA synchronous = NORMAL")
        return connection, _follow(connection, table, snapshot)
    except BaseException:
        connection.close()
        raise


def _follow(connection: sqlite3.Connection, table: Any, snapshot: int) -> bytes:
    """Bring the index to a snapshot, by the files that changed since the one it is at; returns the state's lanes."""
    known = connection.execute("SELECT snapshot, state FROM at").fetchone()
    if known is not None and known[0] == snapshot:
        return bytes(known[1])
    if known is not None and table.snapshot_by_id(known[0]) is not None:
        gone, come = tables.changed_files(table, known[0], snapshot)
        state = bytes(known[1])
    else:
        gone, come, state = {}, tables.files(table, snapshot), lanes(())
        for name in ("at", "files", "keys"):
            connection.execute(f"DELETE FROM {name}")  # noqa: S608 - our own names
    less: Counter[Place] = Counter()
    more: Counter[Place] = Counter()
    for file, data in gone.items():
        (number,) = connection.execute("SELECT id FROM files WHERE path = ?", (file,)).fetchone()
        connection.execute("DELETE FROM keys WHERE file = ?", (number,))
        connection.execute("DELETE FROM files WHERE id = ?", (number,))
        less.update(_read(table, [data]))
    for file, data in come.items():
        read = _read(table, [data])
        number = connection.execute(
            "INSERT INTO files (path, rows, bytes) VALUES (?, ?, ?)", (file, len(read), data.file_size_in_bytes)
        ).lastrowid
        connection.executemany("INSERT OR IGNORE INTO keys VALUES (?, ?)", [(place[0], number) for place in read])
        more.update(read)
    # Rows that only moved from file to file are not worth a hash.
    state = shifted(state, less=lanes((less - more).elements()), more=lanes((more - less).elements()))
    connection.execute("INSERT OR REPLACE INTO at VALUES (1, ?, ?)", (snapshot, state))
    connection.commit()
    return state


def _read(table: Any, files: Iterable[Any]) -> list[Place]:
    files = list(files)
    if not files:
        return []
    read = tables.rows_of(table, files, ("key", "valid_from", "content"))
    return list(zip(*(read[name].to_pylist() for name in ("key", "valid_from", "content")), strict=True))
