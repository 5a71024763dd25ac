"""Restoring an earlier version: equal to it, nothing deleted, and what was taken back does not come back by itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from laws import deliver, held, notice, regulation, work
from sqlalchemy import select

from pipelines.config import Settings
from pipelines.corpus import warehouse
from pipelines.errors import BadInput, Conflict, NotFound
from pipelines.governance import audit
from pipelines.intake import landing
from pipelines.registry import ancestry, views
from pipelines.state.database import reading
from pipelines.state.models import DatasetVersion
from pipelines.steps import plan, publish
from pipelines.steps import restore as restoring

pytestmark = pytest.mark.slow


@pytest.fixture
def amended(settings: Settings, tmp_path: Path) -> Path:
    """v1.0 from a regulation, v1.1 from a notice that amends it; the notice's file."""
    deliver(settings, regulation(tmp_path, "2011-1", "2011-01-01", a="first words of a rule", b="second words of a rule"), "run-1")
    path = notice(tmp_path, "2013-1", "2014-01-18", "2011-1", a="amended words of a rule")
    deliver(settings, path, "run-2")
    return path


def restore(settings: Settings, version: str = "ConsumerLeasing_v1.0") -> str:
    return restoring.restore(settings, version, actor="os:carer", reason="the notice was wrong")


def row(settings: Settings, version: str) -> DatasetVersion:
    with reading(settings) as session:
        return session.get_one(DatasetVersion, version)


def test_a_restored_version_equals_the_old_one_and_nothing_is_deleted(settings: Settings, amended: Path) -> None:
    assert restore(settings) == restore(settings) == "ConsumerLeasing_v1.2"
    old, new = row(settings, "ConsumerLeasing_v1.0"), row(settings, "ConsumerLeasing_v1.2")
    assert (new.content, new.documents, new.restores_id, new.parent_id) == (old.content, old.documents, old.id, "ConsumerLeasing_v1.1")
    documents = [warehouse.documents(settings, "regulatory", f"ConsumerLeasing_v1.{minor}") for minor in range(3)]
    assert documents[2] == documents[0] != documents[1]
    assert list(warehouse.versions(settings, "regulatory")) == [f"ConsumerLeasing_v1.{minor}" for minor in range(3)]
    (event,) = views.audit_events(settings, "ConsumerLeasing_v1.2", 5)
    assert (event["actor"], event["action"], event["detail"]["reason"]) == ("os:carer", "dataset.restored", "the notice was wrong")
    with reading(settings) as session:
        assert audit.verify(session)[1] == []


def test_it_goes_on_to_finetune_and_is_announced_once(settings: Settings, amended: Path) -> None:
    publish.newly_published(settings, "regulatory", "regulatory.ingest", "run-1")
    publish.newly_published(settings, "regulatory", "regulatory.ingest", "run-2")
    restore(settings)
    assert plan.claim(settings, "regulatory", "regulatory.finetune", "run") == "ConsumerLeasing_v1.2"
    assert publish.newly_published(settings, "regulatory", "regulatory.ingest", "run-3") == ["ConsumerLeasing_v1.2"]
    assert publish.newly_published(settings, "regulatory", "regulatory.ingest", "run-3") == []


def test_a_later_arrival_does_not_bring_back_what_was_taken_out(settings: Settings, amended: Path, tmp_path: Path) -> None:
    restore(settings)
    later = notice(tmp_path, "2015-1", "2016-01-01", "2011-1", b="other second words")
    assert deliver(settings, later, "run-3") == ["ConsumerLeasing_v1.3"]
    assert set(held(settings, "ConsumerLeasing_v1.3", "2017-01-01").values()) == {
        "About a. first words of a rule",
        "About b. other second words",
    }


def test_what_rests_on_an_undone_amendment_waits_until_it_is_delivered_again(settings: Settings, amended: Path, tmp_path: Path) -> None:
    restore(settings)
    assert deliver(settings, notice(tmp_path, "2015-1", "2016-01-01", "2013-1", b="other second words"), "run-3") == []
    assert deliver(settings, amended, "run-4") == ["ConsumerLeasing_v1.3"], "not a duplicate: it was taken back"
    assert set(held(settings, "ConsumerLeasing_v1.3", "2017-01-01").values()) == {
        "About a. amended words of a rule",
        "About b. other second words",
    }
    assert deliver(settings, amended, "run-5") == [], "now it is one"
    assert work(settings, "run-4") == work(settings, "run-5") == ["ConsumerLeasing_v1.3"]


def test_a_restore_of_what_was_undone_brings_it_back(settings: Settings, amended: Path, tmp_path: Path) -> None:
    restore(settings)
    again = restore(settings, "ConsumerLeasing_v1.1")
    assert row(settings, again).content == row(settings, "ConsumerLeasing_v1.1").content
    assert deliver(settings, notice(tmp_path, "2015-1", "2016-01-01", "2013-1", b="other second words"), "run-3") == [
        "ConsumerLeasing_v1.4"
    ]
    with reading(settings) as session:
        assert ancestry.line(session, "regulatory", "ConsumerLeasing_v1.4") == [
            "ConsumerLeasing_v1.4", "ConsumerLeasing_v1.3", "ConsumerLeasing_v1.1", "ConsumerLeasing_v1.0",
        ]  # fmt: skip


def test_who_restores_answers_for_it_and_so_does_whoever_delivered_what_comes_back(settings: Settings, amended: Path) -> None:
    restore(settings)
    restore(settings, "ConsumerLeasing_v1.1")
    with reading(settings) as session:
        # Live is the first restore: the notice of "steward" is older than it, and yet new to it.
        assert ancestry.answerable(session, "regulatory", "ConsumerLeasing_v1.3", "ConsumerLeasing_v1.2") == ["os:carer", "steward"]
        assert ancestry.answerable(session, "regulatory", "ConsumerLeasing_v1.2", "ConsumerLeasing_v1.1") == ["os:carer"]


def test_a_crash_between_warehouse_and_ledger_is_finished_by_the_rerun(
    settings: Settings, amended: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: object) -> str:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(restoring, "_entry", crash)
        with pytest.raises(KeyboardInterrupt):
            restore(settings)
    assert "ConsumerLeasing_v1.2" in warehouse.versions(settings, "regulatory")
    assert restore(settings) == "ConsumerLeasing_v1.2"
    with reading(settings) as session:
        assert session.scalars(select(DatasetVersion.id)).all() == [f"ConsumerLeasing_v1.{minor}" for minor in range(3)]


def states(settings: Settings, arrival: str) -> list[str]:
    return sorted(line["state"] for line in views.items(settings, arrival))


def test_what_waits_again_says_so_in_its_account(settings: Settings, tmp_path: Path) -> None:
    deliver(settings, regulation(tmp_path, "2011-1", "2011-01-01", a="first words of a rule", b="second words of a rule"), "run-1")
    two = [
        notice(tmp_path, "2012-1", "2013-01-01", "2011-1", a="amended words of a rule"),
        notice(tmp_path, "2015-1", "2016-01-01", "2013-1", b="last words of a rule"),
    ]
    landing.deliver(settings, "regulatory", two, uploader="steward", source="test", effective="2011-01-01")
    assert work(settings, "run-2") == ["ConsumerLeasing_v1.1"]
    arrival = row(settings, "ConsumerLeasing_v1.1").arrival_id
    assert states(settings, arrival) == ["accepted", "quarantined"]
    deliver(settings, notice(tmp_path, "2013-1", "2014-01-18", "2012-1", b="other words of a rule"), "run-3")
    assert states(settings, arrival) == ["accepted", "accepted"]
    restore(settings, "ConsumerLeasing_v1.1")
    assert states(settings, arrival) == ["accepted", "quarantined"]


def test_what_waited_meanwhile_is_taken_by_the_next_publish_and_not_before(settings: Settings, amended: Path, tmp_path: Path) -> None:
    restore(settings)
    deliver(settings, notice(tmp_path, "2015-1", "2016-01-01", "2013-1", b="other second words"), "run-3")
    waits = next(one["arrival"] for one in views.arrivals(settings, "regulatory") if one["state"] == "quarantined")
    restore(settings, "ConsumerLeasing_v1.1")
    assert states(settings, waits) == ["quarantined"], "no version holds it"
    assert deliver(settings, notice(tmp_path, "2017-1", "2018-01-01", "2015-1", a="last first words"), "run-4") == ["ConsumerLeasing_v1.4"]
    assert states(settings, waits) == ["accepted"]
    assert {one["state"] for one in views.arrivals(settings, "regulatory")} == {"accepted"}


@pytest.mark.parametrize("lost", ["account_again", "sign_again"])
def test_a_crash_after_the_ledger_is_finished_by_the_rerun(
    settings: Settings, amended: Path, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    called: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(publish, lost, crash)
        with pytest.raises(KeyboardInterrupt):
            restore(settings)
    with monkeypatch.context() as patch:
        patch.setattr(publish, lost, lambda *_: called.append(lost))
        assert restore(settings) == "ConsumerLeasing_v1.2"
    assert called == [lost]


def test_bad_input(settings: Settings, amended: Path) -> None:
    with pytest.raises(NotFound, match="no dataset version"):
        restoring.restore(settings, "ConsumerLeasing_v9.9", actor="x", reason="y")
    with pytest.raises(BadInput, match="reason"):
        restoring.restore(settings, "ConsumerLeasing_v1.0", actor="x", reason=" ")
    with pytest.raises(Conflict, match="is tagged on snapshot"):
        warehouse.restore(settings, _domain(settings), row(settings, "ConsumerLeasing_v1.0").snapshot_id,
                          version_id="ConsumerLeasing_v1.1", parent_snapshot="1")  # fmt: skip


def _domain(settings: Settings):  # type: ignore[no-untyped-def]
    from pipelines.config import load_domain

    return load_domain("regulatory", settings)
