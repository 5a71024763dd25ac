"""The parts a candidate is made of, and the hashes that name them."""

from __future__ import annotations

from pathlib import Path

from pipelines.config import DomainConfig, Settings
from pipelines.manifest import sha256, sha256_folder


def base_sha256(domain: DomainConfig) -> str:
    """Hash of a local base model's files; of `name@revision` for one from a hub."""
    path = Path(domain.base.path)
    return sha256_folder(path) if path.is_dir() else sha256(f"{domain.base.model}@{domain.base.revision}")


def engine_name(base_hash: str) -> str:
    """Name of the Triton model that serves a base."""
    return f"engine-{base_hash[:12]}"


def learning_key(settings: Settings, domain: DomainConfig) -> str:
    """Everything that decides what an adapter learns, apart from the documents."""
    from pipelines.training.prompt import Prompt

    return sha256(
        {
            "base": base_sha256(domain),
            "prompt": Prompt.load(domain.task.prompt, settings).sha256,
            "task": domain.task.model_dump(mode="json"),
            "examples": domain.examples.model_dump(mode="json"),
            "recipe": domain.recipe.model_dump(mode="json"),
            "chunk_words": domain.retrieval.chunk_words,
        }
    )
