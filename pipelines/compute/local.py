"""Runs a heavy step as a detached process on this host.

A wrapper holds `flock(job/lock)` for its whole life and renames `result.json` into place at its end. Alive means "the lock is held":
process ids are reused and zombies answer to signals, a lock does neither. The lock is taken here and inherited, so there is no moment
in which a started job looks absent.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Literal

from pipelines import locks
from pipelines.compute.files import LOG, RESULT, begin, folder
from pipelines.compute_config import Local
from pipelines.config import PROJECT, Settings
from pipelines.errors import Unavailable

State = Literal["absent", "running", "lost", "done"]


def start(settings: Settings, job: str, argv: list[str], _profile: Local | None = None) -> None:
    """Start `python ARGV` unless this job runs or has a result. Returns when the job is certain to be seen as running."""
    place = folder(settings, job)
    place.mkdir(parents=True, exist_ok=True)
    with locks.handle_of(place / "lock") as lock:  # the wrapper inherits it, and so it stays held
        if lock is None or (place / RESULT).exists():
            return
        begin(place)
        with (place / LOG).open("ab") as log:
            subprocess.run(
                [sys.executable, "-m", "pipelines.compute.wrapper", str(place), str(lock), *argv],
                cwd=PROJECT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=(lock,),
                check=True,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )
        (place / "started").touch()


def poll(settings: Settings, job: str, _profile: Local | None = None) -> State:
    """`running` while the lock is held, `done` with a result, `lost` when the wrapper died without one, else `absent`."""
    place = folder(settings, job)
    if not (place / "lock").exists():
        return "absent"
    if locks.is_held(place / "lock"):
        return "running"
    # The result is renamed into place before the lock is let go, so looking in this order cannot miss it.
    if (place / RESULT).exists():
        return "done"
    return "lost" if (place / "started").exists() else "absent"


def note(_settings: Settings, _job: str, _profile: Local | None = None) -> str:
    """Nothing waits here, and of a process that is gone there is nothing to say."""
    return ""


def stop(settings: Settings, job: str, profile: Local | None = None) -> None:
    """SIGTERM the job's process group and wait until its lock is free: a retry must not attach to a dying process."""
    place = folder(settings, job)
    if poll(settings, job) != "running":
        return
    pid = _pid(place)
    given = profile or Local()
    deadline, sent = time.monotonic() + given.stop_seconds, signal.SIGTERM
    while locks.is_held(place / "lock"):
        if pid is not None:
            with suppress(ProcessLookupError):
                os.killpg(pid, sent)
        pid = _pid(place)
        if time.monotonic() > deadline:
            if sent == signal.SIGKILL:
                raise Unavailable("the job does not stop", where=job, todo=f"look at process {pid}")
            sent, deadline = signal.SIGKILL, time.monotonic() + given.kill_seconds
        time.sleep(0.1)


def _pid(place: Path) -> int | None:
    with suppress(OSError, ValueError):
        return int((place / "pid").read_text())
    return None
