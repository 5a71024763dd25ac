"""One process that starts the services, restarts what dies and stops them in order: `python -m pipelines.site.supervisor PLAN`.

It holds `flock(var/run/site.lock)` for its life, so "is the site up" has one answer that survives kill -9 and reused process ids.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from pipelines import locks
from pipelines.compute.child import die_with_parent
from pipelines.config import PROJECT
from pipelines.site.services import Service
from pipelines.writing import write_json

MARK = "RATCHET_SITE"
"""In the environment of everything we start: how leftovers of a killed supervisor are told from other people's processes."""

TICK = 0.1
STEADY = 60.0
"""Seconds after which a service counts as steady and its back-off starts over."""
LOG_BYTES = 20_000_000


@dataclass
class Child:
    """A service and its present process."""

    service: Service
    process: subprocess.Popen[bytes] | None = None
    state: str = "waiting"
    """waiting | running | backing off | done | failed | stopped"""
    started: float = 0.0
    restarts: int = 0
    due: float = 0.0
    exit_code: int | None = None
    attempts: int = field(default=0, repr=False)

    def report(self) -> dict[str, Any]:
        """What `status` shows of it."""
        return {
            "state": self.state,
            "pid": self.process.pid if self.process and self.state == "running" else None,
            "started": self.started,
            "restarts": self.restarts,
            "exit_code": self.exit_code,
        }


class Supervisor:
    """Runs until SIGTERM or SIGINT. Single-threaded on purpose: it forks with a pre-exec hook."""

    def __init__(self, run: Path, logs: Path, services: list[Service]) -> None:
        self.run_folder, self.logs = run, logs
        self.children = [Child(service) for service in services]
        self.stopping = False
        self.began = time.time()

    def run(self) -> int:
        """Start, watch, stop. Returns 3 when another supervisor holds the site."""
        with locks.alone_now(self.run_folder / "site.lock") as alone:
            return self._run() if alone else 3

    def _run(self) -> int:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop_soon)
        (self.run_folder / "site.pid").write_text(str(os.getpid()))
        try:
            while not self.stopping:
                if self._step():
                    self._publish()
                time.sleep(TICK)
        finally:
            self._stop_all()
            for name in ("site.pid", "site.json"):
                (self.run_folder / name).unlink(missing_ok=True)
        return 0

    def _stop_soon(self, *_: object) -> None:
        self.stopping = True

    def _step(self) -> bool:
        """Look at every child once; true when something changed."""
        changed = False
        finished = {child.service.name for child in self.children if child.state == "done"}
        for child in self.children:
            if child.state == "running" and child.process is not None and (code := child.process.poll()) is not None:
                self._ended(child, code)
                changed = True
            ready = not child.service.after or child.service.after in finished
            if not self.stopping and (
                (child.state == "waiting" and ready) or (child.state == "backing off" and time.monotonic() >= child.due)
            ):
                self._start(child)
                changed = True
        return changed

    def _start(self, child: Child) -> None:
        service = child.service
        path = self.logs / f"{service.name}.log"
        if path.exists() and path.stat().st_size > LOG_BYTES:
            path.rename(path.with_suffix(".log.1"))
        child.started = time.time()
        try:
            with path.open("ab") as log:
                child.process = subprocess.Popen(
                    service.argv,
                    cwd=PROJECT,
                    env={**service.env, MARK: str(self.run_folder)},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    preexec_fn=partial(die_with_parent, signal.SIGTERM),  # after kill -9 of the supervisor nothing keeps the ports
                )
            child.state = "running"
        except OSError as error:
            path.write_text(f"{error}\n", encoding="utf-8")
            self._ended(child, 127)

    def _ended(self, child: Child, code: int) -> None:
        child.exit_code = code
        if child.process is not None:
            # Its own children (workers, stubs) must not live on beside the next try and hold the port.
            _signal_group(child.process.pid, signal.SIGKILL)
        if child.service.once:
            child.state = "done" if code == 0 else "failed"
            return
        steady = time.time() - child.started > STEADY
        child.attempts = 0 if steady else child.attempts + 1
        child.restarts += 1
        child.state, child.due = "backing off", time.monotonic() + min(30.0, 0.5 * 2**child.attempts)

    def _stop_all(self) -> None:
        for wave in sorted({child.service.wave for child in self.children}):
            batch = [c for c in self.children if c.service.wave == wave and c.process is not None and c.process.poll() is None]
            for child in batch:
                _signal_leader(child, signal.SIGTERM)
            began = time.monotonic()
            while alive := [c for c in batch if c.process is not None and c.process.poll() is None]:
                for child in alive:
                    if time.monotonic() - began > child.service.grace and child.process is not None:
                        _signal_group(child.process.pid, signal.SIGKILL)
                time.sleep(TICK / 2)
            for child in batch:
                if child.process is not None:
                    _signal_group(child.process.pid, signal.SIGKILL)
                child.state = "stopped"

    def _publish(self) -> None:
        value = {
            "pid": os.getpid(),
            "began": self.began,
            "services": {child.service.name: child.report() for child in self.children},
        }
        write_json(self.run_folder / "site.json", value)


def _signal_leader(child: Child, number: signal.Signals) -> None:
    if child.process is not None:
        with suppress(ProcessLookupError):
            child.process.send_signal(number)


def _signal_group(leader: int, number: signal.Signals) -> None:
    """To what is left of a child's own process group: it was started as its leader, and nobody else is in it."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, number)


def write_plan(path: Path, services: list[Service]) -> None:
    """The services as JSON, readable by the owner only: their environment holds Airflow's keys."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump([asdict(service) for service in services], file)


def main(argv: list[str]) -> int:
    """`RUN_FOLDER LOGS_FOLDER`: runs the plan in RUN_FOLDER/plan.json."""
    run, logs = Path(argv[0]), Path(argv[1])
    plan = [Service(**fields) for fields in json.loads((run / "plan.json").read_text(encoding="utf-8"))]
    return Supervisor(run, logs, plan).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
