"""The landing zone: one folder per arrival, sealed by an `arrival.json` that is written last.

A folder without that file is still being written and is nobody's business yet. The seal is the SHA-256 over source, effective date and
files (name, sha256, bytes): the same delivery twice has the same seal, whoever sends it and whenever. Uploader and time of sealing are
recorded but take no part in it.

Names of delivered files may hold a person's name. They stay in `arrival.json`, inside the landing zone: what is raised from a sealed
folder calls a file by `file_id`. Only `seal` and `deliver`, whose errors the uploader reads, say the name.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, field_validator

from pipelines.config import Settings
from pipelines.errors import ArrivalRefused
from pipelines.intake.records import iso_date
from pipelines.manifest import sha256, sha256_file
from pipelines.state.ledger import Delivery

SEAL_NAME = "arrival.json"
INBOX = "inbox"
MAX_SEAL_BYTES = 4_000_000
MAX_FILES = 10_000


class SealedFile(BaseModel):
    """One delivered file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(min_length=1, max_length=255)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    bytes: Annotated[int, Field(ge=0)]

    @property
    def file_id(self) -> str:
        """What the ledger calls this file."""
        return file_id(self.sha256, self.name)


class Seal(BaseModel):
    """What `arrival.json` holds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    uploader: Annotated[str, Field(min_length=1, max_length=120)]
    source: Annotated[str, Field(max_length=120)]
    effective: str
    files: Annotated[tuple[SealedFile, ...], Field(min_length=1, max_length=MAX_FILES)]
    sealed_at: AwareDatetime

    @field_validator("effective")
    @classmethod
    def _is_a_date(cls, value: str) -> str:
        return iso_date(value)

    @property
    def hash(self) -> str:
        """SHA-256 over source, effective date and files in order of name."""
        files = sorted((file.name, file.sha256, file.bytes) for file in self.files)
        return sha256({"source": self.source, "effective": self.effective, "files": files})


def file_id(digest: str, name: str) -> str:
    """First 16 of the SHA-256 and the suffix: says which file without saying its name."""
    suffix = PurePosixPath(name).suffix.lower()
    plain = suffix[1:].isalnum() and suffix.isascii() and len(suffix) <= 10
    return digest[:16] + (suffix if plain else "")


def seal(folder: Path, *, uploader: str, source: str, effective: str) -> Path:
    """Write `arrival.json` over the files of a folder, last and atomically. ArrivalRefused when the folder cannot be delivered."""
    if (folder / SEAL_NAME).exists():
        raise ArrivalRefused("the folder is sealed already", where=folder.name, todo="deliver changed files in a new folder")
    files: list[SealedFile] = []
    for entry in _entries(folder):
        require_plain(entry.name, folder.name)
        if entry.is_symlink() or not entry.is_file(follow_symlinks=False):
            raise ArrivalRefused(f"{entry.name!r} is not a plain file", where=folder.name, todo="deliver plain files, no links, no folders")
        path = Path(entry.path)
        files.append(SealedFile(name=entry.name, sha256=sha256_file(path), bytes=path.stat().st_size))
    try:
        made = Seal(uploader=uploader, source=source, effective=effective, files=tuple(files), sealed_at=datetime.now(UTC))
    except ValidationError as error:
        raise ArrivalRefused(_faults(error), where=folder.name, todo="mend it and seal again") from None
    target = folder / SEAL_NAME
    # Outside the folder: a half-written seal must never count as one of its files.
    temporary = folder.parent / f".{folder.name}.{SEAL_NAME}.tmp-{os.getpid()}"
    temporary.write_text(made.model_dump_json(indent=2), encoding="utf-8")
    temporary.rename(target)
    return target


def read_seal(folder: Path) -> Seal:
    """The seal as written, its files unchecked. ArrivalRefused when there is none or it cannot be read."""
    path = folder / SEAL_NAME
    if path.is_symlink() or not path.is_file():
        raise ArrivalRefused("the folder is not sealed: it has no arrival.json", where=folder.name, todo="deliver with `ratchet arrive`")
    if path.stat().st_size > MAX_SEAL_BYTES:
        raise ArrivalRefused("arrival.json is too large", where=folder.name, todo="deliver fewer files at a time")
    try:
        found = Seal.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise ArrivalRefused(f"arrival.json: {_faults(error)}", where=folder.name, todo="deliver again with `ratchet arrive`") from None
    for name in (file.name for file in found.files):
        require_plain(name, folder.name)
    if len({file.name for file in found.files}) < len(found.files):
        raise ArrivalRefused("arrival.json lists a file twice", where=folder.name, todo="deliver again with `ratchet arrive`")
    return found


def verify(folder: Path) -> Seal:
    """The seal, after every file was found whole and no other file lies beside them. ArrivalRefused otherwise.

    An empty file does not break the seal: the reader refuses it by itself, and the files beside it are unharmed.
    """
    found = read_seal(folder)
    todo = "deliver the files again"
    declared = {file.name: file for file in found.files}
    present: set[str] = set()
    for entry in _entries(folder):
        if entry.name == SEAL_NAME:
            continue
        if entry.is_symlink() or not entry.is_file(follow_symlinks=False):
            raise ArrivalRefused("the folder holds a link or a folder", where=folder.name, todo="deliver plain files only")
        if entry.name not in declared:
            raise ArrivalRefused("the folder holds a file that its seal does not name", where=folder.name, todo=todo)
        present.add(entry.name)
    for name, file in declared.items():
        if name not in present:
            raise ArrivalRefused(f"file {file.file_id} is missing", where=folder.name, todo=todo)
        if (folder / name).stat().st_size != file.bytes or sha256_file(folder / name) != file.sha256:
            raise ArrivalRefused(f"wrong checksum: file {file.file_id} is not what was sealed", where=folder.name, todo=todo)
    return found


def read_delivery(folder: Path) -> Delivery:
    """What the ledger enters for a sealed folder. A seal that cannot be read becomes a delivery with its `fault`, not an exception."""
    try:
        found = read_seal(folder)
    except ArrivalRefused as error:
        # Addressed by what is there, so that the same broken delivery is known again.
        path = folder / SEAL_NAME
        digest = sha256_file(path) if path.is_file() else sha256(folder.name)
        return Delivery(folder.name, digest, "unknown", "", "0001-01-01", 0, fault=str(error))
    return Delivery(folder.name, found.hash, found.uploader, found.source, found.effective, len(found.files))


def sealed(settings: Settings, domain: str) -> list[Path]:
    """A domain's sealed folders, by name. Hidden folders are deliveries under way; the inbox is never one, whatever lies in it."""
    root = settings.landing_zone / domain
    if not root.is_dir():
        return []
    folders = [path for path in root.iterdir() if path.name[0] != "." and path.name != INBOX and path.is_dir() and not path.is_symlink()]
    return sorted(path for path in folders if (path / SEAL_NAME).is_file())


def deliver(settings: Settings, domain: str, files: list[Path], *, uploader: str, source: str, effective: str) -> Path:
    """Copy files into a new sealed folder of the landing zone and return it. ArrivalRefused, nothing left behind, when one cannot go."""
    if not files:
        raise ArrivalRefused("no files were given", where=domain, todo="name at least one file")
    names: set[str] = set()
    for path in files:
        if not path.is_file():
            raise ArrivalRefused("there is no such file", where=str(path), todo="name files, not folders")
        if path.stat().st_size == 0:
            raise ArrivalRefused("the file is empty", where=str(path), todo="deliver it once it has content")
        if path.name in names:
            raise ArrivalRefused(f"two files are named {path.name!r}", where=domain, todo="rename one of them")
        names.add(path.name)
        require_plain(path.name, str(path))
    root = settings.landing_zone / domain
    root.mkdir(parents=True, exist_ok=True)
    incoming = root / f".incoming-{uuid.uuid4().hex}"
    incoming.mkdir()
    try:
        for path in files:
            shutil.copyfile(path, incoming / path.name)
        seal(incoming, uploader=uploader, source=source, effective=effective)
        return settle(incoming)
    except BaseException:
        shutil.rmtree(incoming, ignore_errors=True)
        raise


def settle(incoming: Path) -> Path:
    """Give a sealed hidden folder its place, the first free of name, name-2, name-3 ...

    The folder appears whole, and equal deliveries get folders of their own.
    """
    found, root = read_seal(incoming), incoming.parent
    name = f"{found.effective}-{found.hash[:12]}"
    for number in range(1, 10_000):
        target = root / (name if number == 1 else f"{name}-{number}")
        if target.exists():
            continue
        try:
            return incoming.rename(target)
        except OSError:
            if not target.exists():
                raise
    raise ArrivalRefused("the same delivery came too often", where=name, todo="empty the landing zone of settled arrivals")


def settled(root: Path, effective: str, digest: str, sealed_at: datetime) -> Path | None:
    """The folder in which exactly this sealing appeared: how whoever was killed after `settle` finds that it was done."""
    for folder in sorted(root.glob(f"{effective}-{digest[:12]}*")):
        try:
            found = read_seal(folder)
        except ArrivalRefused:
            continue
        if found.hash == digest and found.sealed_at == sealed_at:
            return folder
    return None


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    if folder.is_symlink() or not folder.is_dir():
        raise ArrivalRefused("there is no such folder", where=folder.name, todo="name a folder of plain files")
    with os.scandir(folder) as found:
        yield from sorted(found, key=lambda entry: entry.name)


def require_plain(name: str, where: str) -> None:
    """Refuse a name that could lead out of the folder or hide in it."""
    if not is_plain(name):
        raise ArrivalRefused("a file name is not plain", where=where, todo="no path, no leading dot, no control character")


def is_plain(name: str) -> bool:
    """Whether a file of an arrival may have this name."""
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        return False
    return name != SEAL_NAME and name[:1] not in ("", ".") and not any(c in "/\\" or ord(c) < 32 for c in name) and size <= 255


def _faults(error: ValidationError) -> str:
    faults = [(".".join(map(str, fault["loc"])) or "file", fault["msg"].removeprefix("Value error, ")) for fault in error.errors()]
    return "; ".join(f"{place}: {message}" for place, message in faults[:3])
