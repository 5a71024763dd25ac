"""A delivered file as a stream, wherever it lies: in the landing zone, in an archive, inside another document; and what it has cost."""

from __future__ import annotations

import codecs
import io
import os
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from pipelines.config import Limits, Sources
from pipelines.intake.records import RawRecord, Refusal

Found = Iterator[RawRecord | Refusal]
MB = 1_000_000
MAX_KEY = 160
_CHUNK = 65_536


class Bad(Exception):
    """A refusal on its way up: place inside the file, reason."""

    def __init__(self, place: str, reason: str) -> None:
        self.refusal = Refusal(place, reason)
        super().__init__(reason)


def _alone(name: str) -> File | None:  # noqa: ARG001
    return None


@dataclass(frozen=True, slots=True)
class File:
    """One file to be read. Its name may hold an identifier and is never said."""

    name: str
    size: int | None
    """Bytes, where that is known before reading."""
    open: Callable[[], BinaryIO]
    beside: Callable[[str], File | None] = _alone
    """The file of another name in the same place."""

    @property
    def suffix(self) -> str:
        """Lower case, `.tar.gz` as one."""
        return ".tar.gz" if self.name.lower().endswith(".tar.gz") else PurePosixPath(self.name).suffix.lower()

    @property
    def stem(self) -> str:
        """The name without its suffix."""
        return self.name[: -len(self.suffix)] if self.suffix else self.name


@dataclass(slots=True)
class Spent:
    """What one delivered file has cost so far, its archives' members together."""

    members: int = 0
    expanded: int = 0
    """Bytes that came out of decompression."""


@dataclass(frozen=True, slots=True)
class Job:
    """How a file is to be read."""

    sources: Sources
    effective: str
    """ISO date of records that have none of their own."""
    inner: Callable[[File, Job], Found]
    """Reads a file that was found inside another."""
    spent: Spent = field(default_factory=Spent)
    archives: int = 0
    """Archives around this file."""

    @property
    def limits(self) -> Limits:
        """The domain's limits."""
        return self.sources.limits

    def deeper(self) -> Job:
        """The job for members of an archive."""
        return replace(self, archives=self.archives + 1)


def on_disk(path: Path) -> File:
    """A plain file; Bad for a link, a folder, a pipe or a device."""

    def open_() -> BinaryIO:
        try:
            # Without O_NONBLOCK a named pipe would wait for a writer for ever.
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            raise Bad("", "not a plain file that can be opened") from None
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise Bad("", "not a plain file")
        return os.fdopen(handle, "rb")

    def beside(name: str) -> File | None:
        other = path.with_name(name)
        return on_disk(other) if other.is_file() and not other.is_symlink() else None

    with open_() as file:
        size = os.fstat(file.fileno()).st_size
    return File(path.name, size, open_, beside)


def in_memory(name: str, data: bytes, beside: Callable[[str], File | None] = _alone) -> File:
    """A file whose bytes are here already."""
    return File(name, len(data), lambda: io.BytesIO(data), beside)


def require_size(file: File, job: Job) -> None:
    """Bad when the file is said to be larger than the domain takes."""
    if file.size is not None and file.size > job.sources.max_file_mb * MB:
        raise Bad("", f"larger than {job.sources.max_file_mb:g} MB")


def load(file: File, job: Job) -> bytes:
    """All bytes. Bad when they are too many."""
    require_size(file, job)
    limit = int(job.sources.max_file_mb * MB)
    with file.open() as stream:
        data = stream.read(limit + 1)
    if len(data) > limit:
        raise Bad("", f"larger than {job.sources.max_file_mb:g} MB")
    return data


def seekable(file: File, job: Job) -> BinaryIO:
    """A stream that can go back: the file itself, or its bytes in memory where it has to be decompressed."""
    require_size(file, job)
    stream = file.open()
    if stream.seekable():
        return stream
    stream.close()
    return io.BytesIO(load(file, job))


def texts(file: File, job: Job, encoding: str = "") -> Iterator[str]:
    """The text in pieces, decoded as given or as the domain says. Bad at the first byte that is no text."""
    name = encoding or job.sources.encoding
    decoder = codecs.getincrementaldecoder(name)()
    limit, done, first = int(job.sources.max_file_mb * MB), 0, True
    with file.open() as stream:
        while True:
            chunk = stream.read(_CHUNK)
            waiting = len(decoder.getstate()[0])
            try:
                text = decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                raise Bad(f"byte {done - waiting + error.start}", f"not {name.upper()}: {_HINT[name == 'utf-8']}") from None
            done += len(chunk)
            if done > limit:
                raise Bad("", f"larger than {job.sources.max_file_mb:g} MB")
            if first and text:
                text, first = text.removeprefix("\ufeff"), False
            if "\0" in text:
                raise Bad("", "holds a NUL character: not a text file")
            if text:
                yield text
            if not chunk:
                return


_HINT = {True: "convert it, or name its encoding in the domain file", False: "the domain file names this encoding"}


def whole_text(file: File, job: Job, encoding: str = "") -> str:
    """All text of a file, which must hold some."""
    require_size(file, job)
    text = "".join(texts(file, job, encoding))
    if not text.strip():
        raise Bad("", "the file is empty")
    return text


_ANY_END = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
_NEWLINE = re.compile(r"[^\n]*\n|[^\n]+")


def lines(file: File, job: Job, encoding: str = "", *, newline_only: bool = False) -> Iterator[str | None]:
    """Lines with their ends, one at a time; None stands for one that is longer than a record may be."""
    # Not splitlines(): U+2028 and its like are lawful inside JSON and CSV.
    shape, ends = (_NEWLINE, ("\n",)) if newline_only else (_ANY_END, ("\n", "\r"))
    limit = int(2 * job.limits.record_mb * MB)
    parts: list[str] = []
    size, carry = 0, ""
    for chunk in texts(file, job, encoding):
        chunk, carry = carry + chunk, ""
        if chunk.endswith("\r"):
            chunk, carry = chunk[:-1], "\r"
        for match in shape.finditer(chunk):
            piece = match.group()
            size += len(piece)
            if size <= limit:
                parts.append(piece)
            if piece.endswith(ends):
                yield "".join(parts) if size <= limit else None
                parts, size = [], 0
    if parts or carry:
        yield "".join([*parts, carry]) if size <= limit else None
