"""Objects under a prefix, through fsspec: a folder of this host, S3, GCS.

The watermark knows each object by a salted hash of its name and one of its version (ETag or time of change, and size): names may hold a
person's name, and the watermark lies in the control database. An object is taken when it is new or changed, has been quiet for a while, and
is the same after reading as before: a half-written one waits. One that was deleted is forgotten; that withdraws no document.
"""

from __future__ import annotations

import errno
import json
import secrets
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import Any

from pipelines.errors import ArrivalRefused, ConfigError, NotAllowed, Unavailable
from pipelines.intake import landing
from pipelines.intake.connectors.pull import Document, Gathered, Pull, Skipped, secret
from pipelines.manifest import sha256
from pipelines.source_config import Prefix

PIECE = 1 << 20
PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs"}


@dataclass(frozen=True, slots=True)
class Found:
    """One object of the listing."""

    path: str
    name: str
    size: int
    version: str
    changed: datetime
    plain: bool


def gather(source: Prefix, pull: Pull) -> Gathered:
    """New and changed objects, the oldest first."""
    salt = str(pull.watermark.get("salt") or secrets.token_hex(8))
    before: dict[str, str] = pull.watermark.get("seen", {})
    fs, root = _open(source)
    found = Gathered(watermark={"salt": salt, "seen": before})
    try:
        listed = {_token(salt, one.name): one for one in _listing(source, fs, root)}
        seen = {token: version for token, version in before.items() if token in listed}
        found.watermark["seen"] = seen
        found.counts.update(objects=len(listed), deleted_at_the_source=len(before) - len(seen), still_changing=0)
        due = [(token, one) for token, one in listed.items() if seen.get(token) != _token(salt, one.version)]
        names = _flat([one.name for one in listed.values()])
        quiet = datetime.now(UTC) - timedelta(seconds=source.quiet_seconds)
        for token, one in sorted(due, key=lambda pair: (pair[1].changed, pair[1].name)):
            if len(found.documents) >= source.max_items:
                break
            if one.changed > quiet:
                found.counts["still_changing"] += 1
                continue
            if _take(source, pull, fs, one, names[one.name], found, token):
                seen[token] = _token(salt, one.version)
    except PermissionError:
        raise NotAllowed("the prefix may not be read", where=source.name, todo="check its rights and credentials") from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise  # our disk, not theirs
        fault = Unavailable(f"the prefix cannot be read ({type(error).__name__})", where=source.name)
        if not found.documents:
            raise fault from None
        found.note = str(fault)
    return found


def _open(source: Prefix) -> tuple[Any, str]:
    import fsspec

    options = dict(source.options)
    if source.credentials_env is not None:
        try:
            more = json.loads(secret(source.credentials_env, source.name))
        except ValueError:
            more = None
        if not isinstance(more, dict):
            raise ConfigError(f"{source.credentials_env} does not hold a JSON object", where=source.name)
        options |= more
    try:
        # Listings are kept per process otherwise: a long-lived worker would not see what is new.
        fs, root = fsspec.core.url_to_fs(source.url, use_listings_cache=False, **options)
    except ImportError:
        package = PACKAGES.get(source.url.partition(":")[0], "its fsspec package")
        raise ConfigError("this kind of prefix needs a further package", where=source.name, todo=f"install {package}") from None
    return fs, root.rstrip("/")


def _listing(source: Prefix, fs: Any, root: str) -> Iterator[Found]:
    fs.invalidate_cache()
    local = _is_local(fs)
    if local and not Path(root).is_dir():
        raise Unavailable("there is no such folder", where=source.name, todo="is it mounted?")
    for path, info in fs.find(root, detail=True).items():
        name = path[len(root) :].lstrip("/")
        if not name or any(part.startswith(".") for part in name.split("/")):
            continue
        if not any(fnmatch(name, one) for one in source.include) or any(fnmatch(name, one) for one in source.ignore):
            continue
        yield _read(path, name, info)


def _is_local(fs: Any) -> bool:
    return "file" in ((fs.protocol,) if isinstance(fs.protocol, str) else fs.protocol)


def _read(path: str, name: str, info: dict[str, Any]) -> Found:
    changed = next((info[key] for key in ("mtime", "LastModified", "updated", "modified", "created") if info.get(key)), 0.0)
    if isinstance(changed, str):
        changed = datetime.fromisoformat(changed.replace("Z", "+00:00"))
    when = changed if isinstance(changed, datetime) else datetime.fromtimestamp(float(changed), UTC)
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    mark = next((info[key] for key in ("ETag", "etag", "md5Hash") if info.get(key)), when.isoformat())
    size = int(info.get("size") or 0)
    return Found(path, name, size, f"{mark} {size}", when, info.get("type") == "file" and not info.get("islink"))


def _take(source: Prefix, pull: Pull, fs: Any, one: Found, name: str, found: Gathered, token: str) -> bool:
    """Copy one object; False when it must be looked at again."""
    label = token + landing.file_id("", name)
    if reason := _fault(source, one, name):
        found.skipped.append(Skipped(label, reason))
        return True
    path = pull.place(name)
    copied = 0
    try:
        with fs.open(one.path, "rb") as reader, path.open("wb") as writer:
            while piece := reader.read(PIECE):
                writer.write(piece)
                copied += len(piece)
                if copied > one.size:
                    break
        same = copied == one.size and _read(one.path, one.name, fs.info(one.path)).version == one.version
    except FileNotFoundError:
        same = False
    except PermissionError:
        path.unlink(missing_ok=True)
        found.skipped.append(Skipped(label, "may not be read"))
        return False
    if not same:
        path.unlink(missing_ok=True)
        found.counts["still_changing"] += 1
        return False
    effective = one.changed.date().isoformat() if source.effective == "modified" else pull.today
    found.documents.append(Document(path, effective))
    return True


def _fault(source: Prefix, one: Found, name: str) -> str:
    if not one.plain:
        return "a link, not a file"
    if one.size == 0:
        return "the object is empty"
    if one.size > source.max_mb * 1_000_000:
        return f"larger than {source.max_mb:g} MB"
    try:
        landing.require_plain(name, source.name)
    except ArrivalRefused as error:
        return error.what
    return ""


def _flat(names: list[str]) -> dict[str, str]:
    """Path below the prefix -> one file name; two that would collide are told apart by a hash of the path."""
    flat = {name: name.replace("/", "--") for name in names}
    often = Counter(flat.values())
    return {
        name: one if often[one] == 1 else f"{PurePosixPath(one).stem}-{sha256(name)[:8]}{PurePosixPath(one).suffix}"
        for name, one in flat.items()
    }


def _token(salt: str, value: str) -> str:
    return sha256(f"{salt}\0{value}")[:16]
