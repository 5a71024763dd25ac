"""Searches files for identifiers that must not be in them: the proof that masking held, run by the demo and by a test."""

from __future__ import annotations

import gzip
import mmap
import re
import sqlite3
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path


def find(root: Path, planted: Iterable[str], skip: Iterable[Path] = ()) -> dict[Path, set[str]]:
    """Files below `root` (not below `skip`) in whose bytes, path or decoded columns one of the strings occurs, upper or lower case.

    Parquet and Lance pages are compressed, so those files are also decoded; SQLite and text are searched as bytes.
    """
    words = sorted({word for word in planted if word.strip()})
    pattern = re.compile(b"|".join(re.escape(word.encode()) for word in words), re.IGNORECASE)
    skipped = [path.resolve() for path in skip]
    found: dict[Path, set[str]] = {}
    for path in sorted(root.rglob("*")):
        if not path.is_file() or path.is_symlink() or any(path.resolve().is_relative_to(place) for place in skipped):
            continue
        hits = {hit.decode("utf-8", "replace") for text in _contents(path) for hit in pattern.findall(text)}
        hits |= {hit.decode("utf-8", "replace") for hit in pattern.findall(str(path.relative_to(root)).encode())}
        if hits:
            found[path] = hits
    return found


def _contents(path: Path) -> Iterator[bytes | mmap.mmap]:
    try:
        size = path.stat().st_size
        if not size:
            return
        with path.open("rb") as file:
            yield mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        if path.suffix == ".gz":
            with gzip.open(path) as packed:
                yield packed.read()
        elif path.suffix == ".parquet":
            yield _parquet(path)
        elif path.suffix == ".lance" or path.name == "_metadata":
            yield from ()
        if path.suffix in (".db", ".sqlite"):
            yield from _inflated(path)
    except FileNotFoundError:
        return  # a running service removed it meanwhile


def _parquet(path: Path) -> bytes:
    import pyarrow.parquet as parquet

    table = parquet.read_table(path)
    return "\n".join(str(value) for column in table.columns for value in column.to_pylist()).encode()


def _inflated(path: Path) -> Iterator[bytes]:
    """Blobs of a database that are zlib-compressed (Airflow may compress serialised DAGs)."""
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10) as database:
        tables = [name for (name,) in database.execute("select name from sqlite_master where type = 'table'")]
        for table in tables:
            for row in database.execute(f'select * from "{table}"'):  # noqa: S608 - names come from the schema itself
                for value in row:
                    if isinstance(value, bytes) and value[:1] == b"\x78":
                        try:
                            yield zlib.decompress(value)
                        except zlib.error:
                            continue
