"""Key files: drawn once, readable by their owner only, and never drawn again while something rests on them."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path

from pipelines.errors import MaskingFailed


def read_or_draw(path: Path, draw: Callable[[], bytes], *, may_make: bool) -> bytes:
    """The key, drawn where there is none and `may_make` says that nothing rests on one yet. Two makers race to one key: a link never
    replaces a file. MaskingFailed for a missing key, and for one that others can read."""
    if not path.is_file():
        if not may_make:
            raise MaskingFailed("what this key opens is there, but the key is missing", where=path.name, todo="restore the key from backup")
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}-{secrets.token_hex(4)}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(draw())
        try:
            path.hardlink_to(temporary)
        except FileExistsError:
            pass
        finally:
            temporary.unlink()
    if path.stat().st_mode & 0o077:
        raise MaskingFailed("the key can be read by others", where=path.name, todo=f"chmod 600 {path.name}")
    return path.read_bytes().strip()
