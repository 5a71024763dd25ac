"""Masked documents between masking and publishing: Parquet for the rows, JSON for the account. The first place text is written to.

Where the domain is not public the text is encrypted here already, and stays as it is encrypted on its way into the warehouse.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from pipelines.corpus import sealing
from pipelines.corpus.chain import Link, Step
from pipelines.corpus.documents import Document
from pipelines.state.ledger import Line


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

    documents: list[Document]
    lines: list[Line] = field(default_factory=list)
    chained: list[Chained] = field(default_factory=list)

    def steps(self) -> list[Step]:
        """Its links with their texts, ready to be replayed."""
        return [
            Step(one.link, tuple(self.documents[place] for place in one.places), frozenset(one.subtrees), frozenset(one.headless))
            for one in self.chained
        ]

    def unchained(self) -> list[Document]:
        """Documents that belong to no chain."""
        taken = {place for one in self.chained for place in one.places}
        return [row for place, row in enumerate(self.documents) if place not in taken]


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
        parts.append(Staged([staged.documents[place] for place in places], [staged.lines[place] for place in places], chained))
    kept, held = parts
    if len(kept.chained) + len(held.chained) != len(staged.chained):
        raise ValueError("a source document would be cut in two")
    return replace(kept, lines=kept.lines + staged.lines[len(staged.documents) :]), held


def write(folder: Path, staged: Staged, keys: sealing.Opener, held: Held | None = None, *, seal: bool) -> None:
    """Fill a staging folder."""
    rows = [sealing.to_values(row, keys, seal=seal) for row in staged.documents]
    _write(folder, "documents.parquet", "account.json", rows, staged, {})
    if held is not None and held.staged.documents:
        rows = [sealing.to_values(row, keys, seal=seal) for row in held.staged.documents]
        _write(folder, "held.parquet", "held.json", rows, held.staged, {"findings": held.findings, "reason": held.reason})


def read(folder: Path, keys: sealing.Opener) -> Staged:
    """What `write` wrote, without what is held; the texts of erased subjects come back erased."""
    return _read(folder, "documents.parquet", "account.json", keys)[0]


def read_held(folder: Path, keys: sealing.Opener) -> Held | None:
    """What is held of an arrival; None where nothing is."""
    if not (folder / "held.json").is_file():
        return None
    staged, account = _read(folder, "held.parquet", "held.json", keys)
    return Held(staged, account["findings"], account["reason"])


def _write(folder: Path, rows: str, facts: str, values: list[dict[str, Any]], staged: Staged, more: dict[str, Any]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    parquet.write_table(pa.Table.from_pylist(values, schema=_schema()), folder / rows)
    account = {"lines": [asdict(line) for line in staged.lines], "chained": [asdict(one) for one in staged.chained], **more}
    (folder / facts).write_text(json.dumps(account), encoding="utf-8")


def _read(folder: Path, rows: str, facts: str, keys: sealing.Opener) -> tuple[Staged, dict[str, Any]]:
    import pyarrow.parquet as parquet

    documents = [sealing.from_values(row, keys) for row in parquet.read_table(folder / rows).to_pylist()]
    account = json.loads((folder / facts).read_text(encoding="utf-8"))
    chained = [
        Chained(Link(**one["link"]), tuple(one["places"]), tuple(one["subtrees"]), tuple(one["headless"])) for one in account["chained"]
    ]
    return Staged(documents, [Line(**line) for line in account["lines"]], chained), account


def _schema() -> Any:
    """The warehouse's columns but one: nothing is restated before it is published."""
    from pipelines.corpus.table import schema

    columns = schema()
    return columns.remove(columns.get_field_index("restated"))
