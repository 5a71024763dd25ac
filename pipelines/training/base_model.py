"""What a base model must be before anything is spent on it. Every fault is BadInput with what to do; nothing is fetched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pipelines.errors import BadInput
from pipelines.training import chat

PICKLED = (".bin", ".pt", ".pth", ".ckpt")
_WHERE = "base.model"


def check(base: str, revision: str | None = None) -> Path:
    """The folder of the base's files: its own, or its snapshot in the local hub cache. `base` is what `from_pretrained` takes."""
    folder = Path(base) if Path(base).is_dir() else _cached(base, revision)
    if not (folder / "config.json").is_file():
        raise BadInput("not a model: config.json is missing", where=str(folder), todo=f"mend {_WHERE} in the domain file")
    try:
        json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise BadInput(f"config.json is broken: {error}", where=str(folder), todo="put the model's files in place again") from None
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        pickled = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLED)
        what = f"only pickled weights ({', '.join(pickled[:3])}), which can run code when read" if pickled else "no weights"
        todo = "convert them to safetensors where you trust them" if pickled else "put its *.safetensors in place"
        raise BadInput(f"the base model has {what}", where=str(folder), todo=todo)
    _whole(folder, {path.name for path in weights})
    if not any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer_config.json", "tokenizer.model")):
        raise BadInput("the base model has no tokenizer", where=str(folder), todo="put tokenizer.json and tokenizer_config.json beside it")
    return folder


def check_tokenizer(base: str, chat_template: bool = False) -> tuple[Any, chat.Turns | None]:
    """The tokenizer, and with `chat_template` what its template puts around a prompt and an answer. BadInput for a tokenizer that cannot
    end an answer, or whose template cannot be used."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base, local_files_only=True)
    if tokenizer.eos_token_id is None:
        raise BadInput("the tokenizer has no end-of-sequence token", where=base, todo="set eos_token in its tokenizer_config.json")
    try:
        return tokenizer, chat.turns(tokenizer) if chat_template else None
    except chat.Unfit as error:
        raise BadInput(error.what, where=base, todo=error.todo) from None


def _whole(folder: Path, present: set[str]) -> None:
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        named = set(json.loads(index.read_text(encoding="utf-8")).get("weight_map", {}).values())
        if missing := sorted(named - present):
            raise BadInput(
                f"{len(missing)} of {len(named)} weight files are missing, e.g. {missing[0]}", where=str(folder), todo="copy them"
            )


def _cached(base: str, revision: str | None) -> Path:
    if Path(base).is_absolute() or base.count("/") != 1:
        raise BadInput(
            "there is no such folder", where=base, todo=f"mend {_WHERE}: a folder of the project, an absolute path, or a hub name"
        )
    if revision is None:
        raise BadInput(
            "there is no such folder, and as a hub name it lacks a revision: without one it is another model tomorrow",
            where=base,
            todo=f"mend {_WHERE}, or set base.revision to a commit",
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(base, revision=revision, local_files_only=True))
    except (LocalEntryNotFoundError, ValueError, OSError):
        raise BadInput(
            f"revision {revision} is not in the local hub cache, and nothing is fetched while training",
            where=base,
            todo=f"fetch it beforehand where the site may download: `hf download {base} --revision {revision}`",
        ) from None
