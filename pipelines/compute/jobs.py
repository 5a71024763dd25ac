"""A heavy step as a job, wherever its profile runs it: start, poll, result, stop. Who calls this need not know where that is.

A job is known by its name alone and remembers the profile it was started with, so a profile that is changed meanwhile, a caller that was
killed and an answer that was lost all find the same job again. `done` means its result is there, whatever a scheduler says.
"""

from __future__ import annotations

import json
from typing import Any, Protocol

from pipelines.compute import kubernetes, local, slurm
from pipelines.compute.files import ALIVE, RESULT, STOP, State, folder, log_from, log_size, log_tail, result
from pipelines.compute_config import KINDS, Local, Profile
from pipelines.config import Settings
from pipelines.errors import RatchetError
from pipelines.writing import write_json

__all__ = [
    "ALIVE", "State", "ask_to_stop", "elsewhere", "folder", "log_from", "log_size", "log_tail", "note", "poll", "profile_of", "result",
    "start", "stop",
]  # fmt: skip


class Kind(Protocol):
    """What a kind of compute can do with a job of ours; each of its modules is one."""

    def start(self, settings: Settings, job: str, argv: list[str], profile: Any, /) -> None:
        """Run `python ARGV` unless this job is alive or done. Safe to repeat, also after being killed anywhere within."""

    def poll(self, settings: Settings, job: str, profile: Any, /) -> State:
        """Where the job stands. Unavailable when the scheduler does not answer: that is not `lost`."""

    def note(self, settings: Settings, job: str, profile: Any, /) -> str:
        """What a queued job waits for and since when, or what became of a lost one. May be empty."""

    def stop(self, settings: Settings, job: str, profile: Any, /) -> None:
        """End the job and return when it has ended. Unavailable when it does not."""


_KINDS: dict[str, Kind] = {"local": local, "slurm": slurm, "kubernetes": kubernetes}


def profile_of(settings: Settings, job: str) -> Profile:
    """The profile a job was started with."""
    path = folder(settings, job) / "profile.json"
    if not path.exists():
        return Local()
    values = json.loads(path.read_text(encoding="utf-8"))
    return KINDS[values["kind"]].model_validate(values)


def start(settings: Settings, job: str, argv: list[str], profile: Profile) -> None:
    """Run `python ARGV` under `profile`, unless this job is alive or done already. A lost one starts again, and may do so elsewhere."""
    if poll(settings, job) in ("absent", "lost"):
        place = folder(settings, job)
        place.mkdir(parents=True, exist_ok=True)
        write_json(place / "profile.json", profile.model_dump(mode="json"))
        _KINDS[profile.kind].start(settings, job, argv, profile)


def poll(settings: Settings, job: str) -> State:
    """`queued` and `running` are alive; `lost` was alive and left no result; `done` has a result."""
    profile = profile_of(settings, job)
    return _KINDS[profile.kind].poll(settings, job, profile)


def note(settings: Settings, job: str) -> str:
    """What a queued job waits for and since when, or what became of a lost one."""
    profile = profile_of(settings, job)
    return _KINDS[profile.kind].note(settings, job, profile)


def stop(settings: Settings, job: str) -> None:
    """End a job, and return when it has ended: a retry must not attach to a dying one."""
    ask_to_stop(settings, job)
    profile = profile_of(settings, job)
    _KINDS[profile.kind].stop(settings, job, profile)


def ask_to_stop(settings: Settings, job: str) -> None:
    """Leave word that the job is to end: at once, even while it is being submitted. One that has not come to its node ends there."""
    place = folder(settings, job)
    if place.is_dir():
        (place / STOP).touch()


def elsewhere(settings: Settings) -> list[str]:
    """Jobs that wait or run on a cluster, each with what its scheduler says; one that does not answer is quoted."""
    root, found = settings.var / "jobs", []
    for path in sorted(root.rglob("profile.json")):
        job = path.parent.relative_to(root).as_posix()
        if (path.parent / RESULT).exists() or profile_of(settings, job).kind == "local":
            continue
        try:
            if poll(settings, job) in ALIVE:
                found.append(f"{job}: {note(settings, job)}")
        except RatchetError as error:
            found.append(f"{job}: {error}")
    return found
