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
    write_bytes(path, canonical(value) + b"\n")


def write_bytes(path: Path, data: bytes) -> None:
    """As they are."""
    temporary = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    temporary.write_bytes(data)
    temporary.rename(path)
