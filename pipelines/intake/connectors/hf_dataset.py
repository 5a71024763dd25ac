"""New rows of a Hugging Face dataset that lies on this host, as JSONL. Nothing is downloaded, and no code of a dataset is run.

The watermark is the number of rows taken and a running hash over them. A later state of the dataset that begins with the same rows yields
only what follows; one whose earlier rows differ is taken anew from its start (texts that did not change are known by their content).
Rows are read as a stream: the library writes no copy of them into its own cache, outside the landing zone.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from pipelines.errors import ConfigError, NotFound
from pipelines.intake.connectors.pull import Document, Gathered, Pull
from pipelines.source_config import HfDataset


def gather(source: HfDataset, pull: Pull) -> Gathered:
    """Rows beyond the watermark, `max_items` at most."""
    folder, revision = _folder(source)
    taken, known = int(pull.watermark.get("rows", 0)), pull.watermark.get("hash", "")
    chain = hashlib.sha256()
    rows = _rows(source, folder)
    for row in islice(rows, taken):
        chain.update(row)
    again = taken > 0 and chain.hexdigest() != known
    if again:
        taken, chain, rows = 0, hashlib.sha256(), _rows(source, folder)
    rows = islice(rows, source.max_items)
    found = Gathered(watermark={})
    effective = source.effective or pull.today
    while batch := list(islice(rows, source.rows_per_file)):
        path = pull.place(f"{source.name}-{taken + 1:09d}.jsonl")
        path.write_bytes(b"".join(batch))
        for row in batch:
            chain.update(row)
        taken += len(batch)
        found.documents.append(Document(path, effective))
    found.watermark = {"rows": taken, "hash": chain.hexdigest() if taken else "", "revision": revision}
    found.counts.update(rows=taken if again else taken - int(pull.watermark.get("rows", 0)), taken_anew=int(again))
    return found


def _folder(source: HfDataset) -> tuple[Path, str]:
    """Where the dataset lies, and its commit where known."""
    if source.folder is not None:
        if not source.folder.is_dir():
            raise NotFound("there is no such folder", where=source.name, todo="is it mounted?")
        return source.folder, ""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        found = Path(snapshot_download(str(source.dataset), repo_type="dataset", revision=source.revision, local_files_only=True))
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError):
        todo = "fetch it with `hf download --repo-type dataset`, or name a folder"
        raise NotFound(f"{source.dataset} at {source.revision} is not in this host's cache", where=source.name, todo=todo) from None
    return found, found.name


def _rows(source: HfDataset, folder: Path) -> Iterator[bytes]:
    import datasets

    # It logs, at ERROR, the names of files and what pyarrow says of a value.
    logging.getLogger("datasets").setLevel(logging.CRITICAL)
    _stays_inside(source, folder)
    try:
        if (folder / "state.json").is_file() or (folder / "dataset_dict.json").is_file():
            loaded = datasets.load_from_disk(str(folder))
            data: Any = loaded[source.split] if isinstance(loaded, dict) else loaded
        else:
            data = datasets.load_dataset(str(folder), name=source.config, split=source.split, streaming=True)
        if source.columns:
            data = data.select_columns(list(source.columns))
    except (ValueError, KeyError, FileNotFoundError, datasets.exceptions.DatasetNotFoundError) as error:
        what = f"the dataset cannot be opened ({type(error).__name__})"
        raise ConfigError(what, where=source.name, todo="check config, split and columns") from None
    rows = iter(data)
    while True:
        try:
            row = next(rows)
        except StopIteration:
            return
        except Exception as error:  # of pyarrow, pandas or the library: what they say repeats the value
            what = f"a row cannot be read ({type(error).__name__})"
            raise ConfigError(what, where=source.name, todo="check the dataset's features") from None
        yield json.dumps(row, ensure_ascii=False, sort_keys=True, default=_as_text).encode() + b"\n"


def _stays_inside(source: HfDataset, folder: Path) -> None:
    """A dataset's card may say where its files are. One that points out of its folder would have us read, or fetch, what is not the
    dataset's."""
    for name in ("README.md", ".huggingface.yaml"):
        path = folder / name
        if not path.is_file():
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        parts = text.split("\n---", 1) if name == "README.md" else [text]
        if name == "README.md" and (len(parts) < 2 or not text.startswith("---")):
            continue
        try:
            card = yaml.safe_load(parts[0].removeprefix("---"))
        except yaml.YAMLError:
            card = None
        for value in _strings(card.get("configs") if isinstance(card, dict) else None):
            if "://" in value or value.startswith(("/", "~")) or "::" in value or ".." in PurePosixPath(value).parts:
                raise ConfigError(
                    "the dataset's card points out of its folder", where=source.name, todo="look at its README before you use it"
                )


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _strings(one)


def _as_text(value: object) -> str:
    if isinstance(value, bytes | bytearray):
        raise ConfigError("the dataset has a column of bytes", todo="name the text columns under `columns`")
    return str(value)
