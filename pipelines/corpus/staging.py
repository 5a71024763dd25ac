"""Masked documents between masking and publishing: Parquet for the rows, JSON for the account. The first place text is written to."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from pipelines.corpus.documents import Document
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
    """Withdrawals for what stands below an amended key and is not delivered with it."""
    from pipelines.corpus.documents import document

    delivered = {row.key for row in documents}
    arrival_id = documents[0].arrival_id if documents else ""
    return [
        document(key=row.key, title=row.title, text="", valid_from=day, arrival_id=arrival_id, source=row.source, withdrawn=True)
        for key, day in subtrees
        for row in standing
        if row.key.startswith(f"{key}-") and row.key not in delivered and row.holds(day)
    ]
