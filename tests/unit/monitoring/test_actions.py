"""What the watcher does by itself, and what it leaves alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from live import approve
from receivers import Hook, hook
from watching import ENV, PAGE, T0, TICKET, artifact, cleared, config, domain_file, minutes, raised, release, site, words

from pipelines.config import Settings
from pipelines.errors import BadInput, Conflict, NotFound
from pipelines.governance import audit
from pipelines.monitoring import actions, alerts, desk, holdbacks, incidents
from pipelines.registry import candidates, partial, pointer, views
from pipelines.state.database import reading, transaction
from pipelines.state.models import Artifact, AuditEvent

REVERT = PAGE | {"action": {"do": "revert"}}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    own = site(settings, REVERT, TICKET)
    release(own, 1, since=minutes(-600))
    return own


@pytest.fixture
def two(settings: Settings) -> Settings:
    release(settings, 2, since=minutes(-10), prompt="chat/v2", prompt_sha256="p2")
    return settings


def take(settings: Settings, *signals: object, at: float = 0) -> None:
    incidents.take(settings, config(settings), list(signals), minutes(at))  # type: ignore[arg-type]


def act(settings: Settings, at: float = 0) -> list[str]:
    return actions.act(settings, config(settings), minutes(at))


def live(settings: Settings) -> str | None:
    at = pointer.current(settings, "d")
    return at.live_id if at else None


def said(settings: Settings, number: int = 1) -> str:
    return "\n".join(words(desk.shown(settings, f"d-i{number}")["timeline"]))


def test_the_one_part_that_is_new_is_taken_back(two: Settings) -> None:
    take(two, raised("tokens"))
    assert act(two) == ["d-i1: went back from d/r2 to d/r1, its prompt alone"]
    assert live(two) == "d/r1", "the release that has exactly these parts"
    (event,) = [one for one in views.audit_events(two, "d/r1", 50) if one["action"] == "release.rollback"]
    assert event["actor"] == "watcher" and event["detail"]["only"] == "prompt" and event["detail"]["run"] == "incident/d-i1/tokens"
    assert "went back from d/r2 to d/r1, its prompt alone (because of tokens/all)" in said(two)
    assert candidates.get(two, "d/r2").state == "reverted"
    with reading(two) as session:
        assert audit.verify(session)[1] == []


def test_of_several_new_parts_the_whole_is_taken_back(settings: Settings) -> None:
    index = artifact(settings, "index", "other", {})
    release(settings, 2, since=minutes(-10), prompt="chat/v2", prompt_sha256="p2", index_id=index)
    take(settings, raised("tokens"))
    assert act(settings) == ["d-i1: went back from d/r2 to d/r1"] and live(settings) == "d/r1"


def test_the_part_that_the_rule_names_is_taken_back_and_the_others_stay(settings: Settings) -> None:
    domain_file(settings, PAGE | {"action": {"do": "revert", "only": "index"}})
    index = artifact(settings, "index", "other", {})
    release(settings, 2, since=minutes(-10), prompt="chat/v2", prompt_sha256="p2", index_id=index)
    take(settings, raised("tokens"))
    assert act(settings) == ["d-i1: went back from d/r2 to d/r3, its index alone"]
    made = candidates.get(settings, "d/r3")
    assert (made.prompt, made.index_id) == ("chat/v2", candidates.get(settings, "d/r1").index_id)


def test_it_is_done_once_for_an_incident(two: Settings) -> None:
    domain_file(two, REVERT, TICKET | {"action": {"do": "revert"}})
    release(two, 3, since=minutes(-5), prompt="chat/v3", prompt_sha256="p3")
    take(two, raised("tokens"), raised("latency"))
    assert act(two)[1] == "d-i1: not reverted: this incident has already led to a revert"
    assert live(two) == "d/r2" and act(two, 1) == []
    take(two, cleared("tokens", minutes(2)), at=2)
    take(two, raised("tokens", minutes(3)), at=3)
    assert act(two, 3) == [] and live(two) == "d/r2"


def test_killed_after_the_revert_it_is_not_done_again(two: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    release(two, 3, since=minutes(-5), prompt="chat/v3", prompt_sha256="p3")
    take(two, raised("tokens"))

    class Killed(BaseException):
        pass

    def killed(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(actions, "_did", killed)
        act(two)
    assert live(two) == "d/r2"
    assert act(two, 1) == ["d-i1: went back to d/r2"] and live(two) == "d/r2"


def test_two_watchers_that_overlap_go_back_once(two: Settings) -> None:
    release(two, 3, since=minutes(-5), prompt="chat/v3", prompt_sha256="p3")
    take(two, raised("tokens"))
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.extend(act(two))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert live(two) == "d/r2" and len([line for line in found if "went back from" in line]) == 1


def not_done(settings: Settings, why: str, at: float = 0) -> None:
    before = live(settings)
    (line,) = act(settings, at)
    assert line.startswith("d-i1: not reverted: ") and why in line, line
    assert live(settings) == before and why in said(settings) and act(settings, at + 1) == []


def test_an_old_release_is_not_what_changed(two: Settings) -> None:
    domain_file(two, PAGE | {"action": {"do": "revert", "within_hours": 0.1}})
    take(two, raised("tokens"))
    not_done(two, "d/r2 has been live for 0 h, longer than 0.1 h: it is not what changed")


def test_a_release_that_came_afterwards_is_left_alone(two: Settings) -> None:
    take(two, raised("tokens", minutes(-20)))
    not_done(two, "d/r2 went live after it began")


def test_what_cannot_be_gone_back_to_is_said(settings: Settings) -> None:
    take(settings, raised("tokens"))
    not_done(settings, "there is no release before d/r1 that ended well")


def test_parts_that_were_erased_are_not_gone_back_to(two: Settings) -> None:
    with transaction(two) as session:
        session.get_one(Artifact, candidates.get(two, "d/r1").index_id).barred = "holds text that was erased"
    take(two, raised("tokens"))
    not_done(two, "erased")


def test_a_signal_about_another_release_does_not_take_the_live_one_away(two: Settings) -> None:
    domain_file(two, REVERT | {"by": "release"})
    take(two, raised("tokens", group="d/r1"))
    not_done(two, "it is about d/r1, and d/r2 is live")


def test_a_domain_without_a_release(settings: Settings) -> None:
    domain_file(settings, REVERT, name="e")
    from pipelines.config import load_domain

    other = load_domain("e", settings)
    incidents.take(settings, other, [raised("tokens")], T0)
    assert actions.act(settings, other, T0) == ["e-i1: not reverted: e has no live release"]


def test_it_does_not_go_back_and_forth(two: Settings) -> None:
    release(two, 3, since=minutes(-5), prompt="chat/v3", prompt_sha256="p3")
    take(two, raised("tokens"))
    act(two)
    assert live(two) == "d/r2"
    pointer.current(two, "d")
    _move_tenure(two, "d/r2", -4)
    take(two, cleared("tokens", minutes(1)), at=1)
    take(two, raised("tokens", minutes(30)), at=30)
    (line,) = act(two, 30)
    assert "d/r2 is what this rule went back to" in line and "it would go back and forth" in line and live(two) == "d/r2"


def test_another_rule_may_take_it_away(two: Settings) -> None:
    domain_file(two, REVERT, TICKET | {"action": {"do": "revert"}})
    release(two, 3, since=minutes(-5), prompt="chat/v3", prompt_sha256="p3")
    take(two, raised("tokens"))
    act(two)
    _move_tenure(two, "d/r2", -4)
    take(two, cleared("tokens", minutes(1)), at=1)
    take(two, raised("latency", minutes(30)), at=30)
    act(two, 30)
    assert live(two) == "d/r1"


def _move_tenure(settings: Settings, name: str, at: float) -> None:
    from watching import began

    began(settings, name, minutes(at))


def test_a_canary_under_watch_is_left_to_its_rollout(two: Settings) -> None:
    third = release(two, 3, live=False)
    approve(two, third)
    pointer.set_canary(two, third, 0.1)
    take(two, raised("tokens"))
    assert act(two) == ["d-i1: d/r3 is in canary: its rollout decides, nothing is reverted meanwhile"]
    assert act(two, 1) == [] and live(two) == "d/r2"
    pointer.end_canary(two, third)
    act(two, 2)
    assert live(two) == "d/r1", "the canary is gone, and it is still bad"


def test_a_silence_that_holds_actions_back_too(two: Settings) -> None:
    row = desk.silence(two, "d", hours=20, by="os:ann", why="a load test", rule="tokens", actions_too=True)
    take(two, raised("tokens"))
    assert "silence 1 of os:ann holds actions back too: a load test" in act(two)[0]
    assert act(two, 1) == [] and live(two) == "d/r2"
    desk.unsilence(two, row.id, "os:ann")
    act(two, 300)
    assert live(two) == "d/r1"


def test_a_silence_alone_holds_nothing_back(two: Settings) -> None:
    desk.silence(two, "d", hours=1, by="os:ann", why="known")
    take(two, raised("tokens"))
    act(two)
    assert live(two) == "d/r1"


def test_what_is_over_asks_for_nothing(two: Settings) -> None:
    take(two, raised("tokens"), raised("latency"))
    take(two, cleared("tokens", minutes(1)), at=1)
    assert act(two, 1) == [] and live(two) == "d/r2"


@pytest.mark.parametrize(("by", "group", "subject"), [("tenant", "acme", "acme"), ("all", "all", "*")])
def test_a_throttle_is_of_the_tenant_or_of_everybody(settings: Settings, by: str, group: str, subject: str) -> None:
    domain_file(settings, PAGE | {"by": by, "action": {"do": "throttle", "requests_per_minute": 6, "minutes": 30}})
    take(settings, raised("tokens", group=group))
    act(settings)
    assert act(settings, 1) == []
    (row,) = holdbacks.in_force(settings, "d", minutes(29))
    told = (row.kind, row.subject, row.requests_per_minute, row.by, row.incident_id)
    assert told == ("throttle", subject, 6, "watcher", "d-i1")
    assert holdbacks.in_force(settings, None, minutes(31)) == [] and "6 times a minute for 30 min" in said(settings)
    assert [one["action"] for one in views.audit_events(settings, f"d/{row.id}", 5)] == ["restraint.throttle"]


def test_a_route_is_switched_off_for_a_while_and_may_be_lifted(settings: Settings) -> None:
    domain_file(settings, PAGE | {"action": {"do": "route_off", "route": "provider"}})
    take(settings, raised("tokens"))
    assert act(settings) == ["d-i1: the route provider is off for 60 min"]
    holdbacks.lift(settings, 1, "os:ann", "mended")
    assert holdbacks.in_force(settings, "d", minutes(1)) == []
    with pytest.raises(Conflict, match="over already"):
        holdbacks.lift(settings, 1, "os:ann", "mended")
    with pytest.raises(NotFound):
        holdbacks.lift(settings, 9, "os:ann", "mended")
    with transaction(settings) as session, pytest.raises(BadInput, match="no route 'smal'"):
        holdbacks.hold(session, "d", "route_off", "smal", minutes=1, by="x", reason="y", at=T0)


@pytest.fixture
def duty(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hook]:
    with hook() as made:
        monkeypatch.setenv(ENV, made.url())
        yield made


def test_who_is_told_reads_what_was_done_in_the_same_message(two: Settings, duty: Hook) -> None:
    take(two, raised("tokens"))
    act(two)
    alerts.deliver(two, T0)
    assert len(duty.got) == 1 and "went back from d/r2 to d/r1, its prompt alone" in duty.got[0]["message"]


def test_what_is_done_later_is_told_in_another(two: Settings, duty: Hook) -> None:
    take(two, raised("tokens"))
    alerts.deliver(two, T0)
    act(two, 1)
    alerts.deliver(two, minutes(1))
    assert len(duty.got) == 2 and "went back from d/r2" in duty.got[1]["message"] and "went back" not in duty.got[0]["message"]


def test_the_database_s_own_record_is_what_counts(two: Settings) -> None:
    """A revert by a person is not one of the incident's."""
    take(two, raised("tokens"))
    partial.rollback(two, "d", actor="os:ann", reason="mine")
    _move_tenure(two, "d/r1", 1)
    not_done(two, "d/r1 went live after it began", at=2)
    with reading(two) as session:
        found: list[Any] = list(session.query(AuditEvent).filter(AuditEvent.action == "release.rollback"))
    assert [event.actor for event in found] == ["os:ann"]
