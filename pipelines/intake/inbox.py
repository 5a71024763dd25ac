"""Loose files: whoever cannot write a sealed folder copies files into `<landing>/<domain>/inbox/`, and they become an arrival.

A file is taken once it was quiet for the domain's `quiet_seconds`: neither its bytes nor its inode changed, and nobody has it open for
writing where the system can tell. The files of one owner go together, so that an upload of several becomes one arrival; a file that
never rests holds the others back for ten such periods at most. The uploader is the owner of the files (`os:name`), never typed.

Files are moved, not copied, into a hidden folder beside the inbox, which is sealed and then renamed: a process killed at any point leaves
each file in exactly one place, and the next call finishes what was begun. One call at a time works per domain; others return at once.

Left where they are: folders, links, hard links (their owner may not be who put them there), files that cannot be read, hidden names and
the suffixes of half-done uploads. The inbox must lie on the file system of the landing zone.
"""

from __future__ import annotations

import fcntl
import logging
import os
import pwd
import re
import signal
import stat
import time
import uuid
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path, PurePosixPath

from pipelines import locks
from pipelines.config import Settings, load_domain
from pipelines.intake import landing

_PREFIX = ".sealing-"
_UNDER_WAY = (".part", ".partial", ".tmp", ".temp", ".crdownload", ".filepart", ".uploading", "~")
_PATIENCE = 10

logger = logging.getLogger(__name__)
_told: dict[Path, int] = {}
"""Inbox -> how many entries it was last said to have that cannot be sealed: it is looked at every second."""


def seal_quiet(settings: Settings, domain: str) -> list[str]:
    """Seal what rests in the domain's inbox. Returns the names of the new arrivals' folders; also those a killed call had begun."""
    root = settings.landing_zone / domain
    inbox = root / landing.INBOX
    if not inbox.is_dir() or inbox.is_symlink():
        return []
    quiet = load_domain(domain, settings).sources.quiet_seconds
    with locks.alone_now(root / ".inbox.lock") as alone:
        if not alone:
            return []
        made = [name for folder in _begun(root) if (name := _finish(settings, root, folder)) is not None]
        for files in _resting(inbox, quiet):
            folder = root / f"{_PREFIX}{uuid.uuid4().hex}"
            folder.mkdir()
            for path, seen in files:
                _take(path, seen, folder)
            if (name := _finish(settings, root, folder)) is not None:
                made.append(name)
        return made


def _resting(inbox: Path, quiet: float) -> Iterator[list[tuple[Path, os.stat_result]]]:
    """Files to seal together: one owner's, all at rest, at most as many as an arrival may hold."""
    found, left = _plain_files(inbox)
    if left and left != _told.get(inbox):
        # Never their names: a file's name may say who it is about.
        logger.warning("%d entries of the inbox cannot be sealed: links, folders or unreadable files", left)
    _told[inbox] = left
    now = time.time()
    for _, group in groupby(sorted(found, key=lambda one: (one[1].st_uid, one[0].name)), key=lambda one: one[1].st_uid):
        files = list(group)
        restless = any(_rested(seen, now) < quiet for _, seen in files)
        ready = [
            (path, seen)
            for path, seen in files
            if _rested(seen, now) >= (quiet * _PATIENCE if restless else quiet)
            and not path.name.startswith(".")
            and not path.name.lower().endswith(_UNDER_WAY)
            and not _being_written(path)
        ]
        for start in range(0, len(ready), landing.MAX_FILES):
            yield ready[start : start + landing.MAX_FILES]


def _plain_files(inbox: Path) -> tuple[list[tuple[Path, os.stat_result]], int]:
    found, left = [], 0
    with os.scandir(inbox) as entries:
        for entry in entries:
            path = Path(entry.path)
            try:
                seen = path.lstat()
            except FileNotFoundError:
                continue  # renamed by its uploader just now
            if stat.S_ISREG(seen.st_mode) and seen.st_nlink == 1 and os.access(path, os.R_OK):
                found.append((path, seen))
            else:
                left += 1
    return found, left


def _rested(seen: os.stat_result, now: float) -> float:
    """Seconds since bytes, name or inode changed. Not mtime: a copy may bring one along, from the past or the future."""
    return now - seen.st_ctime


def _being_written(path: Path) -> bool:
    """Whether some process has the file open for writing, as far as the system says: a read lease is granted only if none has."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return True
    try:
        # Whoever opens the file for writing meanwhile breaks the lease with a signal; the default one would end this process.
        fcntl.fcntl(handle, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except BlockingIOError:
        return True
    except OSError:
        pass  # another owner's file, or a file system without leases: the quiet period has to do
    finally:
        os.close(handle)
    return False


def _take(path: Path, seen: os.stat_result, folder: Path) -> None:
    """Move one file into the folder, under a name that an arrival may hold; not if it was changed or replaced meanwhile."""
    name = path.name
    if not landing.is_plain(name):
        suffix = PurePosixPath(name).suffix
        name = f"unnamed-{uuid.uuid4().hex[:12]}{suffix if re.fullmatch(r'[.][A-Za-z0-9]{1,10}', suffix) else ''}"
    target = folder / name
    try:
        now = path.lstat()
        if _state(now) == _state(seen):
            path.rename(target)
    except FileNotFoundError:
        return


def _state(seen: os.stat_result) -> tuple[int, int, int, int]:
    return seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_mode


def _begun(root: Path) -> list[Path]:
    """Folders that a killed call left behind; its half-written seals, which lie beside them, go."""
    for stale in root.glob(f".{_PREFIX}*.{landing.SEAL_NAME}.tmp-*"):
        stale.unlink(missing_ok=True)
    return sorted(path for path in root.glob(f"{_PREFIX}*") if path.is_dir() and not path.is_symlink())


def _finish(settings: Settings, root: Path, folder: Path) -> str | None:
    """Seal and publish a folder; None when nothing is left in it to seal."""
    sealed = (folder / landing.SEAL_NAME).is_file()
    if not sealed:
        _put_back_changed(root / landing.INBOX, folder)
        first = next(folder.iterdir(), None)
        if first is None:
            folder.rmdir()
            return None
        today = settings.day()
        before = {path: _state(path.lstat()) for path in folder.iterdir()}
        seal_file = landing.seal(folder, uploader=_owner(first), source="inbox", effective=today)
        if any(_state(path.lstat()) != state for path, state in before.items()):
            # Written into while it was read: the next call sorts it out.
            seal_file.unlink()
            return None
    return landing.settle(folder).name


def _put_back_changed(inbox: Path, folder: Path) -> None:
    """Return to the inbox what somebody still writes into, or what is no plain file of one name any more."""
    for path in folder.iterdir():
        seen = path.lstat()
        if stat.S_ISREG(seen.st_mode) and seen.st_nlink == 1 and not _being_written(path):
            continue
        # A rename would replace what was uploaded under the same name since.
        try:
            os.link(path, inbox / path.name, follow_symlinks=False)
        except FileExistsError:
            os.link(path, inbox / f"{uuid.uuid4().hex[:8]}-{path.name}"[:255], follow_symlinks=False)
        path.unlink()


def _owner(path: Path) -> str:
    uid = path.lstat().st_uid
    try:
        return f"os:{pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"os:uid-{uid}"
