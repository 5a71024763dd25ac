"""Where an interrupted training goes on: safetensors and JSON only, no pickle is ever read from disk.

A checkpoint is a folder that appears by rename and carries the hashes of its files; one that is torn, altered or of another job is
passed over for the one before it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.manifest import canonical, sha256_file

KEPT = 2


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A whole checkpoint: `step` steps are done, `history` says how they went."""

    folder: Path
    step: int
    history: list[dict[str, float]]

    def tensors(self, rank: int) -> dict[str, Any]:
        """What this rank saved, on the CPU."""
        from safetensors.torch import load_file

        loaded: dict[str, Any] = load_file(self.folder / _rank_file(rank))
        return loaded


def save(
    work: Path,
    *,
    identity: str,
    step: int,
    history: list[dict[str, float]],
    tensors: dict[str, Any],
    rank: int,
    barrier: Callable[[], None],
) -> None:
    """Every rank writes its tensors; rank 0 seals the folder, renames it and drops all but the newest two."""
    from safetensors.torch import save_file

    final = work / f"checkpoint-{step:06d}"
    unsealed = work / f"{final.name}.tmp"
    if rank == 0:
        shutil.rmtree(unsealed, ignore_errors=True)
        shutil.rmtree(final, ignore_errors=True)
        unsealed.mkdir(parents=True)
    barrier()
    save_file(tensors, unsealed / _rank_file(rank))
    barrier()
    if rank == 0:
        files = {path.name: sha256_file(path) for path in sorted(unsealed.iterdir())}
        seal = {"identity": identity, "step": step, "history": history, "files": files}
        (unsealed / "checkpoint.json").write_bytes(canonical(seal))
        unsealed.rename(final)
        # A later step than this one is of another job, or torn: otherwise training would have gone on behind it.
        later = [folder for folder in _folders(work) if folder.name > final.name]
        for folder in [*later, *_folders(work)[len(later) + KEPT :]]:
            shutil.rmtree(folder, ignore_errors=True)
    barrier()


def newest(work: Path, identity: str) -> Checkpoint | None:
    """The newest whole checkpoint of this very job, if there is one."""
    for folder in _folders(work):
        try:
            seal = json.loads((folder / "checkpoint.json").read_bytes())
            whole = all(sha256_file(folder / name) == digest for name, digest in seal["files"].items())
            if whole and seal["identity"] == identity:
                return Checkpoint(folder, int(seal["step"]), list(seal["history"]))
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return None


def _folders(work: Path) -> list[Path]:
    """Newest first."""
    return sorted((path for path in work.glob("checkpoint-*") if path.suffix != ".tmp" and path.is_dir()), reverse=True)


def _rank_file(rank: int) -> str:
    return f"rank-{rank}.safetensors"
