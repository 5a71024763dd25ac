"""Publishing: in any order of arrival the same text of the law, and what amends a text that has not come waits for it."""

from __future__ import annotations

from pathlib import Path

import pytest
from laws import deliver, held, notice, regulation, work

from pipelines.config import Settings
from pipelines.corpus import warehouse
from pipelines.corpus.documents import state_of
from pipelines.governance import audit
from pipelines.intake import landing
from pipelines.registry import views
from pipelines.state.database import reading

pytestmark = pytest.mark.slow


def test_a_notice_whose_base_has_not_come_is_held_and_resolves_by_itself(settings: Settings, tmp_path: Path) -> None:
    base = regulation(tmp_path, "2011-1", "2011-01-01", a="first words of a rule", b="second words of a rule")
    one = notice(tmp_path, "2013-1", "2014-01-18", "2011-1", a="amended words of a rule")
    two = notice(tmp_path, "2013-2", "2014-01-10", "2013-1", b="amended as well, these words")

    assert deliver(settings, base, "run-1") == ["ConsumerLeasing_v1.0"]
    assert deliver(settings, two, "run-2") == []
    assert work(settings, "run-2") == [], "a cleared run finds it waiting still"
    (waiting,) = (row for row in views.arrivals(settings) if row["state"] == "quarantined")
    assert waiting["reason"] == "it amends what has not arrived: 2013-1"
    assert [item["state"] for item in views.items(settings, waiting["arrival"])] == ["quarantined"]
    assert held(settings, "ConsumerLeasing_v1.0", "2015-01-01")["9-b"].endswith("second words of a rule")

    assert deliver(settings, one, "run-3") == ["ConsumerLeasing_v1.1"]
    rows = {row["arrival"]: row for row in views.arrivals(settings)}
    assert {row["state"] for row in rows.values()} == {"accepted"}
    assert rows[waiting["arrival"]]["version"] == "ConsumerLeasing_v1.1"
    assert [item["state"] for item in views.items(settings, waiting["arrival"])] == ["accepted"]
    assert set(held(settings, "ConsumerLeasing_v1.1", "2014-01-10").values()) == {
        "About a. amended words of a rule",
        "About b. amended as well, these words",
    }
    assert set(held(settings, "ConsumerLeasing_v1.1", "2014-01-09").values()) == {
        "About a. first words of a rule",
        "About b. second words of a rule",
    }
    for run in ("run-2", "run-3"):
        assert work(settings, run) == ["ConsumerLeasing_v1.1"]
    actions = [event["action"] for event in views.audit_events(settings, waiting["arrival"], 10)]
    assert sorted(actions) == ["arrival.quarantined", "arrival.received", "arrival.released"]
    with reading(settings) as session:
        assert audit.verify(session)[1] == []


def test_any_order_of_arrival_ends_in_the_same_state(settings: Settings, tmp_path: Path) -> None:
    files = [
        regulation(tmp_path, "2011-1", "2011-01-01", a="first words of a rule", b="second words of a rule"),
        notice(tmp_path, "2013-1", "2014-01-18", "2011-1", a="amended words of a rule"),
        notice(tmp_path, "2013-2", "2014-01-10", "2013-1", b="amended as well, these words"),
    ]
    states = set()
    for number, order in enumerate(((0, 1, 2), (2, 1, 0), (1, 2, 0))):
        own = settings.model_copy(update={"var": tmp_path / f"var{number}"})
        from pipelines.state.database import migrate

        migrate(own)
        made = [version for turn, place in enumerate(order) for version in deliver(own, files[place], f"run-{turn}")]
        states.add(state_of(warehouse.documents(own, "regulatory", made[-1])))
    assert len(states) == 1


def test_a_burst_in_one_run_needs_no_order_at_all(settings: Settings, tmp_path: Path) -> None:
    two = notice(tmp_path, "2013-2", "2014-01-10", "2013-1", b="amended as well, these words")
    one = notice(tmp_path, "2013-1", "2014-01-18", "2011-1", a="amended words of a rule")
    base = regulation(tmp_path, "2011-1", "2011-01-01", a="first words of a rule", b="second words of a rule")
    for path, effective in ((two, "2011-01-01"), (one, "2011-01-02"), (base, "2011-01-03")):
        landing.deliver(settings, "regulatory", [path], uploader="steward", source="test", effective=effective)
    assert work(settings, "run") == ["ConsumerLeasing_v1.0"]
    assert {row["state"] for row in views.arrivals(settings)} == {"accepted"}
    assert work(settings, "run") == ["ConsumerLeasing_v1.0"]


def test_the_same_delivery_twice_while_it_waits_is_settled_with_it(settings: Settings, tmp_path: Path) -> None:
    one = notice(tmp_path, "2013-1", "2014-01-18", "2011-1", a="amended words of a rule")
    deliver(settings, one, "run-1")
    deliver(settings, one, "run-2")
    assert [row["state"] for row in views.arrivals(settings)] == ["quarantined", "quarantined"]
    deliver(settings, regulation(tmp_path, "2011-1", "2011-01-01", a="first words of a rule"), "run-3")
    assert {row["state"] for row in views.arrivals(settings)} == {"accepted"}
