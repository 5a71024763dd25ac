"""The traffic log: on disk before it is acknowledged, whole after a crash, and honest when the disk is full."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pipelines.config import PROJECT, Settings
from pipelines.errors import RatchetError, Unavailable
from pipelines.traffic import log as traffic
from pipelines.traffic import segments
from pipelines.traffic.log import Tail, TrafficLog, read


def one(number: int, **more: Any) -> dict[str, Any]:
    return {"request_id": f"q{number}", "status": 200, **more}


def ids(records: Any) -> list[str]:
    return [record["request_id"] for record in records]


@pytest.fixture
async def log(settings: Settings) -> AsyncIterator[TrafficLog]:
    made = TrafficLog(settings)
    yield made
    await asyncio.to_thread(made.close)


def files(settings: Settings, domain: str = "law") -> list[Path]:
    return sorted(segments.folder_of(settings, domain).glob("*.jsonl"))


async def test_a_record_is_in_the_file_once_write_returns(settings: Settings, log: TrafficLog) -> None:
    await log.write("law", one(1, guards=[{"rule": "injection", "action": "report", "score": 0.7, "where": "question"}]))
    (path,) = files(settings)
    found = json.loads(path.read_text())
    assert found["request_id"] == "q1" and segments.Record.model_validate(found).at.tzinfo is not None
    assert path.stat().st_mode & 0o777 == 0o600 and path.parent.stat().st_mode & 0o777 == 0o700
    assert segments.is_open(path)


async def test_many_at_once_are_all_there_in_order_and_each_domain_has_its_own_file(settings: Settings, log: TrafficLog) -> None:
    await asyncio.gather(*(log.write(domain, one(number)) for number in range(300) for domain in ("law", "clinical")))
    for domain in ("law", "clinical"):
        assert len(files(settings, domain)) == 1
        assert ids(read(settings, domain)) == [f"q{number}" for number in range(300)]


async def test_a_field_that_nobody_declared_is_refused(settings: Settings, log: TrafficLog) -> None:
    with pytest.raises(RatchetError, match="no field question"):
        await log.write("law", one(1, question="who?"))
    assert files(settings) == []


async def test_a_line_too_long_and_a_backlog_too_long_are_refused(
    settings: Settings, log: TrafficLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Unavailable, match="takes no more"):
        await log.write("law", one(1, question_masked="x" * traffic.LINE_BYTES))
    monkeypatch.setattr(traffic, "BACKLOG_BYTES", 2000)
    got = await asyncio.gather(*(log.write("law", one(number)) for number in range(200)), return_exceptions=True)
    kept = [number for number, result in enumerate(got) if result is None]
    assert 0 < len(kept) < 200 and {type(result) for result in got} == {type(None), Unavailable}
    assert ids(read(settings, "law")) == [f"q{number}" for number in kept]


async def test_a_request_that_is_gone_is_logged_all_the_same(settings: Settings, log: TrafficLog) -> None:
    task = asyncio.create_task(log.write("law", one(1)))
    await asyncio.sleep(0)
    task.cancel()
    await log.write("law", one(2))
    assert ids(read(settings, "law")) == ["q1", "q2"]


async def test_segments_end_by_size_and_by_the_hour(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    log = TrafficLog(settings, segment_bytes=200)
    for number in range(4):
        await log.write("law", one(number, reason="x" * 100))
    assert len(files(settings)) == 2
    await asyncio.to_thread(log.close)
    assert not any(segments.is_open(path) for path in files(settings))
    assert sorted(ids(read(settings, "law"))) == ["q0", "q1", "q2", "q3"]

    class Later(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime.now(tz) + hours

    hours = timedelta(0)
    monkeypatch.setattr(traffic, "datetime", Later)
    log = TrafficLog(settings)
    await log.write("notes", one(1))
    hours = timedelta(hours=1)
    await log.write("notes", one(2))
    await log.write("notes", one(3))
    await asyncio.to_thread(log.close)
    assert [ids(map(json.loads, path.read_text().splitlines())) for path in files(settings, "notes")] == [["q1"], ["q2", "q3"]]


async def test_an_idle_segment_ends_with_its_hour(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traffic, "_LOOK_SECONDS", 0.02)
    log = TrafficLog(settings)
    await log.write("law", one(1))
    (path,) = files(settings)
    assert segments.is_open(path)
    monkeypatch.setattr(segments, "STAMP", "another hour")
    while segments.is_open(path):
        await asyncio.sleep(0.02)
    await asyncio.to_thread(log.close)


async def test_after_the_end_nothing_is_taken(settings: Settings) -> None:
    log = TrafficLog(settings)
    waiting = [asyncio.create_task(log.write("law", one(number))) for number in range(20)]
    await asyncio.sleep(0)
    await asyncio.to_thread(log.close)
    assert await asyncio.gather(*waiting) == [None] * 20, "what waits is written first"
    with pytest.raises(Unavailable):
        await log.write("law", one(1))


WRITER = """
import asyncio, sys
from pathlib import Path
from pipelines.config import Settings
from pipelines.traffic.log import TrafficLog

async def main():
    log = TrafficLog(Settings(var=Path(sys.argv[1])))
    async def ask(who):
        for number in range(10**9):
            name = f"{who}-{number}"
            await log.write("law", {"request_id": name, "status": 200, "reason": "x" * 300})
            sys.stdout.write(name + "\\n")
            sys.stdout.flush()
    await asyncio.gather(*(ask(who) for who in range(16)))

asyncio.run(main())
"""


def test_kill_9_loses_nothing_that_was_acknowledged(settings: Settings) -> None:
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(settings.var)], cwd=PROJECT, stdout=subprocess.PIPE)
    assert process.stdout is not None
    acknowledged = [process.stdout.readline() for _ in range(2000)]
    (path,) = files(settings)
    assert segments.is_open(path)
    process.send_signal(signal.SIGKILL)
    acknowledged += [line for line in process.stdout.read().splitlines(keepends=True) if line.endswith(b"\n")]
    process.wait(20)
    process.stdout.close()
    assert not segments.is_open(path), "the lock went with the process"
    written = ids(read(settings, "law"))
    assert set(map(str.strip, map(bytes.decode, acknowledged))) <= set(written) and len(written) == len(set(written))


async def test_what_a_crash_tore_is_left_out_and_what_is_no_record_is_counted(settings: Settings, log: TrafficLog) -> None:
    await log.write("law", one(1))
    (path,) = files(settings)
    with path.open("ab") as file:
        file.write(b'not json\n[1]\n{"x": 1}\n' + b'{"at": "2024-01-01T00:00:00+00:00", "request_id": "to')
    tail = Tail(settings, "law")
    assert ids(tail.new()) == ids(read(settings, "law")) == ["q1"]
    assert tail.skipped == 3


FULL = """
import asyncio, json, resource, sys
from pathlib import Path
from pipelines.config import Settings
from pipelines.errors import Unavailable
from pipelines.traffic.log import TrafficLog, read

async def main():
    settings = Settings(var=Path(sys.argv[1]))
    log = TrafficLog(settings)
    outcome = {}
    async def write(name):
        try:
            await log.write("law", {"request_id": name, "status": 200, "reason": "x" * 200})
            outcome[name] = "written"
        except Unavailable as error:
            outcome[name] = str(error)
    for number in range(3):
        await write(f"before-{number}")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1300, limits[1]))
    await asyncio.gather(*(write(f"full-{number}") for number in range(20)))
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    await write("full-again")
    await write("full-again-2")
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    for number in range(3):
        await write(f"after-{number}")
    log.close()
    whole = all(path.read_bytes().endswith(b"\\n") for path in (settings.var / "traffic" / "law").glob("*.jsonl"))
    print(json.dumps({"outcome": outcome, "found": [one["request_id"] for one in read(settings, "law")], "whole": whole}))

asyncio.run(main())
"""


def test_a_full_disk_refuses_and_goes_on_when_there_is_room(settings: Settings) -> None:
    """A limit on the size of files stands for the disk: a line is written in part, then the system says no."""
    done = subprocess.run([sys.executable, "-c", FULL, str(settings.var)], cwd=PROJECT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    written = {name for name, said in found["outcome"].items() if said == "written"}
    assert {f"{when}-{number}" for when in ("before", "after") for number in range(3)} <= written
    refused = set(found["outcome"]) - written
    assert {"full-again", "full-again-2"} <= refused and any(name.startswith("full-1") for name in refused)
    assert all("traffic log cannot be written" in found["outcome"][name] for name in refused)
    assert set(found["found"]) == written and len(found["found"]) == len(written), "what was refused is not there, what was taken is"
    assert found["whole"]


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk takes root; the test above needs none")
async def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("this system lets nobody mount")
    try:
        settings = Settings(var=disk)
        log = TrafficLog(settings)
        written = 0
        with pytest.raises(Unavailable, match="No space left"):
            for number in range(2000):
                await log.write("law", one(number, reason="x" * 500))
                written += 1
        with pytest.raises(Unavailable, match="No space left"):
            for number in range(2000):
                await log.write("notes", one(number, reason="x" * 500))
        assert len(ids(read(settings, "law"))) == written > 100
        subprocess.run(["mount", "-o", "remount,size=1m", str(disk)], check=True)
        await log.write("law", one(9999))
        assert ids(read(settings, "law"))[-1] == "q9999" and len(files(settings)) == 2
        await asyncio.to_thread(log.close)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


async def test_two_writers_never_mix(settings: Settings) -> None:
    logs = [TrafficLog(settings) for _ in range(3)]
    await asyncio.gather(*(log.write("law", one(number)) for number in range(100) for log in logs))
    for log in logs:
        await asyncio.to_thread(log.close)
    assert len(files(settings)) == 3
    assert sorted(ids(read(settings, "law"))) == sorted(f"q{number}" for number in range(100) for _ in logs)


async def test_reading_a_span_of_time_in_order(settings: Settings, log: TrafficLog) -> None:
    other = TrafficLog(settings)
    day = datetime.now(UTC).replace(microsecond=0)
    for number in range(6):
        await (log, other)[number % 2].write("law", one(number, at=(day + timedelta(seconds=number)).isoformat()))
    await asyncio.to_thread(other.close)
    assert ids(read(settings, "law")) == [f"q{number}" for number in range(6)]
    assert ids(read(settings, "law", since=day + timedelta(seconds=2), until=day + timedelta(seconds=5))) == ["q2", "q3", "q4"]
    assert ids(read(settings, "law", since=day + timedelta(hours=3))) == []
    assert ids(read(settings, "nobody")) == []


async def test_a_tail_gives_everything_once_also_over_rotation_and_a_restart(settings: Settings, log: TrafficLog) -> None:
    tail = Tail(settings, "law")
    assert ids(tail.new()) == []
    await log.write("law", one(1))
    await log.write("law", one(2))
    assert ids(tail.new()) == ["q1", "q2"] and ids(tail.new()) == []
    await log.write("law", one(3))
    (path,) = files(settings)
    (path.parent / segments.ROTATED).mkdir()
    path.rename(path.parent / segments.ROTATED / path.name)
    restarted = Tail(settings, "law", offsets=tail.offsets)
    assert ids(tail.new()) == ids(restarted.new()) == ["q3"]
    assert ids(tail.new()) == [] and tail.skipped == 0
    assert ids(Tail(settings, "law", since=datetime.now(UTC) + timedelta(seconds=1)).new()) == []


async def test_a_tail_beside_a_writer_misses_nothing(settings: Settings, log: TrafficLog) -> None:
    tail, found = Tail(settings, "law"), []

    async def write(who: int) -> None:
        for number in range(50):
            await log.write("law", one(number * 100 + who))

    writing = asyncio.gather(*(write(who) for who in range(8)))
    while not writing.done():
        found += await asyncio.to_thread(lambda: ids(tail.new()))
        await asyncio.sleep(0)
    await writing
    found += ids(tail.new())
    assert sorted(found) == sorted(f"q{number * 100 + who}" for number in range(50) for who in range(8))


def test_a_record_may_hold_all_its_fields() -> None:
    record = segments.Record(at=datetime.now(UTC), request_id="q", status=200)
    assert set(record.model_dump()) == segments.FIELDS
