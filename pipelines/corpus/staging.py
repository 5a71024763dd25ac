"""Masked documents between masking and publishing: Parquet for the rows, JSON for the account. The first place text is written to."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from pipelines.corpus.documents import Document, document
from pipelines.state.ledger import Line


def write(folder: Path, documents: list[Document], lines: list[Line], subtrees: list[tuple[str, str]]) -> None:
    """Fill a staging folder."""
    import pyarrow as pa
    import pyarrow.parquet as parquet

    parquet.write_table(pa.Table.from_pylist([asdict(row) for row in documents]), folder / "documents.parquet")
    account = {"lines": [asdict(line) for line in lines], "subtrees": subtrees}
    (folder / "account.json").write_text(json.dumps(account), encoding="utf-8")


def read(folder: Path) -> tuple[list[Document], list[Line], list[tuple[str, str]]]:
    """What `write` wrote."""
    import pyarrow.parquet as parquet

    documents = [Document(**row) for row in parquet.read_table(folder / "documents.parquet").to_pylist()]
    account = json.loads((folder / "account.json").read_text(encoding="utf-8"))
    return documents, [Line(**line) for line in account["lines"]], [(key, day) for key, day in account["subtrees"]]


def repeals(documents: list[Document], subtrees: list[tuple[str, str]], standing: list[Document]) -> list[Document]:
    """Withdrawals for what stands below an amended key on the amendment's day and is not delivered with it."""
    delivered = {row.key for row in documents}
    by_place = {(row.key, row.valid_from): row for row in documents}
    return [
        document(
            key=row.key,
            title=row.title,
            text="",
            valid_from=day,
            arrival_id=by_place[key, day].arrival_id,
            source=by_place[key, day].source,
            withdrawn=True,
        )
        for key, day in subtrees
        for row in standing
        if is_below(row.key, key) and row.key not in delivered and row.holds(day)
    ]


def is_below(key: str, top: str) -> bool:
    """Whether an amendment of the subtree `top` reaches the paragraph `key`."""
    # "2-e-Interp-9" comments on "2-e"; in the regulation's tree it lies in the interpretations, not below it.
    return key.startswith(f"{top}-") and ("-Interp" in key) == ("-Interp" in top)
