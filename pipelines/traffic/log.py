"""The traffic log: one JSON line per request of a domain, on disk before the request is answered.

One thread writes for all requests of the process: it takes whatever waits, writes it at once, and tells those who wait when the disk has
it. An idle process so waits for one flush, and a busy one shares flushes among its requests. Every process has segments of its own
(`segments.py`). A segment that could not be written to is cut back to its last whole line and left; the next line begins a new one.

The question is kept only where the domain is public, and then masked. What somebody asks of a domain with patients in it is not written.
"""

from __future__ import annotations

import asyncio
import fcntl
import heapq
import os
import secrets
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipelines.config import Settings
from pipelines.errors import RatchetError, Unavailable
from pipelines.traffic import segments

SEGMENT_BYTES = 64 * 1024 * 1024
BACKLOG_BYTES = 16 * 1024 * 1024
"""Lines that may wait for the disk; beyond it requests are refused rather than memory filled."""
LINE_BYTES = 256 * 1024
_LOOK_SECONDS = 30.0
"""How often an idle writer looks whether a segment's hour is over."""

_Waiting = tuple[str, bytes, asyncio.AbstractEventLoop, "asyncio.Future[None]"]


class TrafficLog:
    """The writer of one process. `durable=False` leaves out the flush to disk: what the operating system holds survives a crash of the
    process, not one of the machine."""

    def __init__(
        self, settings: Settings, *, durable: bool = True, segment_bytes: int = SEGMENT_BYTES, kind: segments.Kind = "traffic"
    ) -> None:
        self._settings, self._durable, self._segment_bytes, self._kind = settings, durable, segment_bytes, kind
        self._process = f"{os.getpid()}-{secrets.token_hex(3)}"
        self._number = 0
        self._segments: dict[str, _Segment] = {}
        self._ready = threading.Condition()
        self._waiting: list[_Waiting] = []
        self._waiting_bytes = 0
        self._closing = False
        self._thread: threading.Thread | None = None

    async def write(self, domain: str, record: dict[str, Any]) -> None:
        """Append one record, stamped `at` the present time unless it says one; returns when it is on disk.

        RatchetError for a field that `segments.Record` does not have. Unavailable when it could not be written: then it is not there.
        """
        import orjson

        if self._kind == "traffic" and not record.keys() <= segments.FIELDS:
            unknown = ", ".join(sorted(record.keys() - segments.FIELDS))
            raise RatchetError(f"the traffic log has no field {unknown}", where=domain, todo="declare it in segments.Record")
        line = orjson.dumps({"at": datetime.now(UTC).isoformat(timespec="milliseconds")} | record) + b"\n"
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        with self._ready:
            if self._closing or len(line) > LINE_BYTES or self._waiting_bytes + len(line) > BACKLOG_BYTES:
                raise Unavailable("the traffic log takes no more now", where=domain, todo="see the disk that holds var/traffic")
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="traffic-log", daemon=True)
                self._thread.start()
            self._waiting.append((domain, line, loop, future))
            self._waiting_bytes += len(line)
            self._ready.notify()
        await future

    @property
    def waiting(self) -> int:
        """Lines that are not on disk yet."""
        return len(self._waiting)

    def close(self) -> None:
        """Write what waits, and close the segments. Blocking, for as long as the disk takes."""
        with self._ready:
            self._closing = True
            self._ready.notify()
        if self._thread is not None:
            self._thread.join()

    # --- the thread ---------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            with self._ready:
                if not self._waiting and not self._closing:
                    self._ready.wait(_LOOK_SECONDS)
                batch, self._waiting, self._waiting_bytes = self._waiting, [], 0
                closing = self._closing
            self._close_old()
            if batch:
                self._write(batch)
            if closing and not batch:
                break
        for segment in self._segments.values():
            segment.close()
        self._segments.clear()

    def _write(self, batch: list[_Waiting]) -> None:
        by_domain: dict[str, list[_Waiting]] = {}
        for one in batch:
            by_domain.setdefault(one[0], []).append(one)
        for domain, waiting in by_domain.items():
            failed = None
            try:
                self._append(domain, b"".join(one[1] for one in waiting))
            except OSError as error:
                todo = "make room, or mend the disk that holds var/traffic"
                failed = Unavailable(f"the traffic log cannot be written ({error.strerror or error})", where=domain, todo=todo)
            by_loop: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
            for _, _, loop, future in waiting:
                by_loop.setdefault(loop, []).append(future)
            for loop, futures in by_loop.items():
                with suppress(RuntimeError):  # the loop has ended, and with it who waited
                    loop.call_soon_threadsafe(_settle, futures, failed)

    def _append(self, domain: str, data: bytes) -> None:
        segment = self._segments.get(domain)
        if segment is None:
            self._number += 1
            name = f"{datetime.now(UTC).strftime(segments.STAMP)}-{self._process}-{self._number}.jsonl"
            segment = self._segments[domain] = _Segment(
                segments.folder_of(self._settings, domain, self._kind) / name, durable=self._durable
            )
        try:
            segment.append(data)
        except BaseException:
            del self._segments[domain]
            segment.abandon()
            raise

    def _close_old(self) -> None:
        hour = datetime.now(UTC).strftime(segments.STAMP)
        for domain, segment in list(self._segments.items()):
            if segment.size >= self._segment_bytes or not segment.path.name.startswith(hour):
                segment.close()
                del self._segments[domain]


class _Segment:
    """An open file, locked from before it has its name until it is closed."""

    def __init__(self, path: Path, *, durable: bool) -> None:
        self.path, self.size, self._durable = path, 0, durable
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        unnamed = path.with_name(f".{path.name}")
        self._handle = os.open(unnamed, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            unnamed.rename(path)
            if durable:
                for folder in (path.parent, path.parent.parent):  # a file whose name is lost is lost
                    _flush_folder(folder)
        except BaseException:
            os.close(self._handle)
            unnamed.unlink(missing_ok=True)
            raise

    def append(self, data: bytes) -> None:
        """All of it, on disk. OSError otherwise; then the segment is to be abandoned."""
        left = memoryview(data)
        while left:
            left = left[os.write(self._handle, left) :]
        if self._durable:
            os.fdatasync(self._handle)
        self.size += len(data)

    def abandon(self) -> None:
        """Cut off what nobody was told is there, and close. A reader may have seen it: so nothing is ever written in its place."""
        with suppress(OSError):
            os.ftruncate(self._handle, self.size)
        if not self.size:
            self.path.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Let go of the lock."""
        os.close(self._handle)


def _flush_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _settle(futures: list[asyncio.Future[None]], failed: Unavailable | None) -> None:
    for future in futures:
        if not future.done():
            if failed is None:
                future.set_result(None)
            else:
                future.set_exception(Unavailable(failed.what, where=failed.where, todo=failed.todo))


# --- reading ----------------------------------------------------------------------------------------------------------


def read(
    settings: Settings, domain: str, since: datetime | None = None, until: datetime | None = None, *, kind: segments.Kind = "traffic"
) -> Iterator[dict[str, Any]]:
    """Records written from `since` until before `until`, in the order of their time, of all processes, also rotated ones.

    What a crash tore, and lines that are no records, are left out; rotation accounts for them.
    """
    folder = segments.folder_of(settings, domain, kind)
    parts = [_records(path) for name in segments.names(folder, since) if (path := segments.place(folder, name)) is not None]
    for at, record in heapq.merge(*parts, key=lambda one: one[0]):
        if (since is None or at >= since) and (until is None or at < until):
            yield record


def find(settings: Settings, domain: str, request_id: str) -> dict[str, Any] | None:
    """What a request was answered with: its last record that no shadow wrote, for a canary that failed has one before it. None where it is
    not on this host's disk any more."""
    folder = segments.folder_of(settings, domain)
    for name in reversed(segments.names(folder)):
        path = segments.place(folder, name)
        found = [one for one in segments.holding(path, [request_id]) if not one.get("shadow")] if path is not None else []
        if found:
            return found[-1]
    return None


def _records(path: Path) -> Iterator[tuple[datetime, dict[str, Any]]]:
    with suppress(FileNotFoundError):
        for line, _ in segments.lines(path):
            if (record := segments.parse(line)) is not None:
                yield segments.moment(record), record


class Tail:
    """What was written since the last look, cheaply: only bytes that are new are read.

    `offsets`, by segment, may be kept and given again: then it goes on where it was. `skipped` counts lines that are no records.
    """

    def __init__(self, settings: Settings, domain: str, *, since: datetime | None = None, offsets: dict[str, int] | None = None) -> None:
        self._folder, self._since = segments.folder_of(settings, domain), since
        self.offsets: dict[str, int] = dict(offsets or {})
        self.skipped = 0
        self._done: set[str] = set()

    def new(self) -> Iterator[dict[str, Any]]:
        """Records that were not given before, segment by segment."""
        for name in segments.names(self._folder, self._since):
            if name in self._done:
                continue
            path = segments.place(self._folder, name)
            if path is None:
                self._done.add(name)
                continue
            # Looked at before it is read: what is rotated now gets no more lines.
            whole = path.parent.name == segments.ROTATED
            with suppress(FileNotFoundError):
                for line, end in segments.lines(path, self.offsets.get(name, 0)):
                    self.offsets[name] = end
                    record = segments.parse(line)
                    if record is None:
                        self.skipped += 1
                    elif self._since is None or segments.moment(record) >= self._since:
                        yield record
                if whole:
                    self._done.add(name)
