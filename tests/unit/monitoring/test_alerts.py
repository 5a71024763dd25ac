"""Alerts through Apprise to receivers that really listen: on time, once, and again where they did not arrive."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import timedelta

import pytest
from receivers import Hook, hook, mailbox
from watching import ENV, NOTE, PAGE, TICKET, cleared, config, domain_file, minutes, raised, site

from pipelines.config import Settings
from pipelines.monitoring import alerts, desk, incidents, senders
from pipelines.state.database import transaction
from pipelines.state.models import AlertDelivery, Silence


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return site(settings)


@pytest.fixture
def duty(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hook]:
    with hook() as made:
        monkeypatch.setenv(ENV, made.url())
        yield made


def take(settings: Settings, *signals: object, at: float = 0) -> None:
    incidents.take(settings, config(settings), list(signals), minutes(at))  # type: ignore[arg-type]


def deliver(settings: Settings, at: float = 0) -> dict[str, int]:
    return {name: count for name, count in alerts.deliver(settings, minutes(at)).items() if count}


def told(settings: Settings, incident: str = "d-i1") -> list[tuple[str, str]]:
    return [(one.event, one.state) for one in alerts.deliveries(settings, incident)]


def test_a_page_is_told_and_that_it_is_over(settings: Settings, duty: Hook) -> None:
    take(settings, raised("tokens", why="tokens are 200, they were 100"))
    assert deliver(settings) == {"sent": 1}
    assert duty.titles == ["[page] d-i1: tokens"] and duty.got[0]["type"] == "failure"
    text = duty.got[0]["message"]
    assert "tokens are 200, they were 100" in text and "docs/runbooks/incident.md" in text and "ratchet alerts ack d-i1" in text
    assert deliver(settings, 1) == {}
    take(settings, cleared("tokens", minutes(5)), at=5)
    deliver(settings, 5)
    assert duty.titles[1:] == ["[over] d-i1: tokens"] and duty.got[1]["type"] == "success"
    assert told(settings) == [("opened", "sent"), ("closed", "sent")]


def test_what_joins_is_not_told_unless_it_is_worse(settings: Settings, duty: Hook) -> None:
    take(settings, raised("latency"))
    deliver(settings)
    take(settings, raised("latency", minutes(1), "acme"), at=1)
    assert deliver(settings, 1) == {}
    take(settings, raised("tokens", minutes(2)), at=2)
    deliver(settings, 2)
    assert duty.titles == ["[ticket] d-i1: latency", "[page] d-i1: latency"]


def test_a_note_is_written_down_and_told_only_to_who_asks_for_notes(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    with hook() as pages, hook() as rest:
        monkeypatch.setenv(ENV, f"page={pages.url()} ticket,note={rest.url()}")
        take(settings, raised("topics"))
        deliver(settings)
        assert (pages.titles, rest.titles) == ([], ["[note] d-i1: topics"])
        take(settings, raised("tokens", minutes(1)), at=1)
        deliver(settings, 1)
        assert (pages.titles, rest.titles) == (["[page] d-i1: topics"], ["[note] d-i1: topics"])


def test_a_receiver_that_answers_500_is_asked_again_with_growing_waits_and_told_once(settings: Settings, duty: Hook) -> None:
    duty.status = 500
    take(settings, raised("tokens"))
    assert deliver(settings) == {"waiting": 1}
    assert deliver(settings, 0.1) == {}, "it waits fifteen seconds"
    assert deliver(settings, 0.3) == {"waiting": 1}
    assert deliver(settings, 0.6) == {}, "and then thirty"
    (row,) = alerts.deliveries(settings, "d-i1")
    assert (row.tries, row.error) == (2, "the receiver answered 500")
    duty.status = 200
    assert deliver(settings, 2) == {"sent": 1}
    assert deliver(settings, 9) == {} and duty.titles == ["[page] d-i1: tokens"]


def test_a_receiver_that_stays_down_is_given_up_and_seen(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENV, "json://user:t0ps3cret@127.0.0.1:9/hidden-path")
    domain_file(settings, PAGE, alerts={"tries": 3})
    take(settings, raised("tokens"))
    assert [deliver(settings, at) for at in (0, 1, 2, 30)] == [{"waiting": 1}, {"waiting": 1}, {"failed": 1}, {}]
    (row,) = desk.listed(settings)
    assert (row["told"], row["not_told"]) == (0, 1)
    (delivery,) = desk.shown(settings, "d-i1")["deliveries"]
    assert (delivery["state"], delivery["error"]) == ("failed", "it cannot be reached")
    deliver(settings, 4 * 60 + 5)
    assert told(settings)[1] == ("repeated-1", "waiting"), "a page is not dropped because its first message was"


def test_an_address_is_shown_nowhere(settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv(ENV, "json://user:t0ps3cret@127.0.0.1:9/hidden-path nonsense://t0ps3cret t0ps3cret")
    take(settings, raised("tokens"))
    deliver(settings)
    shown = f"{desk.shown(settings, 'd-i1')} {alerts.try_all(settings, 'd', 'x')} {senders.addresses(config(settings).monitors.alerts)}"
    for text in (shown, caplog.text):
        assert "t0ps3cret" not in text and "hidden-path" not in text
    assert {one["address"].partition("-")[0] for one in desk.shown(settings, "d-i1")["deliveries"]} == {"json", "nonsense", "unreadable"}


def test_one_that_is_down_does_not_keep_another_from_being_told(settings: Settings, duty: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENV, f"json://127.0.0.1:9/x {duty.url()} {duty.url()}")
    take(settings, raised("tokens"))
    assert deliver(settings) == {"sent": 1, "waiting": 1}
    assert len(duty.got) == 1, "an address that is named twice is one"


def test_what_is_over_before_it_could_be_told_is_told_once_as_over(settings: Settings, duty: Hook) -> None:
    duty.status = 503
    take(settings, raised("tokens"))
    deliver(settings)
    take(settings, cleared("tokens", minutes(0.1)), at=0.1)
    duty.status = 200
    deliver(settings, 1)
    deliver(settings, 2)
    assert duty.titles == ["[over] d-i1: tokens"] and "twice what it was" in duty.got[0]["message"]


def test_messages_come_in_the_order_of_their_events(settings: Settings, duty: Hook) -> None:
    duty.status = 503
    take(settings, raised("latency"))
    deliver(settings)
    take(settings, raised("tokens", minutes(0.1)), at=0.1)
    duty.status = 200
    assert deliver(settings, 0.1) == {}, "the second waits for the first"
    assert [deliver(settings, at) for at in (1, 2)] == [{"sent": 1}, {"sent": 1}]
    assert told(settings) == [("opened", "sent"), ("escalated-page", "sent")]


def test_a_slow_receiver_is_waited_for(settings: Settings, duty: Hook) -> None:
    duty.waits = 0.5
    take(settings, raised("tokens"))
    assert deliver(settings) == {"sent": 1}


def test_one_that_does_not_answer_in_time_may_have_it_and_is_not_sent_the_same_again(
    settings: Settings, duty: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(senders, "READ_SECONDS", 0.2)
    duty.waits = 1.0
    take(settings, raised("tokens"))
    assert deliver(settings) == {"unsure": 1}
    assert deliver(settings, 4) == {}
    duty.waits = 0
    assert deliver(settings, 6) == {"sent": 1}, "nobody took it: five minutes later it comes once more, and says so"
    assert duty.titles == ["[page] d-i1: tokens", "[page, again] d-i1: tokens"]
    assert "may not have arrived" in duty.got[1]["message"]
    assert told(settings) == [("opened", "failed"), ("again-opened", "sent")]


def test_who_has_acknowledged_hears_no_more(settings: Settings, duty: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(senders, "READ_SECONDS", 0.2)
    duty.waits = 1.0
    take(settings, raised("tokens"))
    deliver(settings)
    desk.acknowledge(settings, "d-i1", "os:ann")
    duty.waits = 0
    assert [deliver(settings, at) for at in (6, 60 * 5)] == [{}, {}]
    assert told(settings)[1] == ("again-opened", "silenced") and len(duty.got) == 1


class Killed(BaseException):
    """As a watcher ends that is killed."""


def test_killed_between_sending_and_writing_it_down_nobody_is_paged_twice(
    settings: Settings, duty: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    take(settings, raised("tokens"), raised("latency"))

    def killed(*_: object) -> str:
        raise Killed

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(alerts, "_settle", killed)
        alerts.deliver(settings, minutes(0))
    assert (told(settings), len(duty.got)) == ([("opened", "sending")], 1)
    assert deliver(settings, 1) == {}, "it may still be under way in another process"
    assert deliver(settings, 2) == {} and told(settings) == [("opened", "failed"), ("again-opened", "waiting")]
    desk.acknowledge(settings, "d-i1", "os:ann")
    deliver(settings, 10)
    assert len(duty.got) == 1


def test_killed_before_it_was_handed_over_a_page_still_comes(settings: Settings, duty: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    take(settings, raised("tokens"))

    def killed(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(alerts, "_hand_over", killed)
        alerts.deliver(settings, minutes(0))
    assert duty.got == []
    deliver(settings, 2)
    deliver(settings, 8)
    assert duty.titles == ["[page, again] d-i1: tokens"]


def test_a_page_that_nobody_takes_is_told_again(settings: Settings, duty: Hook) -> None:
    take(settings, raised("tokens"))
    assert [deliver(settings, at) for at in (0, 239, 241, 300, 482)] == [{"sent": 1}, {}, {"sent": 1}, {}, {"sent": 1}]
    desk.acknowledge(settings, "d-i1", "os:ann")
    assert deliver(settings, 1000) == {}
    assert told(settings) == [("opened", "sent"), ("repeated-1", "sent"), ("repeated-2", "sent")]


def test_a_ticket_is_not_told_again(settings: Settings, duty: Hook) -> None:
    take(settings, raised("latency"))
    assert [deliver(settings, at) for at in (0, 1000)] == [{"sent": 1}, {}]


def silence(settings: Settings, until: float, **of: object) -> int:
    row = desk.silence(settings, "d", hours=1, by="os:ann", why="known", **of)  # type: ignore[arg-type]
    with transaction(settings) as session:
        session.get_one(Silence, row.id).until = minutes(until)
    return row.id


def test_what_is_silenced_is_written_down_and_told_when_the_silence_ends(settings: Settings, duty: Hook) -> None:
    silence(settings, 60, rule="tokens")
    take(settings, raised("tokens"))
    assert deliver(settings) == {"silenced": 1} and duty.got == []
    assert deliver(settings, 61) == {"sent": 1}


def test_a_silence_covers_its_rule_and_group_only(settings: Settings, duty: Hook) -> None:
    silence(settings, 60, rule="latency", group="acme")
    take(settings, raised("latency", group="acme"))
    deliver(settings)
    assert duty.got == []
    take(settings, raised("tokens", minutes(1)), at=1)
    deliver(settings, 1)
    assert len(duty.got) == 1, "what nobody silenced is told, with all of the incident"


def test_what_is_over_before_the_silence_ends_is_never_told(settings: Settings, duty: Hook) -> None:
    silence(settings, 60)
    take(settings, raised("tokens"))
    deliver(settings)
    take(settings, cleared("tokens", minutes(30)), at=30)
    assert deliver(settings, 90) == {} and duty.got == []


def test_a_silence_may_be_ended(settings: Settings, duty: Hook) -> None:
    number = silence(settings, 600)
    take(settings, raised("tokens"))
    deliver(settings)
    desk.unsilence(settings, number, "os:ann")
    assert deliver(settings, 300) == {"sent": 1}


def test_opened_where_no_address_is_known_the_watcher_tells_it(settings: Settings, duty: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as elsewhere:
        elsewhere.delenv(ENV)
        take(settings, raised("tokens"))
        assert deliver(settings) == {}
    assert deliver(settings, 1) == {"sent": 1}


def test_mail_is_handed_to_a_real_server(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    with mailbox() as box:
        monkeypatch.setenv(ENV, box.url)
        take(settings, raised("tokens", why="tokens are 200"))
        assert deliver(settings) == {"sent": 1}
    assert "Subject: [page] d-i1: tokens" in box.mails[0] and "duty@example.org" in box.mails[0]


def test_the_test_says_of_each_address_whether_it_came(settings: Settings, duty: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENV, f"{duty.url()} json://127.0.0.1:9/x nonsense://y")
    found = alerts.try_all(settings, None, "os:ann")
    assert [row["delivered"] for row in found] == [True, False, False]
    assert [row["error"] for row in found] == [None, "it cannot be reached", found[2]["error"]] and "not an address" in found[2]["error"]
    assert duty.titles == ["[test] ratchet, all domains"] and "os:ann" in duty.got[0]["message"]


@pytest.mark.parametrize(
    "url",
    [
        "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#general",
        "pagerduty://0123456789abcdef0123456789abcdef@0123456789abcdef0123/Ratchet/Answers",
        "workflows://prod-12.westeurope.logic.azure.com:443/643e69f83c8944438d68119179a10a64/KODuebWbDGYFr0z0eu",
        "mailtos://user:password@example.org",
        "jsons://example.org/hook",
    ],
)
def test_addresses_of_the_services_people_use_are_understood(url: str) -> None:
    assert senders.plugin_of(senders.Address("one", url)) is not None


def test_pagerduty_takes_all_of_an_incident_as_one() -> None:
    url = "pagerduty://0123456789abcdef0123456789abcdef@0123456789abcdef0123/Ratchet/Answers"
    plugin = senders.plugin_of(senders.Address("pagerduty-1", url), "d-i1")
    assert (plugin.dedup, plugin.action) == ("d-i1", "map"), "so that the closing message resolves it there"
    own = senders.plugin_of(senders.Address("pagerduty-1", f"{url}?dedup=mine"), "d-i1")
    assert (own.dedup, own.action) == ("mine", "trigger")


def test_every_event_has_words(settings: Settings) -> None:
    from pipelines.monitoring import message

    take(settings, raised("tokens"), raised("topics", group="d/r2"))
    (row,) = _rows(settings)
    for event in ("opened", "escalated-page", "repeated-1", "again-opened", "acted-1", "closed"):
        assert message.title(row, event).endswith("d-i1: tokens")
        assert "{" not in message.body(row, event, minutes(7)) and "7 min" in message.body(row, event, minutes(7))


def _rows(settings: Settings) -> list[object]:
    from pipelines.state.database import reading

    with reading(settings) as session:
        return list(incidents.open_of(session, "d"))


def test_the_waits_grow_to_a_quarter_of_an_hour(settings: Settings, duty: Hook) -> None:
    duty.status = 500
    domain_file(settings, PAGE, TICKET, NOTE, alerts={"tries": 10})
    take(settings, raised("tokens"))
    at, waits = 0.0, []
    while told(settings)[:1] != [("opened", "failed")]:
        deliver(settings, at)
        with transaction(settings) as session:
            due = session.query(AlertDelivery).one().due_at
        waits.append((due - minutes(at)) / timedelta(seconds=1))
        at = (due - minutes(0)) / timedelta(minutes=1)
        if len(waits) == 9:
            break
    assert waits == [15, 30, 60, 120, 240, 480, 900, 900, 900]
