"""Collecting: sealed arrivals, watermarks that move after them, and a kill at any point."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from source_server import Asked, Reply, Server
from sqlalchemy import select

from pipelines import locks
from pipelines.config import PROJECT, Settings, load_domain
from pipelines.errors import ArrivalRefused, BadInput, ConfigError, Conflict, NotFound, RatchetError, Unavailable
from pipelines.governance import audit
from pipelines.intake import landing
from pipelines.intake.connectors import kinds
from pipelines.state.database import reading, transaction
from pipelines.state.models import Arrival, AuditEvent, Watermark
from pipelines.steps import collect, ingest

pytestmark = pytest.mark.slow

OLD = datetime(2024, 3, 1, 12, tzinfo=UTC).timestamp()


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    folder = tmp_path / "inbox"
    folder.mkdir()
    return folder


def put(inbox: Path, name: str, text: str, day: int = 0) -> None:
    (inbox / name).write_text(text)
    when = OLD + 86_400 * day
    os.utime(inbox / name, (when, when))


@pytest.fixture
def site(settings: Settings, tmp_path: Path, inbox: Path) -> Settings:
    """A site with one domain `law` that collects from a folder, `inbox`."""
    configs = tmp_path / "configs"
    (configs / "domains").mkdir(parents=True)
    made = settings.model_copy(update={"configs": configs})
    sources(made, {"kind": "prefix", "name": "inbox", "url": str(inbox)})
    return made


def sources(site: Settings, *entries: dict[str, Any]) -> None:
    domain = {
        "domain": "law", "description": "law", "owner": "compliance", "dataset": "Law", "contract": {"expectations": []},
        "sources": {"formats": ["text"], "collect": list(entries)}, "privacy": {"profile": "public"}, "task": {},
        "gate": {"goldens": "goldens/x.jsonl", "floors": {}},
    }  # fmt: skip
    (site.configs / "domains" / "law.yaml").write_text(yaml.safe_dump(domain))


def arrivals(site: Settings) -> list[tuple[str, dict[str, str]]]:
    """Effective date and contents of every sealed folder, each verified."""
    found = []
    for folder in landing.sealed(site, "law"):
        seal = landing.verify(folder)
        assert (seal.uploader, seal.source) == ("source:inbox", "prefix inbox")
        found.append((seal.effective, {file.name: (folder / file.name).read_text() for file in seal.files}))
    return found


def hidden(site: Settings) -> list[str]:
    return sorted(path.name for path in (site.landing_zone / "law").iterdir() if path.name.startswith(".") and path.is_dir())


def row(site: Settings) -> Watermark:
    with reading(site) as session:
        return session.get_one(Watermark, ("law", "inbox"))


def test_one_sealed_arrival_per_effective_date(site: Settings, inbox: Path) -> None:
    put(inbox, "a.txt", "one")
    put(inbox, "b.txt", "two")
    put(inbox, "c.txt", "three", day=1)
    told = collect.collect(site, "law", "inbox")
    assert arrivals(site) == [("2024-03-01", {"a.txt": "one", "b.txt": "two"}), ("2024-03-02", {"c.txt": "three"})]
    assert (told["state"], told["documents"], told["skipped"], told["note"]) == ("delivered", 3, [], "")
    assert [one["folder"] for one in told["arrivals"]] == [folder.name for folder in landing.sealed(site, "law")]
    assert hidden(site) == [] and row(site).pending == {} and row(site).checked_at is not None
    with reading(site) as session:
        [event] = session.scalars(select(AuditEvent).where(AuditEvent.action == "source.collected"))
        assert (event.actor, event.subject) == ("source:inbox", "law/inbox")
        assert [one["files"] for one in event.detail["arrivals"]] == [2, 1]
        assert audit.verify(session)[1] == []


def test_nothing_new_delivers_nothing(site: Settings, inbox: Path) -> None:
    assert collect.collect(site, "law", "inbox")["state"] == "nothing new"
    put(inbox, "a.txt", "one")
    collect.collect(site, "law", "inbox")
    before = row(site)
    told = collect.collect(site, "law", "inbox")
    assert (told["state"], told["arrivals"]) == ("nothing new", []) and len(arrivals(site)) == 1
    assert row(site).generation == before.generation and row(site).state == before.state
    put(inbox, "a.txt", "one, amended", day=1)
    collect.collect(site, "law", "inbox")
    assert arrivals(site)[-1] == ("2024-03-02", {"a.txt": "one, amended"})


def test_what_is_collected_is_an_arrival_like_any_other(site: Settings, inbox: Path) -> None:
    put(inbox, "a.txt", "one")
    collect.collect(site, "law", "inbox")
    assert ingest.unclaimed(site, "law") == 1
    [arrival] = ingest.claim(site, "law", "law.ingest", "run")
    with reading(site) as session:
        assert session.get_one(Arrival, arrival).uploader == "source:inbox"


def test_no_file_name_is_in_the_control_database(site: Settings, inbox: Path) -> None:
    put(inbox, "Marta-Lindqvist.txt", "note")
    put(inbox, "Marta-Lindqvist-2.txt", "")
    collect.collect(site, "law", "inbox")
    database = Path(site.database.removeprefix("sqlite:///"))
    assert all(b"Lindqvist" not in path.read_bytes() for path in database.parent.iterdir() if path.is_file())


KILL = """
import os, signal, sys
from pipelines.config import Settings
from pipelines.steps import collect
from pipelines.intake import landing

settings = Settings.model_validate_json(sys.argv[1])
point = sys.argv[2]

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

def then_die(function):
    def call(*args, **more):
        function(*args, **more)
        die()
    return call

if point == "before the seal":
    landing.seal = die
elif point == "before the record":
    collect._seal = then_die(collect._seal)
elif point == "before it appears":
    landing.settle = die
elif point == "after the first appeared":
    landing.settle = then_die(landing.settle)
elif point == "before the watermark":
    collect.audit.record = die
collect.collect(settings, "law", "inbox")
"""
POINTS = ("before the seal", "before the record", "before it appears", "after the first appeared", "before the watermark")


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("changes", [False, True])
def test_a_kill_delivers_nothing_twice_and_leaves_nothing_out(site: Settings, inbox: Path, point: str, changes: bool) -> None:
    put(inbox, "a.txt", "one")
    put(inbox, "b.txt", "two", day=1)
    done = subprocess.run(
        [sys.executable, "-c", KILL, site.model_dump_json(), point], cwd=PROJECT, env=_env(), capture_output=True, text=True
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    if changes:  # what came to the source meanwhile must not make the same documents another delivery
        put(inbox, "c.txt", "three", day=1)
    told = collect.collect(site, "law", "inbox")
    delivered = [(name, text) for _, files in arrivals(site) for name, text in files.items()]
    assert sorted(delivered) == [("a.txt", "one"), ("b.txt", "two")] + ([("c.txt", "three")] if changes else [])
    assert sorted(one["folder"] for one in told["arrivals"]) == [folder.name for folder in landing.sealed(site, "law")]
    assert collect.collect(site, "law", "inbox")["state"] == "nothing new"
    assert hidden(site) == [] and row(site).pending == {}


def _env() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(PROJECT)}


def test_an_arrival_cleared_after_a_kill_is_not_delivered_again(site: Settings, inbox: Path) -> None:
    put(inbox, "a.txt", "one")
    done = subprocess.run([sys.executable, "-c", KILL, site.model_dump_json(), POINTS[-1]], cwd=PROJECT, env=_env(), capture_output=True)
    assert done.returncode == -signal.SIGKILL
    [folder] = landing.sealed(site, "law")
    folder.rename(folder.parent.parent / "retired")
    told = collect.collect(site, "law", "inbox")
    assert [one["folder"] for one in told["arrivals"]] == [None] and landing.sealed(site, "law") == []


def test_a_source_that_fails_is_noted_and_changes_nothing(site: Settings, inbox: Path) -> None:
    put(inbox, "a.txt", "one")
    inbox.rename(inbox.parent / "away")
    with pytest.raises(Unavailable):
        collect.collect(site, "law", "inbox")
    assert "no such folder" in (row(site).fault or "") and row(site).checked_at is None and landing.sealed(site, "law") == []
    (inbox.parent / "away").rename(inbox)
    collect.collect(site, "law", "inbox")
    assert len(arrivals(site)) == 1 and row(site).fault is None


def test_a_full_disk_leaves_nothing_half_done(site: Settings, inbox: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(inbox, "a.txt", "one")

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(landing, "seal", full)
    with pytest.raises(Unavailable, match="disk is full"):
        collect.collect(site, "law", "inbox")
    monkeypatch.undo()
    assert hidden(site) == []
    collect.collect(site, "law", "inbox")
    assert len(arrivals(site)) == 1


def test_one_collector_at_a_time(site: Settings, inbox: Path) -> None:
    put(inbox, "a.txt", "one")
    root = site.landing_zone / "law"
    root.mkdir(parents=True)
    with (root / ".collect-inbox.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(Conflict, match="just now"):
            collect.collect(site, "law", "inbox")
    collect.collect(site, "law", "inbox")
    assert len(arrivals(site)) == 1


def test_two_hosts_without_a_common_lock_deliver_once(site: Settings, inbox: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(inbox, "a.txt", "one")
    monkeypatch.setattr(locks.fcntl, "flock", lambda *_: None)
    both, gather = threading.Barrier(2), kinds.gather

    def together(*args: Any) -> Any:
        found = gather(*args)
        both.wait(30)
        return found

    monkeypatch.setattr(kinds, "gather", together)
    monkeypatch.setattr(collect.platform, "node", lambda: threading.current_thread().name)
    outcomes: list[Any] = []

    def run() -> None:
        try:
            outcomes.append(collect.collect(site, "law", "inbox")["state"])
        except Conflict:
            outcomes.append("conflict")
        except Exception as error:
            outcomes.append(repr(error))

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["conflict", "delivered"] and len(arrivals(site)) == 1 and hidden(site) == []


def test_a_folder_of_another_host_may_go_while_it_is_looked_at(site: Settings, inbox: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = site.landing_zone / "law" / ".collect-inbox-0123abcd-x"
    gone.mkdir(parents=True)
    age = collect._age

    def just_gone(path: Path) -> float:
        shutil.rmtree(path, ignore_errors=True)
        return age(path)

    monkeypatch.setattr(collect, "_age", just_gone)
    put(inbox, "a.txt", "one")
    assert collect.collect(site, "law", "inbox")["state"] == "delivered"


def test_leftovers_of_another_host_stay_for_a_day(site: Settings, inbox: Path) -> None:
    root = site.landing_zone / "law"
    for name, age in ((".collect-inbox-0123abcd-x", 90_000), (".collect-inbox-0123abcd-y", 100)):
        (root / name).mkdir(parents=True)
        os.utime(root / name, (datetime.now(UTC).timestamp() - age,) * 2)
    collect.collect(site, "law", "inbox")
    assert hidden(site) == [".collect-inbox-0123abcd-y"]


def test_progress_of_an_export_survives_a_failed_run(site: Settings, source_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    http = {"attempts": 1}
    sources(site, {"kind": "fhir_export", "name": "inbox", "url": f"{source_server.url}/fhir", "wait_minutes": 0, "http": http})
    kicked = []

    def kick_off(_: Asked) -> Reply:
        kicked.append(1)
        return Reply(202, headers={"Content-Location": f"{source_server.url}/status"})

    source_server.on("/fhir/$export", kick_off)
    manifest = {
        "transactionTime": "2024-05-01T10:00:00Z",
        "output": [{"type": "Composition", "url": f"{source_server.url}/file"}],
    }
    source_server.on("/status", Reply(503), Reply(202), Reply(body=json.dumps(manifest).encode()))
    source_server.on("/file", Reply(body=b"{}\n"))
    with pytest.raises(Unavailable):
        collect.collect(site, "law", "inbox")
    waiting = collect.collect(site, "law", "inbox")
    assert (waiting["state"], waiting["arrivals"]) == ("waiting", []) and row(site).checked_at is None
    told = collect.collect(site, "law", "inbox")
    assert told["state"] == "delivered" and len(kicked) == 1
    assert row(site).progress == {} and row(site).state == {"since": "2024-05-01T10:00:00Z"}
    assert source_server.asked[-1].method == "DELETE"
    assert landing.read_seal(landing.sealed(site, "law")[0]).effective == "2024-05-01"


def test_large_pulls_become_several_arrivals(site: Settings, source_server: Server) -> None:
    sources(site, {"kind": "fhir_export", "name": "inbox", "url": f"{source_server.url}/fhir", "max_items": 2})
    source_server.on("/fhir/$export", Reply(202, headers={"Content-Location": "/status"}))
    output = [{"type": "Composition", "url": f"{source_server.url}/{number}"} for number in range(5)]
    source_server.on("/status", Reply(body=json.dumps({"transactionTime": "2024-05-01T10:00:00Z", "output": output}).encode()))
    for number in range(5):
        source_server.on(f"/{number}", Reply(body=b'{"id": %d}\n' % number))
    told = collect.collect(site, "law", "inbox")
    assert [one["files"] for one in told["arrivals"]] == [2, 2, 1]


def test_what_could_not_be_taken_turns_the_task_red_once(site: Settings, inbox: Path) -> None:
    put(inbox, "a.txt", "one")
    put(inbox, "empty.txt", "")
    with pytest.raises(ArrivalRefused, match=r"1 could not be taken: .*the object is empty"):
        collect.scheduled(site, "law", "inbox", "manual")
    assert len(arrivals(site)) == 1
    assert collect.scheduled(site, "law", "inbox", "manual")["state"] == "nothing new"


def test_each_source_keeps_its_own_schedule(site: Settings, inbox: Path) -> None:
    sources(site, {"kind": "prefix", "name": "inbox", "url": str(inbox), "schedule": "0 6 * * *"})
    [source] = load_domain("law", site).sources.collect
    assert collect.scheduled(site, "law", "inbox", "scheduled")["state"] == "nothing new"
    assert collect.scheduled(site, "law", "inbox", "scheduled")["state"] == "not due"
    assert collect.scheduled(site, "law", "inbox", "manual")["state"] == "nothing new"
    checked = datetime(2024, 3, 1, 6, 0, 5, tzinfo=UTC)
    with transaction(site) as session:
        session.get_one(Watermark, ("law", "inbox")).checked_at = checked
    assert not collect.due(site, "law", source, checked + timedelta(hours=23))
    assert collect.due(site, "law", source, checked + timedelta(hours=24))


def test_what_failed_is_due_until_it_succeeds(site: Settings, inbox: Path) -> None:
    inbox.rename(inbox.parent / "away")
    [source] = load_domain("law", site).sources.collect
    for _ in range(2):
        with pytest.raises(Unavailable):
            collect.scheduled(site, "law", "inbox", "scheduled")
    assert collect.due(site, "law", source, datetime.now(UTC))


def test_the_doctor_names_a_source_that_fails(site: Settings, inbox: Path) -> None:
    from pipelines.site import doctor

    collect.collect(site, "law", "inbox")
    assert doctor._sources(site) == "1 collected"
    inbox.rename(inbox.parent / "away")
    with pytest.raises(Unavailable):
        collect.collect(site, "law", "inbox")
    with pytest.raises(RatchetError, match="law/inbox: inbox: there is no such folder"):
        doctor._sources(site)


def test_a_source_must_not_feed_on_our_own_folders(site: Settings) -> None:
    for place in (site.var, site.landing_zone / "law"):
        sources(site, {"kind": "prefix", "name": "inbox", "url": str(place)})
        with pytest.raises(BadInput, match="own folders"):
            collect.collect(site, "law", "inbox")


def test_names(site: Settings) -> None:
    with pytest.raises(NotFound, match="no source 'inbx'"):
        collect.collect(site, "law", "inbx")
    assert collect.source_names(site, "law") == ["inbox"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"shedule": "0 * * * *"}, "did you mean 'schedule'"),
        ({"schedule": "hourly"}, "not a cron schedule"),
        ({"kind": "ftp"}, "does not match any of the expected tags"),
        ({"url": "inbox"}, "url"),
        ({"options": {"secret": "x"}}, "credentials_env"),
        ({"name": "In-box"}, "name"),
    ],
)
def test_a_broken_entry_names_its_key(site: Settings, inbox: Path, change: dict[str, Any], says: str) -> None:
    sources(site, {"kind": "prefix", "name": "inbox", "url": str(inbox)} | change)
    with pytest.raises(ConfigError) as caught:
        load_domain("law", site)
    assert says in str(caught.value) and "law.yaml" in str(caught.value)


def test_two_sources_of_one_name_are_refused(site: Settings, inbox: Path) -> None:
    entry = {"kind": "prefix", "name": "inbox", "url": str(inbox)}
    sources(site, entry, entry)
    with pytest.raises(ConfigError, match="two sources are named 'inbox'"):
        load_domain("law", site)


def test_a_schedule_takes_no_part_in_what_a_step_is_addressed_by(site: Settings, inbox: Path) -> None:
    before = load_domain("law", site).model_dump(mode="json")
    sources(site)
    assert load_domain("law", site).model_dump(mode="json") == before


def test_the_command(site: Settings, inbox: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from typer.testing import CliRunner

    from pipelines import cli

    monkeypatch.setattr("pipelines.cli.corpus.load_settings", lambda: site)
    run: Callable[..., Any] = CliRunner().invoke
    put(inbox, "a.txt", "one")
    done = run(cli.app, ["collect", "law", "--json"])
    assert done.exit_code == 0, done.output
    [told] = json.loads(done.output)
    assert (told["source"], told["state"], told["documents"]) == ("inbox", "delivered", 1)
    put(inbox, "empty.txt", "")
    done = run(cli.app, ["collect", "law", "--source", "inbox"])
    assert done.exit_code == 1 and "the object is empty" in " ".join(done.output.split())
    sources(site)
    done = run(cli.app, ["collect", "law"])
    assert isinstance(done.exception, BadInput) and "no sources" in str(done.exception)
