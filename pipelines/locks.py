"""One process at a time on this host: advisory locks on files. The system lets go of a lock when its holder dies, however it dies."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Wait until nobody else holds the lock at `path`, and hold it. The file is made, and stays."""
    with _opened(path, os.O_CREAT) as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@contextmanager
def alone_now(path: Path) -> Iterator[bool]:
    """Like `alone`, but without waiting: whether we hold it."""
    with handle_of(path) as handle:
        yield handle is not None


@contextmanager
def handle_of(path: Path) -> Iterator[int | None]:
    """Like `alone_now`: the lock's handle when we hold it. A child that inherits the handle holds the lock too, until it ends."""
    with _opened(path, os.O_CREAT) as handle:
        yield handle if _had(handle, fcntl.LOCK_EX) else None


def is_held(path: Path) -> bool:
    """Whether somebody holds the lock at `path`; nobody does where there is no such file."""
    try:
        with _opened(path, 0) as handle:
            return not _had(handle, fcntl.LOCK_SH)
    except FileNotFoundError:
        return False


def _had(handle: int, kind: int) -> bool:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _opened(path: Path, more: int) -> Iterator[int]:
    handle = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | more, 0o600)
    try:
        yield handle
    finally:
        os.close(handle)
