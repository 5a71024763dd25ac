"""Prompts in MLflow's prompt registry: one per domain and family, `regulatory-grounded_extraction`, and a version of it for each template
that a candidate was assembled with.

The alias `candidate` is on the version of the newest candidate, `live` on that of what answers. The hash that the control database
knows a prompt by is a tag, so that the same template is the same version however often it is told. `tracking` calls these with a client of
a server that answers; whatever MLflow raises goes through.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pipelines.config import Settings
from pipelines.errors import RatchetError
from pipelines.training.prompt import Prompt

CANDIDATE, LIVE = "candidate", "live"
_SHA256 = "ratchet.prompt_sha256"
_PAGE = 100


def message(domain: str, candidate_id: str, prompt: Prompt) -> dict[str, Any]:
    """What the outbox keeps of an assembled candidate's prompt. The template is in it: its file may have changed when MLflow is told."""
    return {
        "domain": domain,
        "candidate_id": candidate_id,
        "prompt": prompt.name,
        "prompt_sha256": prompt.sha256,
        "template": prompt.source,
    }


def name_of(domain: str, prompt: str) -> str:
    """`regulatory`, `grounded_extraction/v2` -> `regulatory-grounded_extraction`. The name of the domain's adapters is not a prompt's."""
    family = prompt.partition("/")[0]
    return f"{domain}-{family}" if family != "adapter" else f"{domain}-adapter-prompt"


def register(client: Any, experiment: str, told: Mapping[str, Any]) -> int:
    """The version of a template (`message`), made where there is none; the alias `candidate` moves to it. Returns its number."""
    name, version = name_of(told["domain"], told["prompt"]), _version(client, told)
    if version is None:
        version = _make(client, experiment, told)
    client.set_prompt_version_tag(name, version, "ratchet.candidate", told["candidate_id"])
    client.set_prompt_alias(name, CANDIDATE, version)
    return version


def move_live(client: Any, experiment: str, settings: Settings, told: Mapping[str, Any]) -> int | None:
    """Put the alias `live` on the version of a release's prompt and take it from the domain's other families. Returns the number.

    Told: domain, candidate_id, prompt, prompt_sha256. What was assembled before prompts were registered is registered from its file; where
    that says something else by now, no version has the alias, for none would be the right one.
    """
    name, version = name_of(told["domain"], told["prompt"]), _version(client, told)
    if version is None and (source := _written(settings, told["prompt"], told["prompt_sha256"])) is not None:
        version = _make(client, experiment, {**told, "template": source})
    for other in client.search_prompts(f"name LIKE '{told['domain']}-%'"):
        # In LIKE an underscore stands for any character, so another domain may be among them.
        if other.name.startswith(f"{told['domain']}-") and (other.name != name or version is None):
            client.delete_prompt_alias(other.name, LIVE)
    if version is not None:
        client.set_prompt_version_tag(name, version, "ratchet.release", told["candidate_id"])
        client.set_prompt_alias(name, LIVE, version)
    return version


def _make(client: Any, experiment: str, told: Mapping[str, Any]) -> int:
    from mlflow.prompt.constants import PROMPT_EXPERIMENT_IDS_TAG_KEY

    name = name_of(told["domain"], told["prompt"])
    if client.get_prompt(name) is None:
        # Listed with the domain's runs. `register_prompt` would list it with MLflow's default experiment, from a thread of its own.
        tags = {"ratchet.domain": told["domain"], PROMPT_EXPERIMENT_IDS_TAG_KEY: f",{experiment},"}
        client.create_prompt(name, description=f"Prompts of the domain {told['domain']}", tags=tags)
    tags = {"ratchet.prompt": told["prompt"], _SHA256: told["prompt_sha256"], "ratchet.candidate": told["candidate_id"]}
    return int(client.create_prompt_version(name, told["template"], description=told["prompt"], tags=tags).version)


def _version(client: Any, told: Mapping[str, Any]) -> int | None:
    found = (
        one.version for one in _versions(client, name_of(told["domain"], told["prompt"])) if one.tags.get(_SHA256) == told["prompt_sha256"]
    )
    return min(found, default=None)


def _versions(client: Any, name: str) -> Iterator[Any]:
    if client.get_prompt(name) is None:
        return
    token = None
    while True:
        page = client.search_prompt_versions(name, _PAGE, token)
        yield from page
        if not (token := page.token):
            return


def _written(settings: Settings, name: str, wanted: str) -> str | None:
    """The template, where its file still has this hash."""
    try:
        prompt = Prompt.load(name, settings)
    except RatchetError:
        return None
    return prompt.source if prompt.sha256 == wanted else None
