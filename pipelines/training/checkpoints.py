"""Where an interrupted training goes on: safetensors and JSON only, no pickle is ever read from disk.

A checkpoint is a folder that appears by rename and carries the hashes of its files; one that is torn, altered or of another job is
passed over for the one before it, and that is said. A disk that fills up costs the checkpoint being written, never an older one.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.errors import RatchetError
from pipelines.manifest import sha256_file
from pipelines.writing import canonical

log = logging.getLogger("ratchet.training")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A whole checkpoint: `step` steps are done, `history` says how they went."""

    folder: Path
    step: int
    history: list[dict[str, float]]
    passed_over: tuple[str, ...] = ()
    """Newer ones that were damaged, each with the reason."""

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
    keep: int = 2,
) -> None:
    """Every rank writes its tensors; rank 0 seals the folder, renames it and drops all but the newest `keep`.

    RatchetError when it cannot be written (no room, no right): the older checkpoints are as they were.
    """
    final = work / f"checkpoint-{step:06d}"
    unsealed = work / f"{final.name}.tmp"
    try:
        if rank == 0:
            shutil.rmtree(unsealed, ignore_errors=True)
            unsealed.mkdir(parents=True)
        barrier()
        _write(tensors, unsealed / _rank_file(rank))
        barrier()
        if rank == 0:
            files = {path.name: sha256_file(path) for path in sorted(unsealed.iterdir())}
            seal = {"identity": identity, "step": step, "history": history, "files": files}
            (unsealed / "checkpoint.json").write_bytes(canonical(seal))
            shutil.rmtree(final, ignore_errors=True)
            unsealed.rename(final)
    except OSError as error:
        shutil.rmtree(unsealed, ignore_errors=True)
        raise RatchetError(
            f"the checkpoint of step {step} could not be written: {error.strerror or error}",
            where=str(work),
            todo=f"make room ({sum(t.numel() * t.element_size() for t in tensors.values()) / 2**20:,.0f} MB a rank) and run it again: "
            "it goes on from the checkpoint before",
        ) from None
    if rank == 0:
        # A later step than this one is of another job, or torn: otherwise training would have gone on behind it.
        later = [folder for folder in _folders(work) if folder.name > final.name]
        for folder in [*later, *_folders(work)[len(later) + keep :]]:
            shutil.rmtree(folder, ignore_errors=True)
    barrier()


def _write(tensors: dict[str, Any], path: Path) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        save_file(tensors, path)
    except SafetensorError as error:
        raise OSError(str(error)) from None


def newest(work: Path, identity: str) -> Checkpoint | None:
    """The newest whole checkpoint of this very job, if there is one; damaged newer ones are logged and named in it."""
    damaged: list[str] = []
    for folder in _folders(work):
        try:
            seal = json.loads((folder / "checkpoint.json").read_bytes())
            if seal["identity"] != identity:
                continue
            wrong = [name for name, digest in seal["files"].items() if not _matches(folder / name, digest)]
            if not wrong:
                return Checkpoint(folder, int(seal["step"]), list(seal["history"]), tuple(damaged))
            damaged.append(f"{folder.name}: {', '.join(wrong)} is missing or altered")
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            damaged.append(f"{folder.name}: its seal is missing or broken")
        log.warning("passed over %s", damaged[-1])
    return None


def _matches(path: Path, digest: str) -> bool:
    try:
        return sha256_file(path) == digest
    except OSError:
        return False


def _folders(work: Path) -> list[Path]:
    """Newest first."""
    return sorted((path for path in work.glob("checkpoint-*") if path.suffix != ".tmp" and path.is_dir()), reverse=True)


def _rank_file(rank: int) -> str:
    return f"rank-{rank}.safetensors"
