"""Folders addressed by the hash of what made them: training sets, adapters, indexes, reports."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipelines.config import Settings
from pipelines.errors import NotFound, RatchetError
from pipelines.manifest import find, sha256_folder
from pipelines.state.database import reading, transaction
from pipelines.state.models import Artifact


def place(settings: Settings, kind: str, step_hash: str) -> Path:
    """`<artifacts>/<kind>/<first 16 of the hash>`, whether it exists or not."""
    return settings.artifacts / kind / step_hash[:16]


def make(settings: Settings, kind: str, step_hash: str, build: Callable[[Path], object]) -> Path:
    """Let `build(folder)` fill a temporary folder and rename it into place; a finished folder is returned as it is."""
    final = place(settings, kind, step_hash)
    if final.is_dir():
        return final
    temporary = final.with_name(f"{final.name}.tmp-{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        build(temporary)
        temporary.rename(final)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return final


def enter(settings: Settings, kind: str, domain: str, step_hash: str, facts: dict[str, Any]) -> str:
    """Record a finished folder in the control database; returns its id. Again with the same hash: the same id."""
    folder = place(settings, kind, step_hash)
    artifact_id = f"{kind}-{step_hash[:16]}"
    with transaction(settings) as session:
        if session.get(Artifact, artifact_id) is None:
            session.add(
                Artifact(
                    id=artifact_id,
                    kind=kind,
                    domain=domain,
                    step_hash=step_hash,
                    path=folder.relative_to(settings.artifacts).as_posix(),
                    sha256=sha256_folder(folder),
                    facts=facts,
                )
            )
    return artifact_id


def get(settings: Settings, artifact_id: str) -> Artifact:
    """One artifact's row, detached."""
    with reading(settings) as session:
        row = session.get(Artifact, artifact_id)
        if row is None:
            raise NotFound(f"there is no artifact {artifact_id!r}", todo="`ratchet candidates` names those in use")
        return row


def examples_of(settings: Settings, adapter: Artifact) -> Path | None:
    """The folder of the examples that an adapter learned from; None where it is not known, or gone."""
    with reading(settings) as session:
        packed = session.get(Artifact, adapter.facts.get("training_set", ""))
    made = None if packed is None else find(settings, packed.step_hash)
    source = None if made is None else find(settings, str(made.inputs.get("examples")))
    folder = None if source is None else settings.artifacts / source.outputs["path"]
    return folder if folder is not None and folder.is_dir() else None


def path_of(settings: Settings, artifact_id: str) -> Path:
    """The artifact's folder, verified against the recorded hash: what serves is what was gated."""
    row = get(settings, artifact_id)
    folder = settings.artifacts / row.path
    if not folder.is_dir():
        raise NotFound(f"the folder of {artifact_id} is gone", where=str(folder), todo="`ratchet doctor` tells what can be rebuilt")
    if sha256_folder(folder) != row.sha256:
        raise RatchetError(f"{artifact_id} was altered on disk", where=str(folder), todo="restore it from MLflow's artifact store")
    return folder
