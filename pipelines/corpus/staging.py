"""Masked documents between masking and publishing: Parquet for the rows, JSON for the account. The first place outside the landing zone
that text is written to; neither written nor read as a whole.

Where the domain is not public the text is encrypted here already, and stays as it is encrypted on its way into the warehouse.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

from pipelines.corpus import sealing
from pipelines.corpus.chain import Link, Step
from pipelines.corpus.documents import Document
from pipelines.corpus.spool import OnDisk, Picked, batches
from pipelines.state.ledger import Line

ROWS_PER_GROUP = 500


@dataclass(frozen=True, slots=True)
class Chained:
    """What one source document of an arrival says beside its texts."""

    link: Link
    places: tuple[int, ...]
    """Its rows among the arrival's documents."""
    subtrees: tuple[str, ...] = ()
    headless: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Staged:
    """An arrival's documents and account, and the links of amendment chains among them."""

    documents: Sequence[Document]
    """On disk, unless they are few."""
    lines: list[Line] = field(default_factory=list)
    chained: list[Chained] = field(default_factory=list)

    def steps(self) -> list[Step]:
        """Its links with their texts, ready to be replayed."""
        return [
            Step(one.link, tuple(Picked(self.documents, one.places)), frozenset(one.subtrees), frozenset(one.headless))
            for one in self.chained
        ]

    def unchained(self) -> Sequence[Document]:
        """Documents that belong to no chain."""
        taken = {place for one in self.chained for place in one.places}
        return Picked(self.documents, [place for place in range(len(self.documents)) if place not in taken])


@dataclass(frozen=True, slots=True)
class Held:
    """Documents that wait for a person, and for each what the rules found. Never published from here."""

    staged: Staged
    findings: list[list[dict[str, Any]]]
    reason: str = ""
    """Why the arrival as a whole waits; empty where only some documents do."""


def split(staged: Staged, rows: set[int]) -> tuple[Staged, Staged]:
    """The documents but those rows, and those rows; a chain's document is never cut in two. The lines of refusals stay with the first."""
    parts = []
    for wanted in (False, True):
        places = [place for place in range(len(staged.documents)) if (place in rows) == wanted]
        new = {old: place for place, old in enumerate(places)}
        chained = [
            replace(one, places=tuple(new[place] for place in one.places)) for one in staged.chained if set(one.places) <= new.keys()
        ]
        parts.append(Staged(Picked(staged.documents, places), [staged.lines[place] for place in places], chained))
    kept, held = parts
    if len(kept.chained) + len(held.chained) != len(staged.chained):
        raise ValueError("a source document would be cut in two")
    return replace(kept, lines=kept.lines + staged.lines[len(staged.documents) :]), held


def write(folder: Path, staged: Staged, keys: sealing.Opener, held: Held | None = None, *, seal: bool) -> None:
    """Fill a staging folder, a batch of documents at a time."""
    _write(folder, "documents.parquet", "account.json", staged, keys, {}, seal=seal)
    if held is not None and held.staged.documents:
        more = {"findings": held.findings, "reason": held.reason}
        _write(folder, "held.parquet", "held.json", held.staged, keys, more, seal=seal)


def read(folder: Path, keys: sealing.Opener) -> Staged:
    """What `write` wrote, without what is held; the texts of erased subjects come back erased."""
    return _read(folder, "documents.parquet", "account.json", keys)[0]


def read_held(folder: Path, keys: sealing.Opener) -> Held | None:
    """What is held of an arrival; None where nothing is."""
    if not (folder / "held.json").is_file():
        return None
    staged, account = _read(folder, "held.parquet", "held.json", keys)
    return Held(staged, account["findings"], account["reason"])


class Documents(OnDisk[Document]):
    """The documents of a Parquet file, decrypted where their keys exist. Holds one row group: read them in order."""

    def __init__(self, path: Path, keys: sealing.Opener) -> None:
        import pyarrow.parquet as parquet

        self._path, self._keys = path, keys
        metadata = parquet.read_metadata(path)
        rows = (metadata.row_group(group).num_rows for group in range(metadata.num_row_groups))
        self._starts: list[int] = list(accumulate(rows, initial=0))
        self._group = -1
        self._rows: list[Document] = []

    def __len__(self) -> int:
        return self._starts[-1]

    def _at(self, place: int) -> Document:
        group = bisect_right(self._starts, place) - 1
        if group != self._group:
            self._group, self._rows = group, self._read(group)
        return self._rows[place - self._starts[group]]

    def _read(self, group: int) -> list[Document]:
        import pyarrow.parquet as parquet

        with parquet.ParquetFile(self._path) as file:
            return [sealing.from_values(row, self._keys) for row in file.read_row_group(group).to_pylist()]


def _write(folder: Path, rows: str, facts: str, staged: Staged, keys: sealing.Opener, more: dict[str, Any], *, seal: bool) -> None:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    with parquet.ParquetWriter(folder / rows, _schema()) as file:
        for batch in batches(staged.documents, lambda row: len(row.text), ROWS_PER_GROUP):
            file.write_table(pa.Table.from_pylist([sealing.to_values(row, keys, seal=seal) for row in batch], schema=_schema()))
    account = {"lines": [asdict(line) for line in staged.lines], "chained": [asdict(one) for one in staged.chained], **more}
    (folder / facts).write_text(json.dumps(account), encoding="utf-8")


def _read(folder: Path, rows: str, facts: str, keys: sealing.Opener) -> tuple[Staged, dict[str, Any]]:
    account = json.loads((folder / facts).read_text(encoding="utf-8"))
    chained = [
        Chained(Link(**one["link"]), tuple(one["places"]), tuple(one["subtrees"]), tuple(one["headless"])) for one in account["chained"]
    ]
    return Staged(Documents(folder / rows, keys), [Line(**line) for line in account["lines"]], chained), account


def _schema() -> Any:
    """The warehouse's columns but one: nothing is restated before it is published."""
    from pipelines.corpus.table import schema

    columns = schema()
    return columns.remove(columns.get_field_index("restated"))
