"""An optional cross-encoder that reads question and passage together and orders the candidates by its logit (Nogueira and Cho, "Passage
Re-ranking with BERT", 2019). On the CPU, from local files only, and only from safetensors.

Does not cover models with more than one label: which of their logits means "relevant" is a matter of their makers.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from pipelines.errors import ConfigError, NotFound
from pipelines.manifest import sha256_file
from pipelines.project import PROJECT

_MAX_TOKENS = 512
_WEIGHTS = "model.safetensors"


def locate(name: str) -> Path:
    """The model's folder: of the project, by an absolute path, or of a hub name in the local cache. NotFound where its weights are not."""
    folder = PROJECT / name
    if not folder.is_dir():
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

        try:
            folder = Path(snapshot_download(name, local_files_only=True))
        except (HFValidationError, LocalEntryNotFoundError):
            folder = Path(name)
    if not (folder / _WEIGHTS).is_file():
        todo = f"name a folder with {_WEIGHTS} in it, or fetch the model into the hub's cache first"
        raise NotFound(f"no reranker {name!r}", where="retrieval.reranker", todo=todo)
    return folder


def weights(name: str) -> str:
    """SHA-256 of the model's weights."""
    return sha256_file(locate(name) / _WEIGHTS)


class Reranker:
    """A loaded cross-encoder, safe to share between threads. ConfigError for a model that is none, or whose head is missing."""

    def __init__(self, name: str) -> None:
        import torch
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        folder = locate(name)
        model, told = AutoModelForSequenceClassification.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, dtype=torch.float32, output_loading_info=True
        )
        if model.config.num_labels != 1 or told["missing_keys"]:
            # A missing head would be drawn at random, and order the passages so.
            raise ConfigError("not a cross-encoder with one logit", where=str(folder), todo="name another model in retrieval.reranker")
        self._model = model.eval()
        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self._longest = min(_MAX_TOKENS, int(model.config.max_position_embeddings))

    def scores(self, question: str, texts: Sequence[str]) -> list[float]:
        """A logit per text, higher is better. Of a pair of more than 512 tokens the longer part is cut."""
        import torch

        pairs = self._tokenizer(
            [question] * len(texts), list(texts), padding=True, truncation=True, max_length=self._longest, return_tensors="pt"
        )
        with torch.inference_mode():
            return [float(logit) for logit in self._model(**pairs).logits[:, 0]]


@lru_cache(maxsize=2)
def reranker(name: str) -> Reranker:
    """The cross-encoder of that name, loaded once per process."""
    return Reranker(name)
