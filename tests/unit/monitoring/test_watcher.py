"""The watcher, whole: from lines of a traffic log to a page, a revert and the end of it; killed, started anew, with broken files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import traffic_lines
import yaml
from kept_answers import keep, numbered
from receivers import Hook, hook
from watching import ENV, PAGE, T0, domain_file, minutes, release, site, words

from pipelines import locks
from pipelines.config import PROJECT, Settings, load_domain
from pipelines.errors import Conflict
from pipelines.monitoring import desk, watcher
from pipelines.monitoring.lease import LASTS, Lease
from pipelines.monitoring.watched import DRILL, Watched
from pipelines.monitoring.watcher import Watcher
from pipelines.registry import pointer
from pipelines.state.database import reading, transaction
from pipelines.state.models import MonitorMark

pytestmark = pytest.mark.slow
FAST = {"window_seconds": 60.0, "every_seconds": 15.0}
TOKENS = PAGE | {"action": {"do": "revert"}, "min_requests": 5, "clear": 3}


@pytest.fixture
def duty(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hook]:
    with hook() as made:
        monkeypatch.setenv(ENV, made.url())
        yield made


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return site(settings, TOKENS, **FAST)


@pytest.fixture
def two(settings: Settings) -> Settings:
    release(settings, 1, since=minutes(-600))
    release(settings, 2, since=minutes(-30), prompt="chat/v2", prompt_sha256="p2")
    return settings


def traffic(settings: Settings, begin: float, end: float, *, tokens: int = 20, every: float = 3.0, domain: str = "d", **told: Any) -> None:
    """A record every three seconds from minute `begin` to `end`."""
    for number in range(int((end - begin) * 60 / every)):
        at = minutes(begin) + timedelta(seconds=number * every)
        record = traffic_lines.record("d/r2", int(at.timestamp() * 10), tokens_out=tokens, **told)
        traffic_lines.write(settings, domain, at, [record])


def rounds(settings: Settings, begin: float, end: float, one: Watcher | None = None) -> list[str]:
    """A look every 15 seconds; by a watcher started anew each time where none is given."""
    said, at = [], begin
    while at <= end:
        said += (one or Watcher(settings)).look(minutes(at))
        at += 0.25
    return said


def test_a_spike_is_paged_and_reverted_within_two_minutes_and_ends(two: Settings, duty: Hook) -> None:
    one = Watcher(two)
    traffic(two, -5, 0)
    assert [line for line in rounds(two, -4, 0, one) if "read" not in line] == []
    traffic(two, 0, 3, tokens=400)
    rounds(two, 0.25, 2, one)
    assert pointer.current(two, "d").live_id == "d/r1"  # type: ignore[union-attr]
    assert len(duty.got) == 1 and "went back from d/r2 to d/r1, its prompt alone" in duty.got[0]["message"]
    found = desk.shown(two, "d-i1")
    assert found["opened_at"] <= minutes(2) and found["cause"]["changes"][0]["detail"]["new"] == ["prompt"]
    (seen,) = found["signals"].values()
    assert len(seen["requests"]) == 10 and all(name.startswith("d/r2-") for name in seen["requests"])
    rounds(two, 2.25, 3, one)
    traffic(two, 3, 6)
    rounds(two, 3.25, 6, one)
    assert [one["state"] for one in desk.listed(two, closed=True)] == ["closed"]
    assert duty.titles == ["[page] d-i1: tokens", "[over] d-i1: tokens"]


def test_a_watcher_started_anew_for_every_round_tells_the_same_once(two: Settings, duty: Hook) -> None:
    traffic(two, -2, 0)
    traffic(two, 0, 2, tokens=400)
    traffic(two, 2, 5)
    rounds(two, -1, 5)
    assert duty.titles == ["[page] d-i1: tokens", "[over] d-i1: tokens"]
    assert len(desk.listed(two, closed=True)) == 1


def test_killed_after_the_incident_was_written_and_before_the_rest(two: Settings, duty: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    traffic(two, -2, 2, tokens=400)

    class Killed(BaseException):
        pass

    def killed(*_: object) -> None:
        raise Killed

    rounds(two, -1, -1)
    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(Watched, "_save", killed)
        rounds(two, -0.75, 0)
    assert len(desk.listed(two)) == 1 and duty.got == []
    rounds(two, 0.25, 2)
    assert (len(desk.listed(two, closed=True)), duty.titles) == (1, ["[page] d-i1: tokens"])


def test_without_traffic_nothing_is_wrong_and_nothing_breaks(settings: Settings, duty: Hook) -> None:
    rules = [
        PAGE, {"kind": "burn", "name": "errors", "measure": "error_share"},
        {"kind": "shift", "name": "topics", "measure": "topic_distance"},
        {"kind": "shift", "name": "latency", "measure": "latency_p95", "by": "tenant"},
    ]  # fmt: skip
    domain_file(settings, *rules, **FAST)
    rounds(settings, 0, 2)
    assert desk.listed(settings, closed=True) == [] and duty.got == []


def test_the_usual_rules_run_over_plain_traffic(settings: Settings, duty: Hook) -> None:
    path = settings.configs / "domains" / "d.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"monitors": FAST}))
    traffic(settings, -3, 2, tenant="acme", cited="1013-2-b-3")
    one = Watcher(settings)
    rounds(settings, 0, 2, one)
    assert desk.listed(settings, closed=True) == []


def test_one_tenant_s_errors_are_that_tenant_s_incident(settings: Settings, duty: Hook) -> None:
    pairs = [{"long_minutes": 5, "short_minutes": 1, "factor": 10}]
    domain_file(
        settings, {"kind": "burn", "name": "errors", "measure": "error_share", "by": "tenant", "severity": "page", "windows": pairs}, **FAST
    )
    traffic(settings, -5, 2, tenant="zeta")
    traffic(settings, -1, 2, tenant="acme", status=500, every=1)
    rounds(settings, 0, 2, Watcher(settings))
    (row,) = desk.listed(settings)
    assert row["title"] == "errors of acme" and duty.titles == ["[page] d-i1: errors of acme"]
    assert len(desk.shown(settings, "d-i1")["signals"]["errors/acme"]["requests"]) == 10


def test_a_shift_is_learned_from_the_log_of_before(settings: Settings, duty: Hook) -> None:
    shift = {"kind": "shift", "name": "tokens", "measure": "tokens_out_mean", "severity": "page", "least": 0.4}
    domain_file(settings, shift, window_seconds=60.0, every_seconds=15.0, reference_days=0.5)
    for number in range(12 * 60 * 12):
        at = minutes(-12 * 60) + timedelta(seconds=5 * number)
        traffic_lines.write(settings, "d", at, [traffic_lines.record("d/r1", number, tokens_out=20 + number % 7)])
    one = Watcher(settings)
    rounds(settings, 0, 0, one)
    with reading(settings) as session:
        state = session.get_one(MonitorMark, ("d", "detector:tokens")).state
    assert state["all"].get("model"), "it knows what is usual before it has seen a window"
    traffic(settings, 0, 2, tokens=60)
    rounds(settings, 0.25, 2, one)
    assert [row["title"] for row in desk.listed(settings)] == ["tokens"] and len(duty.got) == 1


# --- files that change, break and go -----------------------------------------------------------------------------------


def test_a_rule_is_mended_without_a_restart(settings: Settings, duty: Hook) -> None:
    traffic(settings, -2, 4, tokens=50)
    one = Watcher(settings)
    rounds(settings, -1, 1, one)
    assert desk.listed(settings) == []
    domain_file(settings, TOKENS | {"above": 30}, **FAST)
    assert "d: its file was read" in rounds(settings, 1.25, 2, one)
    assert [row["title"] for row in desk.listed(settings)] == ["tokens"]
    domain_file(settings, TOKENS | {"name": "other", "above": 1000}, **FAST)
    rounds(settings, 2.25, 3, one)
    assert desk.listed(settings) == []
    assert "over: tokens of all: the rule is not in the domain's file any more" in words(desk.shown(settings, "d-i1")["timeline"])


def test_a_rule_that_judges_otherwise_begins_anew(settings: Settings, duty: Hook) -> None:
    traffic(settings, -2, 4, tokens=400)
    one = Watcher(settings)
    rounds(settings, -1, 1, one)
    domain_file(settings, TOKENS | {"above": 1000}, **FAST)
    rounds(settings, 1.25, 1.5, one)
    assert desk.listed(settings) == []


@pytest.mark.parametrize("text", ["monitors: {rules: [{name: x", "domain: d\nmonitor: {}\n", "rule"])
def test_a_broken_file_keeps_the_last_good_one_and_is_told_once(settings: Settings, duty: Hook, text: str) -> None:
    path = settings.configs / "domains" / "d.yaml"
    good = path.read_text()
    traffic(settings, -2, 4, tokens=400)
    one = Watcher(settings)
    one.look(minutes(-1))
    path.write_text(text if text != "rule" else good.replace("tokens_out_mean", "tokns_out_mean"))
    rounds(settings, -0.75, 2, one)
    rows = {row["title"]: row["severity"] for row in desk.listed(settings)}
    (row,) = desk.listed(settings)
    assert row["severity"] == "page" and len(desk.shown(settings, row["id"])["signals"]) == 2, rows
    kept = desk.shown(settings, row["id"])["signals"]["domain_file/file"]
    assert "the last good one holds" in kept["why"]
    rounds(settings, 2.25, 2.5)
    assert len(desk.listed(settings)) == 1, "a watcher started anew tells it no second time"
    path.write_text(good)
    one.look(minutes(3))
    assert desk.shown(settings, row["id"])["signals"]["domain_file/file"]["over"]


def test_a_file_that_was_never_whole_is_a_note(settings: Settings, duty: Hook) -> None:
    (settings.configs / "domains" / "bad.yaml").write_text("domain: bad\nnonsense: 1\n")
    rounds(settings, 0, 1, Watcher(settings))
    (row,) = desk.listed(settings)
    assert (row["id"], row["severity"]) == ("bad-i1", "note") and duty.got == []
    assert "nothing is watched" in desk.shown(settings, "bad-i1")["signals"]["domain_file/file"]["why"]


def test_what_breaks_one_domain_is_told_once_and_the_others_are_watched(two: Settings, duty: Hook) -> None:
    domain_file(two, TOKENS, name="e", **FAST)
    with transaction(two) as session:
        session.add(MonitorMark(domain="e", name="detector:tokens", state={"all": "torn"}))
    traffic(two, -2, 2, tokens=400)
    one = Watcher(two)
    said = rounds(two, -1, 1, one)
    assert {row["id"] for row in desk.listed(two)} == {"d-i1", "e-i1"}
    assert sum("it is not watched" in line for line in said) == 1
    with transaction(two) as session:
        session.delete(session.get_one(MonitorMark, ("e", "detector:tokens")))
    rounds(two, 1.25, 1.5, one)
    assert {row["id"] for row in desk.listed(two)} == {"d-i1"}


def test_a_domain_that_is_taken_away_is_not_watched(settings: Settings, duty: Hook) -> None:
    one = Watcher(settings)
    one.look(minutes(0))
    (settings.configs / "domains" / "d.yaml").unlink()
    assert one.look(minutes(1)) == []


def test_a_clock_that_is_put_back_does_not_stop_it(two: Settings, duty: Hook) -> None:
    one = Watcher(two)
    one.look(minutes(600))
    traffic(two, -2, 2, tokens=400)
    rounds(two, -1, 1, one)
    assert len(desk.listed(two)) == 1


def test_what_is_no_fault_is_learned(two: Settings, duty: Hook) -> None:
    traffic(two, -2, 3, tokens=400)
    one = Watcher(two)
    rounds(two, -1, 0, one)
    desk.close(two, "d-i1", "os:ann", "it is so", no_fault=True)
    one.look(minutes(0.25))
    with reading(two) as session:
        assert session.get(MonitorMark, ("d", desk.ACCEPT)) is None
    assert desk.shown(two, "d-i1")["state"] == "closed"


def test_what_is_seen_in_a_drill_is_a_drill_s(two: Settings, duty: Hook) -> None:
    with transaction(two) as session:
        session.add(MonitorMark(domain="d", name=DRILL, state={"until": minutes(30).isoformat()}))
    traffic(two, -2, 2, tokens=400)
    rounds(two, -1, 1, Watcher(two))
    (row,) = desk.listed(two)
    assert row["drill"] and duty.titles == ["[drill: page] d-i1: tokens"]


def test_a_release_that_is_gone_ends_what_was_raised_of_it(two: Settings, duty: Hook) -> None:
    domain_file(two, TOKENS | {"by": "release"}, **FAST)
    traffic(two, -2, 1, tokens=400)
    one = Watcher(two)
    rounds(two, -1, 1, one)
    assert pointer.current(two, "d").live_id == "d/r1"  # type: ignore[union-attr]
    rounds(two, 1.25, 13, one)
    assert desk.listed(two) == []
    assert "over: tokens of d/r2: d/r2 has no traffic any more" in words(desk.shown(two, "d-i1")["timeline"])


# --- one at a time -----------------------------------------------------------------------------------------------------


def test_of_two_hosts_one_watches_and_the_other_takes_over_when_it_is_gone(settings: Settings) -> None:
    first, second = Lease(settings, "one"), Lease(settings, "two")
    assert first.take(T0) and not second.take(T0)
    assert first.take(T0 + LASTS / 2) and not second.take(T0 + LASTS), "it was renewed"
    assert second.take(T0 + 1.5 * LASTS) and not first.take(T0 + 1.6 * LASTS)
    second.give_back(T0 + 1.7 * LASTS)
    assert first.take(T0 + 1.7 * LASTS)


def test_one_of_the_same_host_waits_for_no_lease(settings: Settings) -> None:
    assert Lease(settings, "one").take(T0) and Lease(settings, "one").take(T0)


def test_a_lease_from_the_far_future_is_not_believed(settings: Settings) -> None:
    assert Lease(settings, "one").take(T0 + timedelta(days=400)) and Lease(settings, "two").take(T0)


def test_a_round_by_hand_is_refused_while_the_service_runs(settings: Settings) -> None:
    (settings.var / "run").mkdir(parents=True, exist_ok=True)
    with locks.alone(settings.var / "run" / "watcher.lock"), pytest.raises(Conflict, match="a watcher runs"):
        watcher.once(settings, T0)
    assert watcher.once(settings, T0) == ["d: its file was read"]


def started(settings: Settings) -> subprocess.Popen[str]:
    environ = {
        **os.environ, "RATCHET_VAR": str(settings.var), "RATCHET_CONFIGS": str(settings.configs), "PYTHONUNBUFFERED": "1",
    }  # fmt: skip
    command = [sys.executable, "-m", "pipelines.monitoring.watcher"]
    return subprocess.Popen(command, cwd=PROJECT, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_for(path: Path, holder: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 60
    while not locks.is_held(path):
        assert holder.poll() is None and time.monotonic() < end, holder.stdout.read() if holder.stdout else ""
        time.sleep(0.05)


@pytest.mark.services
@pytest.mark.slow
def test_the_service_watches_until_it_is_told_to_stop_and_a_second_waits(settings: Settings) -> None:
    lock = settings.var / "run" / "watcher.lock"
    first = started(settings)
    second = None
    try:
        wait_for(lock, first)
        assert first.stdout is not None
        line = json.loads(first.stdout.readline())
        assert (line["level"], line["from"], line["what"]) == ("info", "ratchet.watcher", "d: its file was read")
        second = started(settings)
        first.send_signal(signal.SIGTERM)
        assert first.wait(30) == 0
        assert second.stdout is not None
        assert json.loads(second.stdout.readline())["what"] == "d: its file was read", "its turn has come"
        second.kill()
        second.wait(30)
        third = started(settings)
        try:
            assert third.stdout is not None and "its file was read" in third.stdout.readline(), "a killed one is not waited for"
        finally:
            third.kill()
            third.communicate()
    finally:
        for one in (first, second):
            if one is not None:
                one.kill()
                one.communicate()


def test_a_rule_on_what_answers_say_is_seen_by_the_watcher_itself(settings: Settings, duty: Hook) -> None:
    rule = PAGE | {"name": "ground", "measure": "groundedness_mean", "above": None, "below": 0.8, "min_requests": 5, "hold": 1}
    domain_file(settings, {name: value for name, value in rule.items() if value is not None}, window_seconds=300.0, every_seconds=15.0)
    said = [
        numbered(
            minutes(number / 10), number, release="d/r2", answer="A lessor may burn them at once.", span="A lessor may burn them at once"
        )
        for number in range(60)
    ]
    keep(settings, load_domain("d", settings), *said, logged=False)
    traffic(settings, 0, 6)
    rounds(settings, 0.25, 12, Watcher(settings))
    assert any("ground" in one["title"] for one in duty.got), duty.got
