from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.config import DomainConfig, Settings
from pipelines.corpus import warehouse
from pipelines.corpus.documents import FOREVER, Document, as_of, document
from pipelines.corpus.table import open_table
from pipelines.errors import ArrivalRefused, Conflict, NotFound

pytestmark = pytest.mark.slow


def doc(key: str, text: str, day: str, source: str = "", *, arrival: str = "a", withdrawn: bool = False) -> Document:
    return document(key=key, title="", text=text, valid_from=day, arrival_id=arrival, source=source, withdrawn=withdrawn)


FIRST = [doc("k1", "one", "2011-01-01"), doc("k2", "two", "2011-01-01"), doc("k3", "three", "2011-01-01")]
SECOND = [
    doc("k1", "one, amended", "2014-01-01"),
    doc("k2", "two", "2014-01-01"),
    doc("k3", "", "2014-01-01", withdrawn=True),
    doc("k4", "four", "2014-01-01"),
]


def test_an_amendment_closes_the_earlier_text_and_leaves_the_old_version_readable(settings: Settings, domain: DomainConfig) -> None:
    first = warehouse.publish(settings, domain, "a1", FIRST, version_id="Test_v1.0", parent_snapshot=None)
    second = warehouse.publish(settings, domain, "a2", SECOND, version_id="Test_v1.1", parent_snapshot=first.snapshot_id)

    assert first.changed == {"added": 3, "superseded": 0, "withdrawn": 0, "unchanged": 0}
    assert second.changed == {"added": 1, "superseded": 1, "withdrawn": 1, "unchanged": 1}
    assert second.documents == 6
    assert warehouse.documents(settings, "regulatory", "Test_v1.0") == FIRST
    now = warehouse.documents(settings, "regulatory", "Test_v1.1")
    assert {(row.key, row.text) for row in as_of(now, "2013-12-31")} == {("k1", "one"), ("k2", "two"), ("k3", "three")}
    assert {(row.key, row.text) for row in as_of(now, "2014-01-01")} == {("k1", "one, amended"), ("k2", "two"), ("k4", "four")}
    assert list(warehouse.versions(settings, "regulatory").items()) == [
        ("Test_v1.0", first.snapshot_id),
        ("Test_v1.1", second.snapshot_id),
    ]


def test_diff_names_what_changed_and_what_it_replaced(settings: Settings, domain: DomainConfig) -> None:
    first = warehouse.publish(settings, domain, "a1", FIRST, version_id="Test_v1.0", parent_snapshot=None)
    warehouse.publish(settings, domain, "a2", SECOND, version_id="Test_v1.1", parent_snapshot=first.snapshot_id)

    changes = warehouse.diff(settings, "regulatory", "Test_v1.0", "Test_v1.1")

    assert [(c.kind, c.key, c.before and c.before.text, c.after and c.after.text) for c in changes] == [
        ("amended", "k1", "one", "one, amended"),
        ("withdrawn", "k3", "three", ""),
        ("added", "k4", None, "four"),
    ]
    assert warehouse.diff(settings, "regulatory", "Test_v1.1", "Test_v1.1") == []


def test_publishing_again_answers_the_same_and_adds_nothing(settings: Settings, domain: DomainConfig) -> None:
    once = warehouse.publish(settings, domain, "a1", FIRST, version_id="Test_v1.0", parent_snapshot=None)

    assert warehouse.publish(settings, domain, "a1", FIRST, version_id="Test_v1.0", parent_snapshot=None) == once
    assert list(warehouse.versions(settings, "regulatory")) == ["Test_v1.0"]


@pytest.mark.parametrize("step", ["_write", "_audit", "_move_main"])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_crash_anywhere_leaves_main_alone_and_the_rerun_publishes_once(
    settings: Settings, domain: DomainConfig, monkeypatch: pytest.MonkeyPatch, step: str, moment: str
) -> None:
    first = warehouse.publish(settings, domain, "a1", FIRST, version_id="Test_v1.0", parent_snapshot=None)
    real = getattr(warehouse, step)

    def crash(*args: object) -> None:
        if moment == "after":
            real(*args)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(warehouse, step, crash)
        with pytest.raises(KeyboardInterrupt):
            warehouse.publish(settings, domain, "a2", SECOND, version_id="Test_v1.1", parent_snapshot=first.snapshot_id)
    published = (step, moment) == ("_move_main", "after")
    assert ("Test_v1.1" in warehouse.versions(settings, "regulatory")) is published
    assert warehouse.documents(settings, "regulatory", "Test_v1.0") == FIRST

    second = warehouse.publish(settings, domain, "a2", SECOND, version_id="Test_v1.1", parent_snapshot=first.snapshot_id)

    assert second.documents == 6
    assert second.changed == {"added": 1, "superseded": 1, "withdrawn": 1, "unchanged": 1}
    opened = open_table(settings, "regulatory")
    assert set(opened.refs()) == {"main", "Test_v1.0", "Test_v1.1"}
    assert opened.current_snapshot().snapshot_id == second.snapshot_id


def test_a_state_that_fails_the_audit_is_not_published(settings: Settings, domain: DomainConfig) -> None:
    first = warehouse.publish(settings, domain, "a1", FIRST, version_id="Test_v1.0", parent_snapshot=None)
    for broken, fault in [
        (doc("k9", " ", "2014-01-01"), "k9: the text is empty"),
        (replace(doc("k9", "nine", "2014-01-01"), content="0" * 64), "k9: the content hash is wrong"),
        (doc("k9", "nine", "2014-01-01", withdrawn=True), "k9: withdrawn, but it has a text"),
    ]:
        with pytest.raises(ArrivalRefused, match=fault):
            warehouse.publish(settings, domain, "a2", [broken], version_id="Test_v1.1", parent_snapshot=first.snapshot_id)
    opened = open_table(settings, "regulatory")
    assert set(opened.refs()) == {"main", "Test_v1.0"}
    assert opened.current_snapshot().snapshot_id == first.snapshot_id


def test_any_order_of_arrival_ends_in_the_same_state(tmp_path: Path, domain: DomainConfig) -> None:
    arrivals = {
        "a1": [doc("k1", "one", "2011-01-01", "2010-1"), doc("k2", "two", "2011-01-01", "2010-1")],
        "a2": [doc("k1", "two of it", "2014-01-18", "2013-01384"), doc("k2", "two", "2014-01-18", "2013-01384")],
        "a3": [doc("k1", "one and a half", "2014-01-10", "2013-22752"), doc("k2", "", "2012-01-01", "2013-22752", withdrawn=True)],
    }
    contents = set()
    for number, order in enumerate(itertools.permutations(arrivals)):
        settings = Settings(var=tmp_path / str(number))
        parent: int | None = None
        for minor, name in enumerate(order):
            done = warehouse.publish(settings, domain, name, arrivals[name], version_id=f"Test_v1.{minor}", parent_snapshot=parent)
            parent = done.snapshot_id
        contents.add(done.content)
        rows = warehouse.documents(settings, "regulatory", "Test_v1.2")
        assert [(row.key, row.text, row.valid_from, row.valid_to) for row in rows] == [
            ("k1", "one", "2011-01-01", "2014-01-10"),
            ("k1", "one and a half", "2014-01-10", "2014-01-18"),
            ("k1", "two of it", "2014-01-18", FOREVER),
            ("k2", "two", "2011-01-01", "2012-01-01"),
            ("k2", "", "2012-01-01", "2014-01-18"),
            ("k2", "two", "2014-01-18", FOREVER),
        ]
    assert len(contents) == 1


def test_a_version_of_another_arrival_is_a_conflict(settings: Settings, domain: DomainConfig) -> None:
    first = warehouse.publish(settings, domain, "a1", FIRST, version_id="Test_v1.0", parent_snapshot=None)
    with pytest.raises(Conflict, match="holds a1, not a2"):
        warehouse.publish(settings, domain, "a2", SECOND, version_id="Test_v1.0", parent_snapshot=None)
    with pytest.raises(Conflict, match="the control database at None"):
        warehouse.publish(settings, domain, "a2", SECOND, version_id="Test_v1.1", parent_snapshot=None)
    assert warehouse.versions(settings, "regulatory") == {"Test_v1.0": first.snapshot_id}


def test_unknown_names(settings: Settings, domain: DomainConfig) -> None:
    assert warehouse.versions(settings, "regulatory") == {}
    with pytest.raises(NotFound, match="no dataset version yet"):
        warehouse.documents(settings, "regulatory", "Test_v1.0")
    warehouse.publish(settings, domain, "a1", FIRST, version_id="Test_v1.0", parent_snapshot=None)
    for name in ("Test_v9.9", "main"):
        with pytest.raises(NotFound, match=r"known versions: Test_v1\.0"):
            warehouse.documents(settings, "regulatory", name)


def test_two_publishers_at_once_make_one_version(settings: Settings, domain: DomainConfig) -> None:
    def publish(_: int) -> warehouse.Published:
        return warehouse.publish(settings, domain, "a1", FIRST, version_id="Test_v1.0", parent_snapshot=None)

    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(publish, range(2))
    assert one == other
    assert list(warehouse.versions(settings, "regulatory")) == ["Test_v1.0"]
