"""The traffic log's files: what a record holds, where segments lie, and how they are read. `log.py` writes them.

`var/traffic/<domain>/<date>T<hour>-<process>-<n>.jsonl`, and `rotated/` below it for those that are in the warehouse. A segment is open
while its writer holds the lock on it; the system lets go of it however the writer ends, so nothing has to be renamed or cleaned up after a
crash. Nobody writes to a segment that is closed.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, Field

from pipelines import locks
from pipelines.config import Settings
from pipelines.strict import Strict

Kind = Literal["traffic", "samples"]
"""The log of requests, and the questions and answers that are kept for review (`samples.py`)."""
ROTATED = "rotated"
STAMP = "%Y-%m-%dT%H"


class Finding(Strict):
    """A guard's verdict."""

    rule: str
    action: str
    score: float
    where: str


class Record(Strict):
    """One request. A field that is not here is refused when it is written: it might hold what must not be kept."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    at: datetime
    request_id: str
    conversation: str | None = None
    release: str | None = None
    prompt: str | None = Field(None, description="its prompt's version, `grounded_extraction/v1`")
    canary: bool = False
    shadow: bool = False
    status: int
    key: str | None = None
    tenant: str | None = None
    as_of: str | None = None
    latency_ms: float | None = None
    first_ms: float | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    confidence: float | None = None
    min_logprob: float | None = None
    abstained: bool | None = None
    reason: str | None = None
    sources: list[str] = Field(default_factory=list)
    cited: str | None = None
    guards: list[Finding] = Field(default_factory=list)
    judged: float | None = Field(None, description="by whatever looks at samples of live traffic: 1 right, 0 wrong")
    cache: Literal["exact", "semantic"] | None = None
    route: str | None = None
    stored: bool = Field(False, description="question and answer are kept for review, in samples.py")
    top_score: float | None = Field(None, description="of the best passage found, by the index's own measure")
    engine: str | None = None
    instance: str | None = None
    question_masked: str | None = Field(None, description="of public domains only")


FIELDS = frozenset(Record.model_fields)


def folder_of(settings: Settings, domain: str, kind: Kind = "traffic") -> Path:
    """Where a domain's segments lie."""
    return settings.var / kind / domain


def names(folder: Path, since: datetime | None = None) -> list[str]:
    """Names of all segments, also rotated ones, oldest first; without those that were closed before `since`."""
    # In this order: one that is rotated in between is in both, never in neither.
    found = {path.name for part in (folder, folder / ROTATED) for path in part.glob("*.jsonl")}
    return sorted(name for name in found if since is None or began(name) + timedelta(hours=1) >= since)


def began(name: str) -> datetime:
    """The hour in which a segment was begun, UTC; of a foreign name, the beginning of time."""
    try:
        return datetime.strptime(name[:13], STAMP).replace(tzinfo=UTC)
    except ValueError:
        return datetime.min.replace(tzinfo=UTC) + timedelta(days=1)


def is_open(path: Path) -> bool:
    """Whether a process writes to it."""
    return locks.is_held(path)


def place(folder: Path, name: str) -> Path | None:
    """Where a segment lies now; None when it was deleted."""
    # Twice: it may be moved between the two looks.
    for path in (folder / name, folder / ROTATED / name, folder / ROTATED / name):
        if path.is_file():
            return path
    return None


def lines(path: Path, start: int = 0) -> Iterator[tuple[bytes, int]]:
    """Whole lines from byte `start` on, each with the byte behind it; what a crash tore off at the end is left out."""
    with path.open("rb") as file:
        file.seek(start)
        for line in file:
            if not line.endswith(b"\n"):
                return
            start += len(line)
            yield line, start


def holding(path: Path, request_ids: Iterable[str]) -> Iterator[dict[str, Any]]:
    """The records of these requests in a segment, found without reading it line by line: of each every one, in the order of writing."""
    if not path.stat().st_size:
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for name in request_ids:
            needle, end = f'"request_id":"{name}"'.encode(), 0
            while (at := data.find(needle, end)) >= 0 and (end := data.find(b"\n", at)) >= 0:
                record = parse(data[data.rfind(b"\n", 0, at) + 1 : end])
                if record is not None and record.get("request_id") == name:
                    yield record


def parse(line: bytes) -> dict[str, Any] | None:
    """A record as it was written; None for what is none."""
    import orjson

    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return record if isinstance(record, dict) and isinstance(record.get("at"), str) else None


def moment(record: dict[str, Any]) -> datetime:
    """When it was written; the beginning of time where that cannot be read."""
    try:
        found = datetime.fromisoformat(record["at"])
    except ValueError:
        return datetime.min.replace(tzinfo=UTC)
    return found if found.tzinfo else found.replace(tzinfo=UTC)
