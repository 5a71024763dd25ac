"""What is held of an arrival is a batch: counted in bytes of Python's own strings, never timed."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from versions import publish

from pipelines.config import DomainConfig, Settings
from pipelines.corpus import draft, duplicates, sealing, spool, staging, table, warehouse
from pipelines.corpus.documents import Document, document, state_of
from pipelines.corpus.spool import OnDisk
from pipelines.errors import ArrivalRefused
from pipelines.intake import contract
from pipelines.intake.records import RawRecord

pytestmark = pytest.mark.slow

COUNT, LENGTH = 96, 200_000
"""Near twenty million characters; a batch is set to a hundred thousand: one text."""
MOST = 5_000_000


def text(number: int, word: str) -> str:
    return f"{word * 200}{number:03} " * (LENGTH // 204)


class Made(OnDisk[Document]):
    """Documents that exist only while somebody holds them."""

    def __init__(self, word: str, day: str, subjects: tuple[str, ...] = ()) -> None:
        self._word, self._day, self._subjects = word, day, subjects

    def __len__(self) -> int:
        return COUNT

    def _at(self, place: int) -> Document:
        # Not in the order in which the file before has them.
        number = place * 7 % COUNT
        return document(
            key=f"k{number:03}", title="", text=text(number, self._word), valid_from=self._day, arrival_id="a", subjects=self._subjects
        )


@pytest.fixture
def peak(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Any]], tuple[Any, int]]:
    """Calls a function; its answer and the most bytes that were held meanwhile."""
    monkeypatch.setattr(spool, "BATCH_CHARACTERS", 100_000)
    monkeypatch.setattr(table, "ROWS_PER_FILE", 4)
    monkeypatch.setattr(draft, "_FILE_BYTES", 1_000_000)

    def measure(call: Callable[[], Any]) -> tuple[Any, int]:
        tracemalloc.start()
        try:
            return call(), tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    return measure


@pytest.mark.parametrize("profile", ["public", "sealed"])
def test_staging_comparing_and_publishing_hold_no_arrival(
    settings: Settings, domain: DomainConfig, private: DomainConfig, tmp_path: Path, peak: Any, profile: str
) -> None:
    seal = profile == "sealed"
    held = private if seal else domain
    keys = sealing.sealer(settings)
    subjects = (str(keys().subject("regulatory", ("Ann",))),) if seal else ()
    # What is loaded at first use is not what is measured.
    parent = publish(settings, held, 0, Made("a", "2001-01-01", subjects)[:1]).snapshot_id
    duplicates.compare(settings, held, Made("a", "2001-01-01")[:1])
    for minor, (word, day) in enumerate([("b", "2011-01-01"), ("c", "2014-01-01")], 1):
        folder = tmp_path / word
        folder.mkdir()
        made = Made(word, day, subjects)
        _, staged = peak(lambda folder=folder, made=made: staging.write(folder, staging.Staged(made), keys, seal=seal))
        read: Sequence[Document] = staging.read(folder, keys).documents
        assert read[-1] == made[COUNT - 1] and read[3] == made[3]
        _, compared = peak(lambda read=read: duplicates.compare(settings, held, read))
        done, published = peak(lambda minor=minor, read=read, parent=parent: publish(settings, held, minor, read, parent=parent))
        parent = done.snapshot_id
        assert max(staged, compared, published) < MOST, (staged, compared, published)
    rows = warehouse.documents(settings, "regulatory", "Test_v1.2")
    assert [(row.key, row.text[:1], row.valid_to) for row in rows[1:3]] == [("k000", "b", "2014-01-01"), ("k000", "c", "9999-12-31")]
    assert len(rows) == 1 + 2 * COUNT and done.content == state_of(rows)


def test_a_text_is_read_where_it_lies_and_not_in_the_order_of_keys(
    settings: Settings, domain: DomainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging, "ROWS_PER_GROUP", 10)
    keys = sealing.sealer(settings)
    # Two texts of every key, far apart in the arrival.
    rows = [
        document(key=f"k{n:02}", title="", text=day, valid_from=day, arrival_id="a")
        for day in ("2011-01-01", "2014-01-01")
        for n in range(50)
    ]
    staging.write(tmp_path, staging.Staged(rows), keys, seal=False)
    staged, real, groups = staging.read(tmp_path, keys).documents, staging.Documents._read, []
    monkeypatch.setattr(staging.Documents, "_read", lambda self, group: (groups.append(group), real(self, group))[1])
    publish(settings, domain, 0, staged)
    assert groups == [*range(10), *range(10)], "once without texts, once with"


def test_the_contract_holds_no_arrival(domain: DomainConfig, tmp_path: Path, peak: Any) -> None:
    rules = [
        {"type": "ExpectColumnValuesToMatchRegex", "args": {"column": "text", "regex": "^a"}},
        {"type": "ExpectColumnValuesToBeUnique", "args": {"column": "text"}},
    ]
    asked = DomainConfig.model_validate(domain.model_dump() | {"contract": {"expectations": rules}})
    contract.check([RawRecord("k", "", "a", "2011-01-01", "", False, (), "")], asked, tmp_path)  # loads Great Expectations
    records = (RawRecord(f"k{n}", "", text(n, "a"), "2011-01-01", "", False, (), f"row {n}") for n in range(COUNT))
    breaches, most = peak(lambda: contract.check(records, asked, tmp_path))
    assert breaches == [] and most < MOST


@pytest.mark.parametrize(("column", "said"), [("text", "the content hash is wrong"), ("source", "only to be moved were changed")])
def test_the_audit_reads_back_what_moved_and_what_is_new(
    settings: Settings, domain: DomainConfig, monkeypatch: pytest.MonkeyPatch, column: str, said: str
) -> None:
    import pyarrow as pa

    rows = [document(key=f"k{n}", title="", text="one", valid_from="2011-01-01", arrival_id="a") for n in range(5)]
    parent = publish(settings, domain, 0, rows).snapshot_id
    real = table.write

    def altered(opened: Any, stored: Any) -> Any:
        moved = "k4" in stored["key"].to_pylist()
        if moved == (column == "source"):
            stored = stored.set_column(stored.schema.get_field_index(column), stored.schema.field(column), pa.array(["x"] * len(stored)))
        return real(opened, stored)

    monkeypatch.setattr(table, "write", altered)
    amended = document(key="k0", title="", text="two", valid_from="2014-01-01", arrival_id="b")
    with pytest.raises(ArrivalRefused, match=said):
        publish(settings, domain, 1, [amended], parent=parent)
