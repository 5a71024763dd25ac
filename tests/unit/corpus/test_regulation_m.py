"""The real amendment chain of Regulation M: the first text plus its notices must end in the last text, in any order of arrival."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from pipelines.config import PROJECT, Sources
from pipelines.corpus.amendments import Row, fold
from pipelines.corpus.documents import Document, as_of, document, faults, state_of
from pipelines.corpus.staging import repeals
from pipelines.intake.formats import RawRecord, read

DATA = Path(os.environ.get("RATCHET_SHARED_DATA", PROJECT.parent / "shared" / "data")) / "cfpb_regulations"
NOTICES = ("2012-27996", "2013-28194", "2014-21847", "2015-30071", "2016-28710", "2017-24411")

pytestmark = [pytest.mark.shared, pytest.mark.skipif(not DATA.is_dir(), reason=f"no public data at {DATA}")]


def arrival(path: Path) -> tuple[list[Document], list[tuple[str, str]]]:
    """Documents and amended subtrees of one file; paragraphs that hold only a picture are left out by the reader."""
    found = read(path, Sources(formats=("regml",)), effective="2011-12-30", where=path.name)
    records = [record for record in found if isinstance(record, RawRecord)]
    documents = [
        document(
            key=record.key,
            title=record.title,
            text=record.text,
            valid_from=record.valid_from,
            arrival_id=path.stem,
            source=record.source,
            withdrawn=record.withdrawn,
        )
        for record in records
    ]
    return documents, [(record.key, record.valid_from) for record in records if record.replaces_below]


def state(arrivals: list[list[Document]]) -> list[Document]:
    rows: list[Row] = []
    for one in arrivals:
        rows = fold(rows, one).rows
    return [row.document for row in rows]


def test_the_notices_lead_from_the_first_text_to_the_last() -> None:
    arrivals: list[list[Document]] = []
    paths = [DATA / "regulation" / "1013" / "2011-31723.xml", *(DATA / "notice" / "1013" / f"{number}.xml" for number in NOTICES)]
    for path in paths:
        documents, subtrees = arrival(path)
        arrivals.append(documents + repeals(documents, subtrees, state(arrivals)))
    final = state(arrivals)

    assert faults(final) == []
    held = {row.key: row.text for row in as_of(final, "2018-06-01")}
    last, _ = arrival(DATA / "regulation" / "1013" / "2017-24411.xml")
    assert held == {row.key: row.text for row in last}
    for seed in range(5):
        assert state_of(state(random.Random(seed).sample(arrivals, len(arrivals)))) == state_of(final)  # noqa: S311
