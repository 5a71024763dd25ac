"""zip and tar: every member read like a file of its own, nothing unpacked to disk, every byte out of decompression counted.

A member's place is its number: its name may hold an identifier. Its key and date come from its own name without the folders around it,
as if it lay loose. Members that point out of the archive, links, devices, encrypted and hidden ones are refused one by one.
"""

from __future__ import annotations

import gzip
import io
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, BinaryIO, Self, cast

from pipelines.intake.formats.documents import placed
from pipelines.intake.formats.files import MB, Bad, File, Found, Job, in_memory, load, seekable
from pipelines.intake.records import Refusal

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_DAMAGED = (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError, ValueError)


class Metered(io.RawIOBase):
    """What comes out of decompression, counted. Bad beyond the limits, and for damage."""

    def __init__(self, inner: BinaryIO, job: Job, compressed: Callable[[], int]) -> None:
        self._inner, self._job, self._compressed, self._count = inner, job, compressed, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer)
        try:
            data = self._inner.read(len(view))
        except _DAMAGED:
            raise Bad("", "damaged or cut short inside the archive") from None
        view[: len(data)] = data
        limits, spent = self._job.limits, self._job.spent
        self._count += len(data)
        spent.expanded += len(data)
        if spent.expanded > limits.expanded_mb * MB:
            raise Bad("", f"the archive decompresses to more than {limits.expanded_mb:g} MB: the rest is not read")
        if self._count > MB and self._count > limits.expansion_ratio * max(1, self._compressed()):
            raise Bad("", f"decompresses to more than {limits.expansion_ratio:g} times its size")
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._inner.close()
        super().close()


def read_zip(file: File, job: Job) -> Found:
    """Records and refusals of every member."""
    _require_level(job)
    with open_zip(file, job) as archive:
        infos = [info for info in archive.infolist() if not info.filename.endswith("/")]
        _count(job, len(infos))
        members = {info.filename: _zip_member(archive, info, job) for info in infos}

        def beside(info: zipfile.ZipInfo) -> Callable[[str], File | None]:
            return lambda name: members.get(str(PurePosixPath(info.filename).with_name(name)))

        for number, info in enumerate(infos, 1):
            place, reason = _place(number, info.filename), _unfit(info.filename)
            if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
                reason = reason or "a link or a special file"
            elif info.flag_bits & 0x1:
                reason = reason or "encrypted: deliver it without a password"
            if reason:
                yield Refusal(place, reason)
                continue
            member = members[info.filename] if archive.NameToInfo[info.filename] is info else _zip_member(archive, info, job)
            told = File(member.name, member.size, member.open, beside(info))
            yield from (placed(found, place) for found in job.inner(told, job.deeper()))


def read_tar(file: File, job: Job) -> Found:
    """Records and refusals of every member, in one pass; TextGrids come last, because two of them may be one dialogue."""
    _require_level(job)
    grids: dict[str, tuple[str, bytes]] = {}
    number, stopped = 0, None
    with seekable(file, job) as raw:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        stream = io.BufferedReader(Metered(cast(BinaryIO, gzip.GzipFile(fileobj=raw)), job, raw.tell)) if packed else raw
        try:
            with tarfile.open(fileobj=stream, mode="r|", tarinfo=_Strict) as archive:
                for info in archive:
                    if info.isdir():
                        continue
                    number += 1
                    _count(job, 1)
                    place, reason = _place(number, info.name), _unfit(info.name)
                    if not info.isreg() or info.issparse():
                        reason = reason or "a link or a special file"
                    elif info.size > job.sources.max_file_mb * MB:
                        reason = reason or f"larger than {job.sources.max_file_mb:g} MB"
                    if reason:
                        yield Refusal(place, reason)
                        continue
                    opened = archive.extractfile(info)
                    data = opened.read() if opened else b""
                    if info.name.lower().endswith(".textgrid"):
                        grids[info.name] = (place, data)
                        continue
                    member = in_memory(PurePosixPath(info.name).name, data)
                    yield from (placed(found, place) for found in job.inner(member, job.deeper()))
        except Bad as bad:
            stopped = bad.refusal
        except _DAMAGED:
            stopped = Refusal(f"after member {number - 1}" if number > 1 else "", "not readable as tar: damaged or cut short")
        finally:
            # Before the file below it, or closing would try to read on.
            if packed:
                stream.close()

    def grid(name: str) -> File | None:
        if name not in grids:
            return None
        return in_memory(PurePosixPath(name).name, grids[name][1], lambda other: grid(str(PurePosixPath(name).with_name(other))))

    for name, (place, _) in grids.items():
        if one := grid(name):
            yield from (placed(found, place) for found in job.inner(one, job.deeper()))
    if stopped:
        yield stopped
    elif number == 0:
        raise Bad("", "the archive is empty")


class _Strict(tarfile.TarInfo):
    """Headers of an archive that has to end as the standard says: the library takes one that was cut in a header for a whole one."""

    @classmethod
    def fromtarfile(cls, tarfile_: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(tarfile_)
        except (tarfile.TruncatedHeaderError, tarfile.EmptyHeaderError):  # type: ignore[attr-defined]
            raise tarfile.ReadError("cut short") from None


@contextmanager
def open_zip(file: File, job: Job) -> Iterator[zipfile.ZipFile]:
    """The archive; Bad when it is none."""
    with seekable(file, job) as stream:
        try:
            archive = zipfile.ZipFile(stream)
        except _DAMAGED:
            raise Bad("", "not readable as zip: damaged or cut short") from None
        with archive:
            yield archive


def part(archive: zipfile.ZipFile, name: str, job: Job) -> bytes | None:
    """The bytes of a named member, metered; None when there is none."""
    info = archive.NameToInfo.get(name)
    return None if info is None else load(_zip_member(archive, info, job), job)


def _zip_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, job: Job) -> File:
    def open_() -> BinaryIO:
        try:
            stream = cast(BinaryIO, archive.open(info))
        except _DAMAGED:
            raise Bad("", "damaged or cut short inside the archive") from None
        return io.BufferedReader(Metered(stream, job, lambda: info.compress_size))

    return File(PurePosixPath(info.filename).name, info.file_size, open_)


def _require_level(job: Job) -> None:
    if job.archives >= job.limits.archive_depth:
        raise Bad("", f"archives lie inside archives more than {job.limits.archive_depth} deep")


def _count(job: Job, members: int) -> None:
    job.spent.members += members
    if job.spent.members > job.limits.members:
        raise Bad("", f"the archive holds more than {job.limits.members} members")
    if members == 0:
        raise Bad("", "the archive is empty")


def _unfit(name: str) -> str | None:
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if not parts or name.startswith(("/", "\\")) or ".." in parts or ":" in parts[0] or any(ord(c) < 32 for c in name):
        return "its name points out of the archive"
    if parts[-1].startswith(".") or "__MACOSX" in parts:
        return "a hidden file"
    return None


def _place(number: int, name: str) -> str:
    suffix = PurePosixPath(name).suffix.lower()
    return f"member {number} ({suffix})" if suffix in _SAID else f"member {number}"


_SAID = {".txt", ".md", ".html", ".htm", ".pdf", ".docx", ".csv", ".json", ".jsonl", ".ndjson", ".parquet", ".xml", ".textgrid", ".zip"}
