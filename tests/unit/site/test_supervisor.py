"""The supervisor with tiny services: it starts, restarts and stops its own, and nothing else."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from pipelines.config import Settings
from pipelines.errors import BadInput, Unavailable
from pipelines.site import preflight, site
from pipelines.site.services import Service

pytestmark = pytest.mark.slow

SLEEP = "import time; time.sleep(120)"
PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {SLEEP!r}])"


def service(name: str, code: str = SLEEP, **more: object) -> Service:
    return Service(name, [sys.executable, "-c", code], {"PATH": os.environ["PATH"]}, **more)  # type: ignore[arg-type]


def quiet() -> Console:
    return Console(file=io.StringIO(), width=200)


def until(condition: Callable[[], object], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.05)


@pytest.fixture
def place(settings: Settings) -> Iterator[Settings]:
    yield settings
    site.down(settings, console=quiet())


def pid(settings: Settings, name: str) -> int | None:
    found = {line.name: line.pid for line in site.status(settings)}
    return found.get(name)


def test_up_status_down(place: Settings) -> None:
    other = subprocess.Popen([sys.executable, "-c", SLEEP])
    try:
        site.up(place, plan=[service("first", code=PARENT), service("second")], console=quiet())
        lines = {line.name: line for line in site.status(place)}
        assert {line.state for line in lines.values()} == {"healthy"} and lines["first"].rss_mb > 1
        ours = [lines["first"].pid, lines["second"].pid]
        until(lambda: psutil.Process(ours[0]).children())
        grandchild = psutil.Process(ours[0]).children()[0]
        assert site.down(place, console=quiet()) is True
        assert not any(psutil.pid_exists(one) for one in ours if one)
        until(lambda: not grandchild.is_running())
        assert other.poll() is None
        assert site.down(place, console=quiet()) is False
    finally:
        other.kill()
        other.wait()


def test_what_dies_is_started_again(place: Settings) -> None:
    site.up(place, plan=[service("one")], console=quiet())
    first = pid(place, "one")
    assert first
    os.kill(first, signal.SIGKILL)
    until(lambda: pid(place, "one") not in (None, first))
    assert {line.restarts for line in site.status(place)} == {1}


@pytest.mark.slow
def test_a_service_that_does_not_stay_up_is_named_and_everything_is_stopped(place: Settings) -> None:
    broken = service("broken", code="print('no such model'); raise SystemExit(1)", health="http://127.0.0.1:9/")
    with pytest.raises(Unavailable, match="broken does not stay up: no such model"):
        site.up(place, plan=[service("fine"), broken], console=quiet())
    assert not site.running(place)


def test_a_failed_set_up_stops_what_waits_for_it(place: Settings) -> None:
    plan = [service("setup", code="raise SystemExit('broken database')", once=True), service("web", after="setup")]
    with pytest.raises(Unavailable, match="setup does not stay up: broken database"):
        site.up(place, plan=plan, console=quiet())


@pytest.mark.slow
def test_leftovers_of_a_killed_supervisor_are_cleared_and_up_works_again(place: Settings) -> None:
    site.up(place, plan=[service("one", code=PARENT)], console=quiet())
    leader = psutil.Process(pid(place, "one"))
    until(lambda: leader.children())
    left = [leader, *leader.children()]
    os.kill(int((place.var / "run" / "site.pid").read_text()), signal.SIGKILL)
    until(lambda: not site.running(place))
    site.up(place, plan=[service("one")], console=quiet())
    assert not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in left)


def test_the_plan_with_its_secrets_is_closed_to_others(place: Settings) -> None:
    site.up(place, plan=[service("one")], console=quiet())
    assert (place.var / "run" / "plan.json").stat().st_mode & 0o077 == 0


def test_preflight_says_what_to_do(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"Python 3\.9 is not supported"):
        preflight.require_python((3, 9))
    with pytest.raises(BadInput, match="GB free, 1000000 GB needed"):
        preflight.require_disk(settings, needed_gb=1e6)
