"""Masked documents between masking and publishing: Parquet for the rows, JSON for the account. The first place text is written to.

Where the domain is not public the text is encrypted here already, and stays as it is encrypted on its way into the warehouse.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
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


def write(folder: Path, staged: Staged, keys: sealing.Opener, *, seal: bool) -> None:
    """Fill a staging folder."""
    import pyarrow as pa
    import pyarrow.parquet as parquet

    values = [sealing.to_values(row, keys, seal=seal) for row in staged.documents]
    parquet.write_table(pa.Table.from_pylist(values, schema=_schema()), folder / "documents.parquet")
    account = {"lines": [asdict(line) for line in staged.lines], "chained": [asdict(one) for one in staged.chained]}
    (folder / "account.json").write_text(json.dumps(account), encoding="utf-8")


def read(folder: Path, keys: sealing.Opener) -> Staged:
    """What `write` wrote; the texts of erased subjects come back erased."""
    import pyarrow.parquet as parquet

    documents = [sealing.from_values(row, keys) for row in parquet.read_table(folder / "documents.parquet").to_pylist()]
    account = json.loads((folder / "account.json").read_text(encoding="utf-8"))
    chained = [
        Chained(Link(**one["link"]), tuple(one["places"]), tuple(one["subtrees"]), tuple(one["headless"])) for one in account["chained"]
    ]
    return Staged(documents, [Line(**line) for line in account["lines"]], chained)


def _schema() -> Any:
    """The warehouse's columns but one: nothing is restated before it is published."""
    from pipelines.corpus.table import schema

    columns = schema()
    return columns.remove(columns.get_field_index("restated"))
