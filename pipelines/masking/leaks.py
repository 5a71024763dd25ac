"""Searches files for identifiers that must not be in them: the proof that masking held, run by the demo and by a test."""

from __future__ import annotations

import gzip
import sqlite3
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path


def find(root: Path, planted: Iterable[str], skip: Iterable[Path] = ()) -> dict[Path, set[str]]:
    """Files below `root` (not below `skip`) in whose bytes, path or decoded columns one of the strings occurs, in any letter case.

    Parquet pages are compressed, so those files are also decoded; everything else is searched as bytes.
    """
    import ahocorasick

    # Hundreds of strings at once in time linear in the text; a regular expression of them took minutes for the same folder.
    automaton = ahocorasick.Automaton()
    for word in planted:
        if word.strip():
            automaton.add_word(_folded(word.encode()), word)
    if not len(automaton):
        return {}
    automaton.make_automaton()
    skipped = [path.resolve() for path in skip]
    found: dict[Path, set[str]] = {}
    for path in sorted(root.rglob("*")):
        if not path.is_file() or path.is_symlink() or any(path.resolve().is_relative_to(place) for place in skipped):
            continue
        texts = (str(path.relative_to(root)).encode(), *_contents(path))
        if hits := {word for text in texts for _, word in automaton.iter(_folded(text))}:
            found[path] = hits
    return found


def _folded(text: bytes) -> str:
    """Bytes as characters one to one, ASCII letters lowered."""
    return text.lower().decode("latin-1")


def _contents(path: Path) -> Iterator[bytes]:
    try:
        yield path.read_bytes()
        if path.suffix == ".gz":
            with gzip.open(path) as packed:
                yield packed.read()
        elif path.suffix == ".parquet":
            yield _parquet(path)
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
