"""Uploads under way: files that come one by one over HTTP, in a hidden folder of the landing zone until their uploader seals them.

An upload belongs to its uploader and the id that they chose; both are hashed into the folder's name, so that two uploaders with one id do
not mix. A file is written beside the folder and enters it whole. Sealing leaves a receipt before the folder appears: whoever asks again,
because the answer was lost or this process was killed, gets the same answer and makes no second arrival. All of it is gone after a day.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pipelines.errors import ArrivalRefused, Conflict, NotFound, Unavailable
from pipelines.intake import landing
from pipelines.manifest import sha256
from pipelines.writing import write_json

ABANDONED_SECONDS = 86_400.0
MAX_OPEN = 50
MAX_BYTES = 10_000_000_000
KEEP_FREE = 1_000_000_000
"""Bytes of the disk that uploads leave alone: the rest of the site writes there too."""


@dataclass(frozen=True, slots=True)
class Upload:
    """One upload of one uploader. `root` is the domain's landing zone."""

    root: Path
    uploader: str
    upload_id: str

    @property
    def mine(self) -> str:
        """What the names of all of this uploader's uploads begin with."""
        return f".upload-{sha256(self.uploader)[:16]}-"

    @property
    def folder(self) -> Path:
        """Where its files wait."""
        return self.root / f"{self.mine}{sha256(self.upload_id)[:16]}"

    @property
    def receipt(self) -> Path:
        """What is left of it once it is sealed."""
        return self.folder.with_name(f"{self.folder.name}.json")


def begin(upload: Upload, name: str, size: int) -> Path:
    """A place to write one file of about `size` bytes to. Refuses a bad name, a sealed upload, and more than fits."""
    landing.require_plain(name, upload.upload_id)
    upload.root.mkdir(parents=True, exist_ok=True)
    if upload.receipt.exists():
        raise _sealed(upload)
    if not upload.folder.exists() and sum(path.is_dir() for path in upload.root.glob(f"{upload.mine}*")) >= MAX_OPEN:
        raise Conflict(f"{MAX_OPEN} uploads are open", where=upload.upload_id, todo="seal them; abandoned ones go after a day")
    if shutil.disk_usage(upload.root).free < KEEP_FREE + size:
        raise Unavailable("there is no room for this file", where="landing zone", todo="try again later, and tell the platform engineer")
    upload.folder.mkdir(exist_ok=True)
    held = [entry.stat().st_size for entry in os.scandir(upload.folder) if entry.name != name]
    if len(held) >= landing.MAX_FILES or sum(held) + size > MAX_BYTES:
        raise ArrivalRefused("the upload is full", where=upload.upload_id, todo="seal it and begin another")
    return upload.root / f"{upload.folder.name}.part-{uuid.uuid4().hex}"


def keep(upload: Upload, part: Path, name: str) -> None:
    """Let a whole file enter the upload; it replaces one of its name. Conflict when the upload was sealed meanwhile."""
    with _locked(upload) as open_still:
        if not open_still or upload.receipt.exists() or (upload.folder / landing.SEAL_NAME).exists():
            raise _sealed(upload)
        part.replace(upload.folder / name)


def seal(upload: Upload, *, source: str, effective: str) -> tuple[dict[str, Any], bool]:
    """Seal and deliver; returns what became of it, and whether this call did it. NotFound when nothing was uploaded."""
    with _locked(upload) as open_still:
        if upload.receipt.exists():
            return _answer(upload), False
        if not open_still:
            raise NotFound("nothing was uploaded", where=upload.upload_id, todo="PUT files first")
        if not (upload.folder / landing.SEAL_NAME).exists():
            landing.seal(upload.folder, uploader=upload.uploader, source=source, effective=effective)
        found = landing.read_seal(upload.folder)  # of an earlier call that was killed, perhaps: what it sealed stands
        told = {"seal": found.hash, "effective": found.effective, "files": len(found.files), "sealed_at": found.sealed_at.isoformat()}
        write_json(upload.receipt, told)
        return _answer(upload), True


def clean(root: Path, older_than: float = ABANDONED_SECONDS) -> int:
    """Take away uploads, parts and receipts that nobody touched for a day; returns how many."""
    gone = 0
    for path in root.glob(".upload-*"):
        try:
            if time.time() - path.stat().st_mtime < older_than:
                continue
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
            gone += 1
        except FileNotFoundError:
            continue
    return gone


def _answer(upload: Upload) -> dict[str, Any]:
    """What the receipt stands for; lets the folder appear if whoever wrote the receipt was killed before."""
    told: dict[str, Any] = json.loads(upload.receipt.read_text(encoding="utf-8"))
    sealed_at = datetime.fromisoformat(told.pop("sealed_at"))
    if (upload.folder / landing.SEAL_NAME).exists():
        folder: Path | None = landing.settle(upload.folder)
    else:
        folder = landing.settled(upload.root, told["effective"], told["seal"], sealed_at)
    return {"folder": folder.name if folder is not None else None, **told, "uploader": upload.uploader}


@contextmanager
def _locked(upload: Upload) -> Iterator[bool]:
    """Alone with the upload's folder; False when it is not there, or was sealed while we waited."""
    try:
        handle = os.open(upload.folder, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        yield False
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        try:
            same = upload.folder.stat().st_ino == os.fstat(handle).st_ino
        except FileNotFoundError:
            same = False
        yield same
    finally:
        os.close(handle)


def _sealed(upload: Upload) -> Conflict:
    return Conflict("the upload is sealed", where=upload.upload_id, todo="begin another with a new id")
