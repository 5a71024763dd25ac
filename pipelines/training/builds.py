"""What DeepSpeed compiles at its first start on a host, and how a killed training is kept from blocking all later ones.

torch guards the build with a file that it creates and removes (`torch.utils.file_baton`): a process that dies in between leaves it, and
every later start waits for it without a word and without an end.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def folder() -> Path:
    """Where torch keeps what it compiled: TORCH_EXTENSIONS_DIR, else the user's cache."""
    from torch.utils.cpp_extension import get_default_build_root

    return Path(os.environ.get("TORCH_EXTENSIONS_DIR") or get_default_build_root())


@contextmanager
def usable(root: Path) -> Iterator[None]:
    """Within it, no rank of any training on this host takes the guards away. Entered while no other one is, it takes away what dead ones
    left. Every rank enters: so it is done on every node, whatever started the ranks there."""
    root.mkdir(parents=True, exist_ok=True)
    users = os.open(root / "users", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pass  # another one is at work, and a guard may be its own
        else:
            for guard in root.rglob("lock"):  # a folder per Python where torch chose the place, none where we did
                guard.unlink(missing_ok=True)
        fcntl.flock(users, fcntl.LOCK_SH)
        yield
    finally:
        os.close(users)
