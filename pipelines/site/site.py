"""`up`, `down` and `status` of the local stack."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console

from pipelines import locks
from pipelines.config import PROJECT, Settings
from pipelines.errors import Conflict, Unavailable
from pipelines.site import ports, preflight, secrets, users
from pipelines.site.services import ALL, Service, prepare, services
from pipelines.site.supervisor import MARK, write_plan

PATIENCE = 180.0
"""Seconds until a service that does not answer is called a failure."""
TRIES = 3
"""Deaths at the start before `up` gives up on a service."""


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """One line of `ratchet status`."""

    name: str
    state: str
    """healthy | starting | backing off | waiting | failed | down"""
    pid: int | None
    uptime: float
    """Seconds."""
    rss_mb: float
    """Resident memory of its whole process group; shared pages count once per process."""
    restarts: int
    url: str
    log: str


def up(
    settings: Settings,
    *,
    only: tuple[str, ...] = (),
    foreground: bool = False,
    console: Console | None = None,
    plan: list[Service] | None = None,
) -> None:
    """Start the stack and return when every part answers. Repeated on a running site it only waits for health.

    BadInput for what a person must mend first (ports, disk, Python); Unavailable, after stopping again, when a part does not come up.
    """
    out = console or Console(stderr=True)
    run = settings.var / "run"
    if running(settings):
        out.print("already up; checking that every part answers")
    else:
        began = time.monotonic()
        preflight.require_python()
        preflight.require_disk(settings)
        if "triton" in (only or ALL) and plan is None:
            preflight.require_libpython()
        _sweep(settings, jobs_too=False)
        prepare(settings)
        if plan is None:
            _prepare_state(settings, out)
            plan = services(settings, only)
        ports.require_free(settings, _ports(plan))
        write_plan(run / "plan.json", plan)
        _spawn(settings)
        _wait(settings, plan, out, began)
    if foreground:
        _stay(settings)


def down(settings: Settings, *, console: Console | None = None) -> bool:
    """Stop everything this site started on this host, running steps included (they resume when cleared); name what goes on elsewhere.
    False when nothing ran.
    """
    from pipelines.compute import jobs, local

    out = console or Console(stderr=True)
    was_up = running(settings)
    if was_up:
        out.print("stopping ...")
        pid = 0
        with suppress(ProcessLookupError, FileNotFoundError, ValueError):
            pid = int((settings.var / "run" / "site.pid").read_text())
            os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + 60
        while running(settings):
            if time.monotonic() > deadline:
                raise Unavailable("the supervisor does not stop", where=str(settings.var / "run" / "site.pid"), todo="kill -9 that process")
            time.sleep(0.05)
        with suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)  # ours to reap when `up` was called by this very process
    for job in _running_jobs(settings):
        out.print(f"stopping the step {job}: it resumes when its task runs again")
        local.stop(settings, job)
    for line in jobs.elsewhere(settings):
        out.print(f"goes on, and is found again: {line}", markup=False)
    swept = _sweep(settings, jobs_too=True)
    for name in ("plan.json", "site.json", "site.pid"):
        (settings.var / "run" / name).unlink(missing_ok=True)
    if was_up or swept:
        _clean_triton(settings)
        out.print("down")
    return was_up or swept > 0


def status(settings: Settings) -> list[ServiceStatus]:
    """Every part of the stack, whether it runs and answers."""
    state = _state(settings) if running(settings) else {}
    plan = {service.name: service for service in _plan(settings)} if state else {}
    beats: dict[str, Any] = {}
    lines = []
    for name in [name for name in ALL if name != "setup" and (not plan or name in plan)] + [n for n in plan if n not in ALL]:
        known = state.get("services", {}).get(name)
        log = str(settings.logs / f"{name}.log")
        if known is None:
            lines.append(ServiceStatus(name, "down", None, 0.0, 0.0, 0, "", log))
            continue
        shown = known["state"]
        if shown == "running":
            shown = "healthy" if _healthy(plan[name], known["started"], beats) else "starting"
        uptime = time.time() - known["started"] if known["pid"] else 0.0
        lines.append(ServiceStatus(name, shown, known["pid"], uptime, _group_rss_mb(known["pid"]), known["restarts"], plan[name].url, log))
    return lines


def doctor_site(settings: Settings) -> list[str]:
    """One line per fault of the host or of a service that should be up."""
    alive = running(settings)
    faults = preflight.doctor_site(settings, running=alive)
    if alive:
        faults += [f"{line.name} is {line.state} (see {line.log})" for line in status(settings) if line.state != "healthy"]
    return faults


def running(settings: Settings) -> bool:
    """Whether a supervisor holds this site's lock."""
    return locks.is_held(settings.var / "run" / "site.lock")


def _prepare_state(settings: Settings, out: Console) -> None:
    """The control database's schema, and secrets; new passwords are shown, once."""
    from pipelines.state.database import migrate

    migrate(settings)
    _, fresh = secrets.ensure(settings, users.members(settings))
    for user, password in fresh.items():
        if user != secrets.SERVICE_USER:
            out.print(f"  user [bold]{user:<10}[/] password [bold]{password}[/]", highlight=False)
    if fresh:
        out.print(f"  shown once; kept in {settings.secrets / 'users.json'}", highlight=False)


def _ports(plan: list[Service]) -> tuple[str, ...]:
    names = [service.port for service in plan if service.port]
    return tuple(names) + (("triton_grpc", "triton_metrics") if "triton_http" in names else ())


def _spawn(settings: Settings) -> None:
    log = settings.logs / "supervisor.log"
    with log.open("ab") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "pipelines.site.supervisor", str(settings.var / "run"), str(settings.logs)],
            cwd=PROJECT,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**users.clean_environ(), MARK: str(settings.var / "run")},
        )
    deadline = time.monotonic() + 10
    while not (running(settings) and (settings.var / "run" / "site.json").exists()):
        if process.poll() == 3:
            raise Conflict("another `ratchet up` was faster", todo="`ratchet status` shows it")
        if process.poll() is not None or time.monotonic() > deadline:
            raise Unavailable(f"the supervisor did not start: {_last_line(log)}", where=str(log), todo="mend the cause and try again")
        time.sleep(0.02)
    process.returncode = 0  # it is to outlive this process; without this, Python complains that it does


def _wait(settings: Settings, plan: list[Service], out: Console, began: float) -> None:
    """Report each part as it comes up; stop all again when one does not."""
    open_ = {service.name: service for service in plan}
    with out.status("starting ...") as spinner:
        while open_:
            state = _state(settings).get("services", {})
            beats: dict[str, Any] = {}
            for name, service in list(open_.items()):
                known = state.get(name, {"state": "waiting", "started": 0.0, "restarts": 0})
                if known["state"] == "failed" or known["restarts"] >= TRIES:
                    _give_up(settings, name, "does not stay up", out)
                answers = known["state"] == "running" and not service.once and _healthy(service, known["started"], beats)
                if known["state"] == "done" or answers:
                    seconds = time.monotonic() - began
                    out.print(f"  [green]✓[/] {name:<14} {seconds:5.1f} s  {service.url}", highlight=False)
                    del open_[name]
            if time.monotonic() - began > PATIENCE:
                _give_up(settings, next(iter(open_)), f"does not answer after {PATIENCE:.0f} s", out)
            if not running(settings):
                raise Unavailable("the supervisor ended", where=str(settings.logs / "supervisor.log"), todo="look there, then try again")
            spinner.update(f"waiting for {', '.join(open_)}")
            time.sleep(0.4)


def _give_up(settings: Settings, name: str, why: str, out: Console) -> None:
    log = settings.logs / f"{name}.log"
    message = _last_line(log)
    down(settings, console=out)
    raise Unavailable(f"{name} {why}: {message}", where=str(log), todo="mend the cause, then `ratchet up` again")


def _stay(settings: Settings) -> None:
    """Until Ctrl-C or SIGTERM, then down."""
    stop = False

    def soon(*_: object) -> None:
        nonlocal stop
        stop = True

    signal.signal(signal.SIGTERM, soon)
    signal.signal(signal.SIGINT, soon)
    while not stop and running(settings):
        time.sleep(0.2)
    down(settings)


def _healthy(service: Service, started: float, beats: dict[str, Any]) -> bool:
    """200 at `health`; for parts of Airflow, a heartbeat later than their start in the API server's report."""
    if not service.health:
        return True
    if service.health not in beats:
        beats[service.health] = _report(service.health)
    report = beats[service.health]
    if not service.heartbeat or report is None:
        return report is not None
    part = report.get(service.heartbeat) or {}
    beat = part.get(f"latest_{service.heartbeat}_heartbeat")
    if part.get("status") != "healthy" or not beat:
        return False
    return datetime.fromisoformat(beat).astimezone(UTC).timestamp() >= started


def _report(url: str) -> dict[str, Any] | None:
    """What a health address answers with 200: its JSON object, or an empty one; None when it does not."""
    import httpx

    try:
        answer = _client().get(url)
    except httpx.HTTPError:
        return None
    if answer.status_code != 200:
        return None
    with suppress(ValueError):
        value = answer.json()
        return value if isinstance(value, dict) else {}
    return {}


@lru_cache(maxsize=1)
def _client() -> Any:
    # One for all: each new one reads the system's certificates, which costs more than the question.
    import httpx

    return httpx.Client(timeout=10, trust_env=False, verify=False)  # noqa: S501 - loopback, plain HTTP


def _state(settings: Settings) -> dict[str, Any]:
    with suppress(OSError, ValueError):
        value: dict[str, Any] = json.loads((settings.var / "run" / "site.json").read_text(encoding="utf-8"))
        return value
    return {}


def _plan(settings: Settings) -> list[Service]:
    with suppress(OSError, ValueError):
        return [Service(**fields) for fields in json.loads((settings.var / "run" / "plan.json").read_text(encoding="utf-8"))]
    return []


def _group_rss_mb(pid: int | None) -> float:
    """Resident memory of a process and all its descendants, MB."""
    if pid is None:
        return 0.0
    total = 0
    with suppress(psutil.Error):
        leader = psutil.Process(pid)
        for process in (leader, *leader.children(recursive=True)):
            with suppress(psutil.Error):
                total += process.memory_info().rss
    return total / 1e6


def _running_jobs(settings: Settings) -> list[str]:
    from pipelines.compute import local

    root = settings.var / "jobs"
    jobs = [path.parent.relative_to(root).as_posix() for path in root.rglob("lock")] if root.is_dir() else []
    return [job for job in jobs if local.poll(settings, job) == "running"]


def _sweep(settings: Settings, *, jobs_too: bool) -> int:
    """End what a killed supervisor left behind, known by our mark in its environment. Returns how many.

    Steps are left alone when `jobs_too` is false: after a crash of the supervisor they are to be reattached, not lost.
    """
    if running(settings):
        return 0
    mine = str(settings.var / "run")
    spared = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.pid in spared or process.uids().real != os.getuid():
                continue
            environ = process.environ()
            is_job = "RATCHET_JOB" in environ or "pipelines.compute.wrapper" in process.cmdline()
            if environ.get(MARK) == mine and (jobs_too or not is_job):
                found.append(process)
    for process in found:
        with suppress(psutil.Error):
            process.terminate()
    _, alive = psutil.wait_procs(found, timeout=5)
    for process in alive:
        with suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(alive, timeout=5)
    return len(found)


def _clean_triton(settings: Settings) -> None:
    """Shared memory and unpacked environments that a killed Triton leaves in /dev/shm and /tmp."""
    with suppress(ImportError):
        from pipelines.serving import triton

        clean = getattr(triton, "clean", None)
        if clean is not None:
            clean(settings)


def _last_line(log: Path) -> str:
    with suppress(OSError), log.open(encoding="utf-8", errors="replace") as file:
        lines = [line.strip() for line in deque(file, maxlen=40) if line.strip()]
        if lines:
            return lines[-1][:300]
    return "no message"
