"""The calls by which the Airflow host reaches Slurm: submit, look, account, tell, cancel."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

from pipelines.errors import BadInput, Unavailable

SECONDS = 60
"""Slurm's own commands give up after ten seconds a message and try again; beyond this they hang."""

WAITING = {"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "RESV_DEL_HOLD", "SPECIAL_EXIT"}
ENDED = {"BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "TIMEOUT"}

# What a person must mend: the same submission would be refused again.
_REFUSED = re.compile(
    r"invalid|not available|not permitted|violates|exceed|too large|cannot be satisfied|can not be satisfied|unable to open file",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Known:
    """A job as Slurm shows it."""

    id: str
    state: str
    reason: str
    since: str
    """When it was submitted: local time of the cluster, ISO."""
    alive: bool
    """Waits, runs, or is not yet cleaned up."""


@dataclass(frozen=True, slots=True)
class Submission:
    """What sbatch is given. The options are arguments of their own: no shell reads them."""

    name: str
    options: tuple[str, ...]
    script: Path


def submit(submission: Submission, lock: int) -> str:
    """The id of a new job. `lock` is inherited: while sbatch lives, also as an orphan, its caller's lock is held.

    BadInput when Slurm refuses the job for good, Unavailable otherwise: then the job may exist nevertheless.
    """
    options = ["--parsable", f"--job-name={submission.name}", *submission.options]
    return _call("sbatch", *options, str(submission.script), lock=lock).strip().split(";")[0]


def look(name: str) -> list[Known]:
    """Jobs of this name that the controller knows, newest first: the live ones, and ended ones for `MinJobAge` (five minutes)."""
    form = "--format=%i|%T|%r|%V"
    return _parsed(_call("squeue", "--noheader", "--states=all", f"--user={os.getuid()}", f"--name={name}", form))


def account(name: str) -> list[Known]:
    """Jobs of this name that slurmdbd remembers from the last 30 days, newest first. None is alive: of a job whose end it was not told,
    slurmdbd says RUNNING for ever."""
    form = "--format=JobIDRaw,State,Reason,Submit"
    found = _parsed(_call("sacct", "--noheader", "--allocations", "--parsable2", "--starttime=now-30days", f"--name={name}", form))
    runaway = "its end is not on record: `sacctmgr show runawayjobs`"
    return [replace(job, alive=False, reason=runaway) if job.alive else job for job in found]


def tell(ids: list[str]) -> None:
    """SIGTERM to the first process of each job, which alone knows how to end it well. It must run."""
    if ids:
        _call("scancel", "--batch", "--signal=TERM", *ids)


def cancel(ids: list[str]) -> None:
    """SIGTERM to every process of the jobs, SIGKILL after the site's KillWait. Returns before they have ended."""
    if ids:
        _call("scancel", *ids)


def _parsed(lines: str) -> list[Known]:
    found = []
    for line in lines.splitlines():
        fields = line.strip().split("|")
        if len(fields) == 4:
            number, words, reason, since = fields
            state = words.split()[0].rstrip("+")  # "CANCELLED by 0"
            found.append(Known(number, state, "" if reason == "None" else reason, since, alive=state not in ENDED))
    return sorted(found, key=lambda job: int(re.sub(r"\D.*", "", job.id) or 0), reverse=True)


def _call(command: str, *options: str, lock: int | None = None, tries: int = 3) -> str:
    try:
        done = subprocess.run(
            [command, *options],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            pass_fds=() if lock is None else (lock,),
        )
    except FileNotFoundError:
        raise BadInput(
            f"there is no {command} on this host", where="compute", todo="install Slurm's client, or name another profile"
        ) from None
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{command} does not answer within {SECONDS} s", where="slurm", todo="`scontrol ping`") from None
    if done.returncode < 0 and command != "sbatch" and tries > 1:
        return _call(command, *options, tries=tries - 1)  # squeue dies of SIGPIPE when a busy controller closes on it
    if done.returncode != 0:
        said = " ".join((done.stderr.strip().splitlines() or [f"{command} ended with {done.returncode}"])[-1].split())
        if command == "sbatch" and _REFUSED.search(said):
            raise BadInput(said, where="slurm", todo="mend the profile in configs/compute/")
        raise Unavailable(said, where="slurm", todo="`scontrol ping`, then try again")
    return done.stdout
