"""One incident for what goes wrong at the same time, however often it is seen, by whomever."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from watching import PAGE, T0, TICKET, cleared, config, domain_file, minutes, raised, site, words

from pipelines.config import Settings
from pipelines.errors import BadInput, Conflict, NotFound
from pipelines.governance import audit
from pipelines.monitoring import desk, incidents, message
from pipelines.registry import views
from pipelines.state.database import reading
from pipelines.state.models import Incident


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return site(settings)


def take(settings: Settings, *signals: object, at: float = 0, drill: bool = False) -> list[Incident]:
    return incidents.take(settings, config(settings), list(signals), minutes(at), drill=drill)  # type: ignore[arg-type]


def get(settings: Settings, number: int = 1) -> Incident:
    with reading(settings) as session:
        return session.get_one(Incident, f"d-i{number}")


def test_what_is_raised_within_the_grouping_time_is_one_incident(settings: Settings) -> None:
    (first,) = take(settings, raised("tokens"), raised("latency"))
    assert (first.id, first.title, first.severity, first.state) == ("d-i1", "tokens", "page", "open")
    (same,) = take(settings, raised("topics", minutes(4), "d/r2"), at=4)
    assert same.id == "d-i1" and set(same.signals) == {"tokens/all", "latency/all", "topics/d/r2"}
    (other,) = take(settings, raised("latency", minutes(6), "acme"), at=6)
    assert other.id == "d-i2"


def test_the_same_signal_again_is_nothing_new_also_for_a_watcher_started_anew(settings: Settings) -> None:
    take(settings, raised("tokens"))
    assert take(settings, raised("tokens", minutes(1), value=300.0), at=1) == []
    assert take(settings, raised("tokens", minutes(90)), at=90) == [], "hours later, while it is open, it is the same"
    row = get(settings)
    assert (row.signals["tokens/all"]["worst"], row.signals["tokens/all"]["since"]) == (300.0, T0.isoformat())
    assert len(row.timeline["events"]) == 1


def test_the_severity_rises_with_the_worst_and_does_not_fall(settings: Settings) -> None:
    take(settings, raised("topics"))
    (row,) = take(settings, raised("tokens", minutes(1)), at=1)
    assert row.severity == "page" and "it is a page now, no longer a note: tokens" in words(row.timeline["events"])
    (row,) = take(settings, cleared("tokens", minutes(2)), at=2)
    assert (row.severity, row.state) == ("page", "open")


def test_it_is_over_when_all_of_it_is(settings: Settings) -> None:
    take(settings, raised("tokens"), raised("latency"))
    take(settings, cleared("tokens", minutes(3)), at=3)
    assert get(settings).state == "open"
    take(settings, cleared("latency", minutes(4)), at=4)
    row = get(settings)
    assert (row.state, row.closed_at) == ("closed", minutes(4))
    assert words(row.timeline["events"])[-2:] == ["over: latency of all: as it was", "closed: all of it is well again"]
    assert take(settings, cleared("latency", minutes(5)), at=5) == []
    assert take(settings, raised("tokens", minutes(6)), at=6)[0].id == "d-i2"


def test_what_comes_back_while_it_is_open_is_the_same_incident(settings: Settings) -> None:
    take(settings, raised("tokens"), raised("latency"))
    take(settings, cleared("tokens", minutes(3)), at=3)
    (row,) = take(settings, raised("tokens", minutes(60)), at=60)
    assert row.id == "d-i1" and row.signals["tokens/all"]["over"] is None
    assert "raised again: tokens of all: twice what it was" in words(row.timeline["events"])


def test_a_drill_is_never_mixed_with_what_is_real(settings: Settings) -> None:
    (drill,) = take(settings, raised("tokens"), drill=True)
    (real,) = take(settings, raised("tokens"))
    assert (drill.id, drill.drill, real.id, real.drill) == ("d-i1", True, "d-i2", False)
    take(settings, cleared("tokens", minutes(1)), at=1)
    assert (get(settings, 1).state, get(settings, 2).state) == ("open", "closed")


def test_a_drill_that_ends_after_its_time_ends_all_the_same(settings: Settings) -> None:
    take(settings, raised("tokens"), drill=True)
    take(settings, cleared("tokens", minutes(90)), at=90)
    assert get(settings).state == "closed"


def test_it_is_opened_even_where_its_cause_cannot_be_looked_at(settings: Settings) -> None:
    def broken(*_: object) -> list[str]:
        raise RuntimeError("no memory")

    (row,) = incidents.take(settings, config(settings), [raised("tokens")], T0, traces=broken)
    assert (row.state, row.signals["tokens/all"]["requests"]) == ("open", [])


def test_a_thousand_tenants_at_once_are_one_incident_and_one_message(settings: Settings) -> None:
    (row,) = take(settings, *(raised("latency", group=f"tenant{number}") for number in range(1000)))
    assert len(row.signals) == 1000
    assert "and 988 more" in message.body(row, "opened", T0) and len(message.body(row, "opened", T0)) < 4000


def test_two_who_see_the_same_at_once_open_one(settings: Settings) -> None:
    found: list[Incident] = []
    threads = [threading.Thread(target=lambda: found.extend(take(settings, raised("tokens")))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {row.id for row in found} == {"d-i1"} and len(desk.listed(settings)) == 1


def test_a_rule_that_came_and_went_within_a_round_is_told_once(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RATCHET_ALERT_URLS", "json://127.0.0.1:9/x")
    take(settings, raised("tokens"), cleared("tokens", minutes(1)))
    assert get(settings).state == "closed" and desk.shown(settings, "d-i1")["deliveries"] == []


def test_a_rule_that_nobody_knows_is_a_ticket_and_has_a_runbook(settings: Settings) -> None:
    (row,) = take(settings, raised("dag_failed", group="d.ingest"))
    assert (row.severity, row.runbook) == ("ticket", "docs/runbooks/incident.md")


def test_a_rule_s_own_runbook_is_the_incident_s(settings: Settings) -> None:
    domain_file(settings, PAGE | {"runbook": "docs/runbooks/slow.md"}, TICKET)
    assert take(settings, raised("tokens"))[0].runbook == "docs/runbooks/slow.md"


def test_a_clock_that_was_put_back_loses_nothing(settings: Settings) -> None:
    take(settings, raised("tokens"))
    (row,) = take(settings, raised("latency", minutes(-120)), at=-120)
    assert row.id == "d-i1"


# --- what people do -----------------------------------------------------------------------------------------------------


def test_a_person_closes_it_with_a_reason_and_is_named(settings: Settings) -> None:
    take(settings, raised("tokens"))
    with pytest.raises(BadInput, match="without a reason"):
        desk.close(settings, "d-i1", "os:ann", "  ")
    desk.close(settings, "d-i1", "os:ann", "a load test")
    assert desk.shown(settings, "d-i1")["timeline"][-1] | {"at": ""} == {"at": "", "what": "closed: a load test", "by": "os:ann"}
    (event,) = [one for one in views.audit_events(settings, "d-i1", 50) if one["action"] == "incident.closed"]
    assert event["actor"] == "os:ann" and event["detail"] == {"reason": "a load test"}
    with pytest.raises(Conflict, match="closed already"):
        desk.close(settings, "d-i1", "os:ann", "again")
    with reading(settings) as session:
        assert audit.verify(session)[1] == []


def test_who_has_it_is_written_down_once(settings: Settings) -> None:
    take(settings, raised("tokens"))
    desk.acknowledge(settings, "d-i1", "os:ann")
    desk.acknowledge(settings, "d-i1", "os:bob")
    found = desk.shown(settings, "d-i1")
    assert (found["state"], found["acked_by"]) == ("acked", "os:ann")
    take(settings, cleared("tokens", minutes(9)), at=9)
    assert get(settings).state == "closed"


def test_names_that_stand_for_nothing(settings: Settings) -> None:
    for call in (desk.shown, lambda s, i: desk.acknowledge(s, i, "x"), lambda s, i: desk.close(s, i, "x", "y")):
        with pytest.raises(NotFound, match="there is no incident 'd-i9'"):
            call(settings, "d-i9")
    with pytest.raises(NotFound):
        desk.unsilence(settings, 7, "x")
    with pytest.raises(NotFound):
        desk.silence(settings, "nobody", hours=1, by="x", why="y")


@pytest.mark.parametrize(
    ("told", "match"),
    [
        ({"rule": "tokns"}, "no rule 'tokns'"),
        ({"why": " "}, "needs a reason"),
        ({"hours": 0.0}, "cannot last"),
        ({"hours": 999.0}, "cannot last"),
    ],
)
def test_a_silence_that_cannot_be(settings: Settings, told: dict[str, object], match: str) -> None:
    with pytest.raises(BadInput, match=match):
        desk.silence(settings, "d", **({"hours": 1.0, "by": "x", "why": "y"} | told))  # type: ignore[arg-type]
    assert desk.silences(settings, None, T0 - timedelta(days=1)) == []
