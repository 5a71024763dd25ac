"""What a step did, addressed by what determines it.

Same step, version, config and inputs: same hash, same manifest, at once. The git sha is recorded but does not take part: a changed
comment must not retrain.
"""

from __future__ import annotations

import hashlib
import os
import platform
import resource
import subprocess
import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from pipelines.config import PROJECT, Settings
from pipelines.state.database import reading, transaction
from pipelines.state.models import ManifestRow, now
from pipelines.writing import canonical


class Manifest(BaseModel):
    """The record of one step. `inputs` and `outputs` are references (ids, hashes, paths), never data."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    hash: str
    step: str
    version: int
    domain: str
    config: dict[str, Any]
    inputs: dict[str, Any]
    outputs: dict[str, Any]
    counts: dict[str, float]
    seconds: float
    peak_mb: float
    code: str
    lock: str
    hardware: str
    finished_at: str


class Outcome(BaseModel):
    """What a step's body returns."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    outputs: dict[str, Any]
    counts: dict[str, float] = {}


def sha256(value: object) -> str:
    """Hex SHA-256 of bytes, of text as UTF-8, or of a value's canonical JSON."""
    data = value if isinstance(value, bytes) else value.encode() if isinstance(value, str) else canonical(value)
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_folder(folder: Path) -> str:
    """Hex SHA-256 over the sorted (relative name, sha256) of every file in a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return sha256([(path.relative_to(folder).as_posix(), sha256_file(path)) for path in files])


def address(step: str, version: int, config: Mapping[str, Any], inputs: Mapping[str, Any]) -> str:
    """The hash of what determines a step's output."""
    return sha256({"step": step, "version": version, "config": dict(config), "inputs": dict(inputs)})


def run_step(
    settings: Settings,
    *,
    step: str,
    version: int,
    domain: str,
    config: Mapping[str, Any],
    inputs: Mapping[str, Any],
    body: Callable[[str], Outcome],
) -> Manifest:
    """Run `body(hash)` unless a manifest of that hash exists; either way return it. The body must be safe to repeat after a crash."""
    key = address(step, version, config, inputs)
    if (known := find(settings, key)) is not None:
        return known
    began = time.monotonic()
    outcome = body(key)
    manifest = Manifest(
        hash=key,
        step=step,
        version=version,
        domain=domain,
        config=dict(config),
        inputs=dict(inputs),
        outputs=outcome.outputs,
        counts=outcome.counts,
        seconds=round(time.monotonic() - began, 3),
        peak_mb=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        code=code_version(),
        lock=lock_hash(),
        hardware=f"{platform.machine()}, {len(_affinity())} cores",
        finished_at=now().isoformat(),
    )
    with transaction(settings) as session:
        # Two workers may have raced: the first one's record stands, and both return it.
        if session.get(ManifestRow, key) is None:
            session.add(ManifestRow(hash=key, step=step, domain=domain, body=manifest.model_dump(mode="json")))
    return find(settings, key) or manifest


def find(settings: Settings, key: str) -> Manifest | None:
    """The manifest of a hash, if that work was done."""
    with reading(settings) as session:
        row = session.get(ManifestRow, key)
        return None if row is None else Manifest.model_validate(row.body)


@lru_cache(maxsize=1)
def code_version() -> str:
    """The git commit of the checkout, or `unknown` outside one."""
    try:
        done = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], cwd=PROJECT, capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return done.stdout.strip() or "unknown"


@lru_cache(maxsize=1)
def lock_hash() -> str:
    """First 16 of the SHA-256 of requirements.txt."""
    lock = PROJECT / "requirements.txt"
    return sha256_file(lock)[:16] if lock.is_file() else "none"


def _affinity() -> set[int]:
    return os.sched_getaffinity(0)
