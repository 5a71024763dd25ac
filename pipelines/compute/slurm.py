"""Runs a heavy step as a Slurm batch job, submitted once.

The job's name is derived from ours, so a submission whose answer was lost is found again by name. Three fences keep a second one away:
a lock that sbatch itself inherits, so that nobody looks while an orphaned sbatch may still submit; the look by name under that lock; and
Slurm's own `--dependency=singleton`, under which two jobs of one name never run at the same time, the later one finding the result.
"""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pipelines import locks
from pipelines.compute import slurm_commands as commands
from pipelines.compute.environment import environment
from pipelines.compute.files import LOG, RESULT, STOP, State, begin, folder, settled
from pipelines.compute_config import Slurm
from pipelines.config import PROJECT, Settings
from pipelines.errors import Unavailable
from pipelines.manifest import sha256
from pipelines.writing import write_text

SCRIPT, LOCK = "job.sh", "submit.lock"
LOCK_SECONDS = 2 * commands.SECONDS


def job_name(settings: Settings, job: str) -> str:
    """What Slurm calls the job: the task in words, and a hash of site and job."""
    words = "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in "-".join(job.split("/")[:3:2]))
    return f"ratchet-{words[:40]}-{sha256([str(settings.var), job])[:20]}"


def start(settings: Settings, job: str, argv: list[str], profile: Slurm) -> None:
    """Submit the job unless one of its name is alive or its result is there."""
    place = folder(settings, job)
    place.mkdir(parents=True, exist_ok=True)
    name = job_name(settings, job)
    with _submitting(place) as lock:
        if (place / RESULT).exists() or _alive(name):
            return
        begin(place)
        write_text(place / SCRIPT, script(settings, place, argv, profile))
        try:
            commands.submit(submission(settings, job, profile), lock)
        except Unavailable:
            if not _alive(name):
                raise  # the next try looks again, under the same lock
        (place / "started").touch()


def poll(settings: Settings, job: str, profile: Slurm) -> State:
    """By the controller first, then by the result: it is renamed into place before the job ends, so this order cannot miss it."""
    place = folder(settings, job)
    if not place.is_dir():
        return "absent"
    if locks.is_held(place / LOCK):
        return "queued"
    known = _known(settings, job, profile)
    if known is not None and known.alive:
        return "queued" if known.state in commands.WAITING else "running"
    if (place / RESULT).exists():
        return "done"
    if known is not None and known.state == "COMPLETED" and not settled(place, profile.result_grace_seconds):
        return "running"
    return "lost" if known is not None or (place / "started").exists() else "absent"


def note(settings: Settings, job: str, profile: Slurm) -> str:
    """Slurm's own word: id, state, reason, since when."""
    known = _known(settings, job, profile)
    if known is None:
        return "Slurm no longer knows the job, and it left no result"
    reason = f" ({known.reason})" if known.reason else ""
    told = ", told to end" if (folder(settings, job) / STOP).exists() else ""
    return f"Slurm job {known.id}: {known.state}{reason}, submitted {known.since}{told}"


def stop(settings: Settings, job: str, profile: Slurm) -> None:
    """Tell the step to save and end; cancel what has not after `stop_seconds`; return when Slurm has cleaned up."""
    place, name = folder(settings, job), job_name(settings, job)
    if not place.is_dir():
        return
    with _submitting(place):
        if not _ended(name, _tell, profile.stop_seconds) and not _ended(name, _cancel, profile.kill_seconds):
            raise Unavailable("the job does not stop", where=name, todo=f"`squeue --name={name}`, `scontrol show job ID`")


def submission(settings: Settings, job: str, profile: Slurm) -> commands.Submission:
    """The batch job: a function of its arguments. No secret is in it: the node's own environment file holds them."""
    place = folder(settings, job)
    options = {
        "comment": f"ratchet {job}",
        "dependency": "singleton",
        # Names of what is handed over; sbatch's default would hand over everything, secrets included.
        "export": "HOME,PATH,LANG",
        "output": str(place / LOG).replace("%", "%%"),
        "open-mode": "append",
        "chdir": profile.project or str(PROJECT),
        "nodes": str(profile.nodes),
        "ntasks-per-node": "1",
        "cpus-per-task": str(profile.cpus_per_node),
        "time": str(profile.time_limit_minutes),
        # To the batch step only, which tells the step; the ranks hear it from their agent.
        "signal": f"B:TERM@{profile.signal_seconds}",
        "partition": profile.partition,
        "account": profile.account,
        "qos": profile.qos,
        "constraint": profile.constraint,
        "mem": None if profile.memory_gb_per_node is None else f"{round(profile.memory_gb_per_node * 1024)}M",
        "gres": ":".join(filter(None, ("gpu", profile.gpu_type, str(profile.gpus_per_node)))) if profile.gpus_per_node else None,
    }
    given = tuple(f"--{key}={value}" for key, value in options.items() if value is not None)
    return commands.Submission(job_name(settings, job), (*given, "--no-requeue"), place / SCRIPT)


def script(settings: Settings, place: Path, argv: list[str], profile: Slurm) -> str:
    """What the first node runs. Every value is quoted."""
    python = profile.python or sys.executable
    lines = ["#!/bin/bash", "set -eu"]
    if profile.environment_file:
        lines += ["set -a", f". {shlex.quote(profile.environment_file)}", "set +a"]
    lines += [f"export {key}={shlex.quote(value)}" for key, value in environment(settings, profile).items()]
    # exec: signals for the batch step reach the runner itself.
    lines.append("exec " + shlex.join([python, "-m", "pipelines.compute.inside", str(place), *argv]))
    return "\n".join(lines) + "\n"


def _alive(name: str) -> list[commands.Known]:
    return [known for known in commands.look(name) if known.alive]


def _ended(name: str, end: Callable[[list[commands.Known]], None], seconds: float) -> bool:
    """Whether `end` has ended all jobs of this name within so many seconds."""
    deadline = time.monotonic() + seconds
    while alive := _alive(name):
        if time.monotonic() > deadline:
            return False
        end(alive)  # again each time: a job in the middle of its start may not hear the first
        time.sleep(0.5)
    return True


def _tell(alive: list[commands.Known]) -> None:
    """SIGTERM to the batch step alone: srun answers one by killing its tasks, which are to save first. What only waits is cancelled."""
    with suppress(Unavailable):  # it has just ended; a controller that is away shows in the next look
        commands.cancel([known.id for known in alive if known.state in commands.WAITING])
        commands.tell([known.id for known in alive if known.state == "RUNNING"])


def _cancel(alive: list[commands.Known]) -> None:
    commands.cancel([known.id for known in alive if known.state != "COMPLETING"] or [alive[0].id])


def _known(settings: Settings, job: str, profile: Slurm) -> commands.Known | None:
    """The live job of this name if there is one, else the one submitted last. Only the controller can say that a job is alive."""
    name = job_name(settings, job)
    found = commands.look(name)
    if not found and profile.accounting:
        found = commands.account(name)
    return next((known for known in found if known.alive), found[0] if found else None)


@contextmanager
def _submitting(place: Path) -> Iterator[int]:
    """Alone with the submissions of this job; a child that inherits the handle goes on being so."""
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        with locks.handle_of(place / LOCK) as lock:
            if lock is not None:
                yield lock
                return
        if time.monotonic() > deadline:
            raise Unavailable("another submission of this job hangs", where=str(place), todo="end its sbatch process")
        time.sleep(0.1)
