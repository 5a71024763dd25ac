"""What an arrival reads and writes is its own size: counted in rows and files, never timed. And the index of places survives everything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from versions import publish

from pipelines.config import DomainConfig, Settings
from pipelines.corpus import places, table, warehouse
from pipelines.corpus.documents import Document, as_of, digest, document, lanes, shifted, state_of

pytestmark = pytest.mark.slow


def doc(number: int, text: str = "a text", day: str = "2011-01-01") -> Document:
    return document(key=f"k{number:05}", title="", text=f"{text} {number}", valid_from=day, arrival_id="a")


@pytest.fixture
def big(settings: Settings, domain: DomainConfig, monkeypatch: pytest.MonkeyPatch) -> int:
    """A version of 400 documents in files of ten; its snapshot."""
    monkeypatch.setattr(table, "ROWS_PER_FILE", 10)
    return publish(settings, domain, 0, [doc(number) for number in range(400)]).snapshot_id


def test_an_arrival_reads_and_rewrites_the_files_of_its_keys_only(
    settings: Settings, domain: DomainConfig, big: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(settings, domain, 1, [doc(999)], parent=big)  # the index of places is there from now on
    read: list[str] = []
    real = table.rows_of

    def counting(opened: Any, files: Any, columns: tuple[str, ...] = ()) -> Any:
        files = list(files)
        read.extend(file.file_path for file in files)
        return real(opened, files, columns)

    monkeypatch.setattr(table, "rows_of", counting)
    opened = table.open_table(settings, "regulatory")
    before = table.files(opened, opened.current_snapshot().snapshot_id)
    made = publish(settings, domain, 2, [doc(7, "amended", "2014-01-01"), doc(1000)], parent=opened.current_snapshot().snapshot_id)
    assert made.documents == 403
    opened.refresh()
    gone, come = table.changed_files(opened, opened.snapshot_by_id(made.snapshot_id).parent_snapshot_id, made.snapshot_id)
    assert len(before) == 41 and len(gone) == 1 and len(come) == 2, "one file of ten rows went, its rows and the two new ones came"
    assert len(set(read)) <= 4, "the file that changes, what replaces it, and the file of the arrival before"
    day = {row.key: row.text for row in as_of(warehouse.documents(settings, "regulatory", "Test_v1.2"), "2015-01-01")}
    assert len(day) == 402 and day["k00007"] == "amended 7" and day["k00008"] == "a text 8"


def test_a_diff_reads_the_files_that_differ(settings: Settings, domain: DomainConfig, big: int, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(settings, domain, 1, [doc(7, "amended", "2014-01-01"), doc(1000)], parent=big)
    monkeypatch.setattr(table, "all_rows", lambda *_: pytest.fail("a diff reads no whole version"))
    changes = warehouse.diff(settings, "regulatory", "Test_v1.0", "Test_v1.1")
    assert [(one.kind, one.key) for one in changes] == [("amended", "k00007"), ("added", "k01000")]


def test_the_content_is_the_hash_of_the_documents_whatever_came_before(settings: Settings, domain: DomainConfig, big: int) -> None:
    made = publish(settings, domain, 1, [doc(7, "amended", "2014-01-01"), doc(1000)], parent=big)
    assert made.content == state_of(warehouse.documents(settings, "regulatory", "Test_v1.1"))


@pytest.mark.parametrize("harm", ["lost", "broken", "behind", "elsewhere"])
def test_the_index_of_places_is_made_again_or_follows(settings: Settings, domain: DomainConfig, big: int, harm: str) -> None:
    made = publish(settings, domain, 1, [doc(7, "amended", "2014-01-01")], parent=big)
    path = settings.warehouse / "regulatory.places.db"
    opened = table.open_table(settings, "regulatory")
    if harm == "lost":
        path.unlink()
    elif harm == "broken":
        path.write_bytes(b"no database" * 1000)
    elif harm == "elsewhere":  # at another branch of history: what a restore leaves
        warehouse.restore(settings, domain, big, version_id="Test_v1.2", parent_snapshot=made.snapshot_id)
        with places.at(settings, "regulatory", opened, made.snapshot_id):
            pass
    parent, number = (big, 3) if harm == "elsewhere" else (made.snapshot_id, 2)
    last = publish(settings, domain, number, [doc(8, "amended", "2014-01-01")], parent=parent)
    rows = warehouse.documents(settings, "regulatory", f"Test_v1.{number}")
    assert last.content == state_of(rows)
    assert {row.key for row in rows if row.text.startswith("amended")} == ({"k00008"} if harm == "elsewhere" else {"k00007", "k00008"})


def test_many_small_arrivals_do_not_leave_as_many_files(settings: Settings, domain: DomainConfig) -> None:
    parent: int | None = None
    for number in range(60):
        made = publish(settings, domain, number, [doc(number)], parent=parent)
        parent = made.snapshot_id
    opened = table.open_table(settings, "regulatory")
    assert len(table.files(opened, made.snapshot_id)) < 40
    rows = warehouse.documents(settings, "regulatory", "Test_v1.59")
    assert [row.key for row in rows] == [f"k{number:05}" for number in range(60)]
    assert made.content == state_of(rows)
    assert len(warehouse.documents(settings, "regulatory", "Test_v1.9")) == 10, "older versions have their files still"


def test_lanes_add_and_subtract_in_any_order() -> None:
    a, b, c = (("k", "2011-01-01", name * 64) for name in "abc")
    assert lanes([a, b, c]) == lanes([c, a, b]) == shifted(lanes([a, c]), less=lanes(()), more=lanes([b]))
    assert shifted(lanes([a, b]), less=lanes([b]), more=lanes([c])) == lanes([c, a])
    assert len({digest(lanes(some)) for some in ([], [a], [b], [a, b], [a, a])}) == 5


def test_a_table_of_before_gets_the_new_columns(settings: Settings, domain: DomainConfig, tmp_path: Path) -> None:
    import pyarrow as pa

    old = pa.schema([one for one in table.schema() if one.name not in ("subjects", "sealed", "wrapped")])
    catalog = table.catalog(settings)
    catalog.create_namespace_if_not_exists(table.NAMESPACE)
    made = catalog.create_table("ratchet.regulatory", schema=old)
    value = {"key": "k1", "title": "", "text": "one", "content": doc(1).content, "valid_from": "2011-01-01", "valid_to": "9999-12-31",
             "arrival_id": "a", "source": "", "withdrawn": False, "restated": []}  # fmt: skip
    made.append(pa.Table.from_pylist([value], schema=old))
    made.manage_snapshots().create_tag(made.current_snapshot().snapshot_id, "Test_v1.0").commit()
    publish(settings, domain, 1, [doc(2)], parent=made.current_snapshot().snapshot_id)
    assert [row.text for row in warehouse.documents(settings, "regulatory", "Test_v1.0")] == ["one"]
    assert [row.text for row in warehouse.documents(settings, "regulatory", "Test_v1.1")] == ["a text 2", "one"]
