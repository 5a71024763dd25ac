"""A live release without a training: parts that say what trained ones say, moved past gate and approval by hand."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import yaml
from live import make_live

from pipelines.config import PROJECT, Settings, load_domain
from pipelines.intake import landing
from pipelines.manifest import sha256
from pipelines.registry import artifacts, candidates, parts
from pipelines.steps import ingest, publish


def own_configs(settings: Settings, **changes: dict[str, Any]) -> Settings:
    """The site with configs of its own, and sections of its domain files replaced: `regulatory={"recipe": {...}}`."""
    own = settings.model_copy(update={"configs": settings.var / "configs"})
    shutil.copytree(PROJECT / "configs", own.configs, dirs_exist_ok=True)
    for name, sections in changes.items():
        edit(own, name, **sections)
    return own


def edit(settings: Settings, name: str, **sections: Any) -> None:
    """Replace sections of a domain file."""
    path = settings.configs / "domains" / f"{name}.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text(encoding="utf-8")) | sections), encoding="utf-8")


def deliver(settings: Settings, domain: str, files: list[Path], effective: str, source: str = "test") -> str:
    """One delivery through claim, prepare and publish; the version it made."""
    landing.deliver(settings, domain, files, uploader="steward", source=source, effective=effective)
    arrivals = ingest.claim(settings, domain, f"{domain}.ingest", f"{files[0].name} {effective} {source}")
    for arrival in arrivals:
        ingest.prepare(settings, domain, arrival)
    (version,) = publish.publish(settings, domain, arrivals)
    return version


def adapter(settings: Settings, domain_name: str, version: str, **facts: Any) -> str:
    """What a training of today's recipe on the version would enter."""
    domain = load_domain(domain_name, settings)
    step_hash = sha256(["adapter", version, facts])
    weights = json.dumps({"kind": facts["kind"]} if "kind" in facts else {})
    artifacts.make(settings, "adapter", step_hash, lambda out: (out / "facts.json").write_text(weights))
    told = {
        "version": version,
        "prompt": domain.task.prompt,
        "learning_key": parts.learning_key(settings, domain),
        "learning": parts.learning_parts(settings, domain),
    }
    return artifacts.enter(settings, "adapter", domain_name, step_hash, told | facts)


def release(settings: Settings, domain_name: str, version: str, adapter_id: str | None) -> str:
    """A candidate of these parts, live."""
    domain = load_domain(domain_name, settings)
    step_hash = sha256(["index", version, adapter_id])
    artifacts.make(settings, "index", step_hash, lambda out: (out / "x").write_text("x"))
    index_id = artifacts.enter(settings, "index", domain_name, step_hash, {"version": version})
    name = candidates.assemble(
        settings, domain=domain_name, version_id=version, base="b", base_sha256="0", adapter_id=adapter_id, index_id=index_id,
        prompt=domain.task.prompt, prompt_sha256=parts.prompt_sha256(settings, domain), policy={}, step_hash=step_hash,
    )  # fmt: skip
    make_live(settings, name)
    return name
