"""What every kind of job leaves in its folder `var/jobs/<job>/`: log, result, and the profile it was started with.

The result is renamed into place, and is the only word on how a job ended: a scheduler knows that a process is gone, not what it made.
"""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pipelines.errors import BadInput, Unavailable
from pipelines.writing import write_json

if TYPE_CHECKING:  # the wrapper of every job imports this: it must start at once
    from pipelines.config import Settings

State = Literal["absent", "queued", "running", "lost", "done"]
ALIVE = ("queued", "running")
LOG, RESULT = "log.txt", "result.json"
STOP = "stop"
"""Left by whoever stops a job: should it only now come to its node, it ends there before its step begins."""


def folder(settings: Settings, job: str) -> Path:
    """Where a job keeps its files. `job` is made of letters, digits, `.`, `_`, `-`, and `/` between parts."""
    if not re.fullmatch(r"[A-Za-z0-9_.+:-]+(/[A-Za-z0-9_.+:-]+)*", job) or ".." in job:
        raise BadInput(f"not a job name: {job!r}")
    return settings.var / "jobs" / job


def result(settings: Settings, job: str) -> dict[str, Any]:
    """`{"rc": int, "output": ..., "error": str | None}` of a finished job."""
    path = folder(settings, job) / RESULT
    if not path.exists():
        raise Unavailable("the job has no result", where=job, todo="clear the task: it starts again and resumes")
    value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return value


def leave_result(place: Path, code: int) -> None:
    """`result.json` of a step that ended with `code`, from what the step itself left in `output.json` and `error.txt`."""
    output, error = place / "output.json", place / "error.txt"
    said = error.read_text(encoding="utf-8").strip() if error.exists() else None
    if code != 0 and not said:
        said = f"the step's process ended by signal {-code}" if code < 0 else f"the step's process ended with {code}"
    made = json.loads(output.read_text(encoding="utf-8")) if output.exists() else None
    write_json(place / RESULT, {"rc": code, "output": made, "error": said})


def begin(place: Path) -> None:
    """Another try is about to be submitted: what was said of the last one's end no longer holds."""
    for name in ("ended", STOP):
        (place / name).unlink(missing_ok=True)


def clean(place: Path) -> None:
    """Remove what an earlier try left for its result."""
    for name in ("output.json", "error.txt"):
        (place / name).unlink(missing_ok=True)


def settled(place: Path, seconds: float) -> bool:
    """Whether the job has been seen ended for so long that its result would be visible here."""
    mark = place / "ended"
    if not mark.exists():
        mark.touch()
    return time.time() - mark.stat().st_mtime > seconds


def log_tail(settings: Settings, job: str, lines: int = 60) -> str:
    """The last lines of a job's log."""
    return "\n".join(log_from(settings, job, -256 * 1024)[0].splitlines()[-lines:])


def log_size(settings: Settings, job: str) -> int:
    """Bytes written to a job's log so far."""
    path = folder(settings, job) / LOG
    return path.stat().st_size if path.exists() else 0


def log_from(settings: Settings, job: str, offset: int) -> tuple[str, int]:
    """(whole lines written since `offset`, the offset to go on from); a negative offset counts from the end."""
    path = folder(settings, job) / LOG
    if not path.exists():
        return "", max(offset, 0)
    with path.open("rb") as log:
        size = log.seek(0, 2)
        at = max(size + offset, 0) if offset < 0 else min(offset, size)
        log.seek(at)
        written = log.read()
    # Of a running job the last line may be half written; it comes whole with the next look.
    whole = written if offset < 0 else written[: written.rfind(b"\n") + 1]
    return whole.decode("utf-8", errors="replace"), at + len(whole)
