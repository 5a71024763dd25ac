"""Rotation of the traffic log: closed segments become rows of the warehouse's table, once, and are kept beside it for some days.

A segment goes: rows committed with its name and hash; moved to `rotated/`; deleted. A crash between any two is finished by the next run,
which knows from the table what is in it. Lines that are no records are told in `rotated/<segment>.bad` with their reasons, of a public
domain with their text; lines, rows and bad ones always add up, or nothing is committed.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pipelines import locks
from pipelines.config import Settings, domain_names, load_domain
from pipelines.errors import Conflict, NotFound, RatchetError
from pipelines.manifest import sha256_file
from pipelines.traffic import log as traffic
from pipelines.traffic import segments
from pipelines.writing import write_private

KEEP_DAYS = 7
_CHUNK = 5_000
_ROWS_PER_COMMIT = 200_000


@dataclass(slots=True)
class _Read:
    """What a closed segment holds."""

    rows: list[Any] = field(default_factory=list)
    """Arrow tables."""
    count: int = 0
    lines: int = 0
    bad: list[dict[str, Any]] = field(default_factory=list)


def rotate(settings: Settings, domain: str, keep_days: int = KEEP_DAYS) -> dict[str, Any]:
    """Put a domain's closed segments into the warehouse; returns counts: segments, lines, rows, bad, finished, deleted.

    `finished`: segments that were in already, from a run that was cut off, or under another name. Conflict when a segment was changed
    after it went in.
    """
    questions = load_domain(domain, settings).privacy.profile == "public"
    folder = segments.folder_of(settings, domain)
    told = {"domain": domain, "segments": 0, "lines": 0, "rows": 0, "bad": 0, "finished": 0, "deleted": 0}
    if not folder.is_dir():
        return told
    (folder / segments.ROTATED).mkdir(exist_ok=True, mode=0o700)
    with locks.alone(folder / ".rotation.lock"):
        closed = [path for path in sorted(folder.glob("*.jsonl")) if not segments.is_open(path)]
        if closed:
            _into_warehouse(settings, domain, closed, told, questions=questions)
        told["deleted"] = _delete_old(folder / segments.ROTATED, keep_days)
    return told


def rotate_all(settings: Settings, keep_days: int = KEEP_DAYS) -> list[dict[str, Any]]:
    """`rotate` for every domain that has a file and traffic."""
    names = [name for name in domain_names(settings) if segments.folder_of(settings, name).is_dir()]
    return [rotate(settings, name, keep_days) for name in names]


def last(settings: Settings, domain: str, count: int) -> list[dict[str, Any]]:
    """The newest `count` records, oldest first. NotFound for no such domain."""
    if domain not in domain_names(settings) and not segments.folder_of(settings, domain).is_dir():
        raise NotFound(f"there is no domain {domain!r}", todo=f"known domains: {', '.join(domain_names(settings)) or 'none'}")
    return list(deque(traffic.read(settings, domain), maxlen=count))


def _into_warehouse(settings: Settings, domain: str, closed: list[Path], told: dict[str, Any], *, questions: bool) -> None:
    from pipelines.corpus import traffic_table

    table = traffic_table.open_or_create(settings, domain, questions=questions)
    known = traffic_table.held(table)
    taken = set(known.values())
    waiting: dict[Path, tuple[str, _Read]] = {}
    for path in closed:
        digest = sha256_file(path)
        held = known.get(path.name)
        # Some bytes: two segments without a line are not a repeated one.
        if held is not None or (path.stat().st_size and digest in taken):
            if held not in (None, digest):
                todo = "compare it with the table's rows of this segment, and move it away by hand"
                raise Conflict("the segment was changed after it went into the warehouse", where=str(path), todo=todo)
            _move(path)
            told["finished"] += 1
            continue
        taken.add(digest)
        waiting[path] = (digest, _read(path, questions=questions))
        if sum(read.count for _, read in waiting.values()) >= _ROWS_PER_COMMIT:
            _commit(table, waiting, told)
            waiting = {}
    if waiting:
        _commit(table, waiting, told)
    traffic_table.forget_old(table)


def _read(path: Path, *, questions: bool) -> _Read:
    from pipelines.corpus import traffic_table

    found, chunk = _Read(), []
    for number, line in _all_lines(path):
        found.lines += 1
        record, reason = _checked(line, questions=questions)
        if record is None:
            said = {"line": number, "reason": reason, "bytes": len(line)}
            found.bad.append(said | ({"text": line.decode("utf-8", "replace").rstrip("\n")} if questions else {}))
            continue
        chunk.append(record | {"segment": path.name})
        found.count += 1
        if len(chunk) == _CHUNK:
            found.rows.append(traffic_table.to_arrow(chunk, questions=questions))
            chunk = []
    found.rows.append(traffic_table.to_arrow(chunk, questions=questions))
    return found


def _all_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    with path.open("rb") as file:
        yield from enumerate(file, 1)


def _checked(line: bytes, *, questions: bool) -> tuple[dict[str, Any] | None, str]:
    """The record, or None and why not. Reasons name fields, never values."""
    if not line.endswith(b"\n"):
        return None, "torn by a crash before it was acknowledged"
    try:
        record = segments.Record.model_validate_json(line)
    except ValidationError as error:
        faults = error.errors(include_input=False, include_url=False, include_context=False)
        return None, "; ".join(f"{'.'.join(map(str, one['loc'])) or 'line'}: {one['type']}" for one in faults)
    if record.question_masked is not None and not questions:
        return None, "question_masked: the domain is not public"
    at = record.at if record.at.tzinfo else record.at.replace(tzinfo=UTC)
    # The record's own fields, not a dump of them: that takes as long as checking them.
    return record.__dict__ | {"at": at, "guards": [one.__dict__ for one in record.guards]}, ""


def _commit(table: Any, waiting: dict[Path, tuple[str, _Read]], told: dict[str, Any]) -> None:
    import pyarrow as pa

    from pipelines.corpus import traffic_table

    reads = {path: read for path, (_, read) in waiting.items()}
    rows = pa.concat_tables([one for read in reads.values() for one in read.rows])
    if any(read.lines != read.count + len(read.bad) for read in reads.values()) or len(rows) != sum(read.count for read in reads.values()):
        raise RatchetError("lines and rows do not add up", where=", ".join(path.name for path in waiting), todo="nothing was committed")
    for path, read in reads.items():
        if read.bad:
            text = "".join(json.dumps(one) + "\n" for one in read.bad)
            write_private(path.parent / segments.ROTATED / f"{path.stem}.bad", text)
    added = traffic_table.append(table, rows, {path.name: digest for path, (digest, _) in waiting.items()})
    if added != len(rows):
        raise RatchetError(f"the warehouse counts {added} rows of {len(rows)}", where=table.name()[-1], todo="do not move these segments")
    for path in waiting:
        _move(path)
    told["segments"] += len(waiting)
    told["lines"] += sum(read.lines for read in reads.values())
    told["rows"] += len(rows)
    told["bad"] += sum(len(read.bad) for read in reads.values())


def _move(path: Path) -> None:
    path.rename(path.parent / segments.ROTATED / path.name)


def _delete_old(folder: Path, keep_days: int) -> int:
    """Delete rotated segments whose hour is more than so many days ago, and what was told of their bad lines."""
    before, gone = datetime.now(UTC) - timedelta(days=keep_days), 0
    for path in folder.glob("*.jsonl"):
        if segments.began(path.name) < before:
            path.with_suffix(".bad").unlink(missing_ok=True)
            path.unlink()
            gone += 1
    return gone
