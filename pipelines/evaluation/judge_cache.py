"""Scores that a judge gave before, in SQLite: hashes and numbers, no text. A judging that failed is never in it."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

FILE = "judge.sqlite"

_AT_ONCE = 500


def read(folder: Path, keys: Sequence[str]) -> dict[str, tuple[float, str]]:
    """Key -> score and the hash of the model's name as the endpoint gave it, for the keys that are known.

    The folder is made where it is missing. sqlite3.Error or OSError when it cannot be used.
    """
    folder.mkdir(parents=True, exist_ok=True)
    known: dict[str, tuple[float, str]] = {}
    with closing(_connected(folder)) as connection:
        for start in range(0, len(keys), _AT_ONCE):
            some = keys[start : start + _AT_ONCE]
            marks = ",".join("?" * len(some))
            found = connection.execute(f"SELECT key, score, served FROM scores WHERE key IN ({marks})", some)  # noqa: S608
            known |= {key: (score, served) for key, score, served in found}
    return known


def keep(folder: Path, key: str, score: float, served: str) -> None:
    """At once, so that a run that is killed has paid for nothing in vain. sqlite3.Error when it cannot be written."""
    with closing(_connected(folder)) as connection, connection:
        connection.execute("INSERT OR REPLACE INTO scores VALUES (?, ?, ?)", (key, score, served))


def _connected(folder: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(folder / FILE, timeout=30)
    try:
        connection.execute("CREATE TABLE IF NOT EXISTS scores (key TEXT PRIMARY KEY, score REAL NOT NULL, served TEXT NOT NULL)")
    except BaseException:
        connection.close()
        raise
    return connection
