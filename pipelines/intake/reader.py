"""Reads delivered files in a process of its own, which a hostile file may kill or stall without harm to anything else.

One child reads all files of an arrival, one after the other, and is replaced when it dies. It has limits on memory, processor time and
writing, and none of the caller's secrets in its environment; the caller watches the clock. Requests and answers are lines of JSON.

What a file gave before its reader was stopped stands; the refusal says where it stopped. Time in which the caller was busy with a
record counts against nobody.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipelines.config import PROJECT, Sources
from pipelines.errors import Unavailable
from pipelines.intake.records import RawRecord, Refusal

Found = Iterator[RawRecord | Refusal]
_KEPT = ("PATH", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "LANG", "LC_ALL", "TZ")
_START_SECONDS = 60.0


class _Stopped(Exception):
    """The child was stopped, or stopped itself; the words say why."""


@contextlib.contextmanager
def isolated(sources: Sources) -> Iterator[Callable[[Path, str], Found]]:
    """A function of a file and the ISO date of records without one, that yields what `formats.read` would, from a child process."""
    children: list[_Child] = []

    def read(path: Path, effective: str) -> Found:
        if not children:
            children.append(_Child(sources))
        child, number, done = children[0], 0, False
        try:
            for number, found in enumerate(child.read(path, effective), 1):  # noqa: B007
                yield found
            done = True
        except _Stopped as stopped:
            yield Refusal(f"after {number} records" if number else "", str(stopped))
        finally:
            # Also when the caller goes away in the middle: what the child still has to say belongs to nobody.
            if not done:
                children.clear()
                child.stop()

    try:
        yield read
    finally:
        for child in children:
            child.stop()


class _Child:
    """One reading process and the pipe to it."""

    def __init__(self, sources: Sources) -> None:
        self._limits = sources.limits
        self._buffer = bytearray()
        environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
        # Arrow's own allocator reserves address space that it never uses.
        environment |= {"OMP_NUM_THREADS": "1", "ARROW_DEFAULT_MEMORY_POOL": "system", "PYTHONDONTWRITEBYTECODE": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "pipelines.intake.reader"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=PROJECT,
            env=environment,
        )
        self._say(sources.model_dump_json())
        try:
            # Starting Python is no file's fault: it has its own patience, and no file is refused for it.
            self._answer([_START_SECONDS])
        except _Stopped as stopped:
            self.stop()
            raise Unavailable(f"the reading process does not start: {stopped}", where="intake", todo="see limits.memory_mb") from None

    def read(self, path: Path, effective: str) -> Found:
        """Records of one file. _Stopped when the child does not live to its end."""
        self._say(json.dumps({"path": os.fsdecode(path.absolute()), "effective": effective}))
        left = [self._limits.seconds]
        while True:
            answer = self._answer(left)
            match answer["kind"]:
                case "record":
                    yield RawRecord(**{**answer["value"], "subjects": tuple(answer["value"]["subjects"])})
                case "refusal":
                    yield Refusal(**answer["value"])
                case "memory":
                    raise _Stopped(self._memory())
                case _:
                    return

    def stop(self) -> None:
        """End the child, whatever it is doing."""
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                pipe.close()  # type: ignore[union-attr]
        self._process.wait()

    def _say(self, line: str) -> None:
        stdin = self._process.stdin
        assert stdin is not None  # noqa: S101
        with contextlib.suppress(BrokenPipeError):
            # A child that is gone is noticed when its answer does not come.
            stdin.write(line.encode("utf-8", "surrogateescape") + b"\n")
            stdin.flush()

    def _answer(self, left: list[float]) -> dict[str, Any]:
        """The next line; the time it took is taken from `left`."""
        stdout = self._process.stdout
        assert stdout is not None  # noqa: S101
        # Control characters become six bytes each in JSON.
        most = int(self._limits.record_mb * 6_000_000) + 1_000_000
        searched = 0
        while (end := self._buffer.find(b"\n", searched)) < 0:
            searched = len(self._buffer)
            began = time.monotonic()
            ready, _, _ = select.select([stdout], [], [], max(0.0, left[0]))
            left[0] -= time.monotonic() - began
            if not ready:
                raise _Stopped(f"reading it takes more than {self._limits.seconds:g} s")
            chunk = os.read(stdout.fileno(), 1 << 20)
            if not chunk:
                raise _Stopped(self._obituary())
            self._buffer += chunk
            if len(self._buffer) > most:
                raise _Stopped("its reader said more than a record can be")
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _memory(self) -> str:
        return f"reading it takes more than {self._limits.memory_mb} MB of memory"

    def _obituary(self) -> str:
        code = self._process.wait()
        if code == -signal.SIGXCPU:
            return f"reading it takes more than {self._limits.seconds:g} s"
        if code == -signal.SIGKILL:
            return "its reader was killed, most likely for memory"
        return f"its reader crashed on it ({signal.Signals(-code).name if code < 0 else f'exit {code}'})"


def main() -> None:
    """The child: limits first, then one file after another, until there is no more to read."""
    out = sys.stdout.buffer
    sources = Sources.model_validate_json(sys.stdin.buffer.readline())
    from pipelines.intake import formats

    _limit(resource.RLIMIT_AS, sources.limits.memory_mb * 1_000_000)
    _limit(resource.RLIMIT_FSIZE, 0)
    _limit(resource.RLIMIT_CORE, 0)

    def say(kind: str, value: RawRecord | Refusal | None = None) -> None:
        # Escaped to ASCII: a lone surrogate must not end the conversation.
        out.write(json.dumps({"kind": kind, "value": asdict(value) if value is not None else None}).encode() + b"\n")

    say("ready")
    out.flush()
    for line in sys.stdin.buffer:
        request = json.loads(line.decode("utf-8", "surrogateescape"))
        usage = resource.getrusage(resource.RUSAGE_SELF)
        # One second more than the clock allows: where both run out, the clock's words are the better ones.
        _limit(resource.RLIMIT_CPU, int(usage.ru_utime + usage.ru_stime + sources.limits.seconds) + 2, for_good=False)
        try:
            for found in formats.read(Path(request["path"]), sources, effective=request["effective"], where=""):
                say("record" if isinstance(found, RawRecord) else "refusal", found)
        except MemoryError:
            say("memory")
            out.flush()
            return
        say("end")
        out.flush()


def _limit(kind: int, value: int, *, for_good: bool = True) -> None:
    """Set a limit, at most what the host allows; for good unless it has to grow with the next file."""
    _, hard = resource.getrlimit(kind)
    most = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (most, most if for_good else hard))


if __name__ == "__main__":
    main()
