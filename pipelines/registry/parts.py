"""The parts a candidate is made of, and the hashes that name them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.config import DomainConfig, Settings
from pipelines.errors import Conflict
from pipelines.manifest import sha256, sha256_folder
from pipelines.parsing import parse, read_yaml
from pipelines.strict import Strict


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
            **turns(domain),
        }
    )


def learning_parts(settings: Settings, domain: DomainConfig) -> dict[str, str]:
    """The same by part, one hash each, so that a plan can say what changed."""
    task = domain.task.model_dump(mode="json")
    rules, _ = task.pop("rules"), task.pop("prompt")
    return {
        "base": base_sha256(domain),
        "prompt": prompt_sha256(settings, domain),
        "task": sha256(task),
        "rules": sha256(rules),
        "examples": sha256(domain.examples.model_dump(mode="json")),
        "recipe": sha256(domain.recipe.model_dump(mode="json")),
        "passages": sha256(domain.retrieval.chunk_words),
        **{name: sha256(value) for name, value in turns(domain).items()},
    }


def changed(settings: Settings, domain: DomainConfig, facts: Mapping[str, Any]) -> tuple[str, ...]:
    """What is not as it was when an adapter with these facts was trained. One trained before parts were kept: all or nothing."""
    if facts.get("learning_key") == learning_key(settings, domain):
        return ()
    now, then = learning_parts(settings, domain), facts.get("learning") or {}
    return tuple(name for name in {**now, **then} if now.get(name) != then.get(name)) or ("something else",)


def turns(domain: DomainConfig) -> dict[str, bool]:
    """Whether prompts go through the base's chat template; empty where not, so that what was made before the key was there keeps its
    address."""
    return {"chat_template": True} if domain.base.chat_template else {}


def in_turns(told: Mapping[str, Any]) -> bool:
    """Whether an adapter with these facts, or a candidate with this policy, is asked through the base's chat template."""
    return bool(told.get("chat_template"))


def require_turns(domain: DomainConfig, adapter: str, facts: Mapping[str, Any]) -> None:
    """Conflict when an adapter with these facts was not trained with the chat template as the domain would serve it."""
    if in_turns(facts) != domain.base.chat_template:
        taught = "with" if in_turns(facts) else "without"
        raise Conflict(
            f"{adapter} was trained {taught} the chat template of its base",
            where="base.chat_template",
            todo="train a new adapter (`ratchet plan --override adapter`), or set it back",
        )


def prompt_sha256(settings: Settings, domain: DomainConfig) -> str:
    """Hash of the domain's prompt."""
    from pipelines.training.prompt import Prompt

    return Prompt.load(domain.task.prompt, settings).sha256


class PromptFacts(Strict):
    """`configs/prompts/<family>/<version>.yaml`, beside the template. Not part of its hash: it is not what a model reads."""

    compatible_with: tuple[str, ...] = ()
    """Versions of the same family whose adapters answer as well under this one; the gate has the last word."""


def prompt_fits(settings: Settings, domain: DomainConfig, trained_on: str | None) -> bool:
    """Whether an adapter trained on prompt `family/vN` may answer under the domain's. A base without adapter (None) takes any."""
    if trained_on is None:
        return True
    family, _, version = domain.task.prompt.partition("/")
    path = settings.configs / "prompts" / family / f"{version}.yaml"
    before, _, number = trained_on.partition("/")
    if before != family or not path.is_file():
        return False
    return number in parse(PromptFacts, read_yaml(path), str(path)).compatible_with
