"""Files that appear whole: written under a temporary name of this process's own, then renamed. Light, because every job's first process
imports it."""

from __future__ import annotations

import json
import os
from pathlib import Path


def canonical(value: object) -> bytes:
    """JSON with sorted keys and no spaces, UTF-8: equal values have equal bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str).encode()


def write_json(path: Path, value: object) -> None:
    """Canonical JSON and a line's end."""
    _write(path, canonical(value) + b"\n")


def write_text(path: Path, text: str) -> None:
    """As UTF-8."""
    _write(path, text.encode())


def write_private(path: Path, text: str) -> None:
    """As UTF-8, for the owner alone from the first byte on."""
    _write(path, text.encode(), mode=0o600)


def _write(path: Path, data: bytes, mode: int = 0o666) -> None:
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
        file.write(data)
    temporary.rename(path)
