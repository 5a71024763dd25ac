"""A published version of the sample's rule and a release of it that is live, without a training, a gate or a Triton."""

from __future__ import annotations

import shutil
from pathlib import Path

from live import make_live

from pipelines.config import PROJECT, Settings, load_domain
from pipelines.intake import landing
from pipelines.registry import candidates, parts
from pipelines.samples.write import write
from pipelines.state.database import migrate
from pipelines.steps import assemble, ingest, publish


def published(folder: Path) -> Settings:
    """`regulatory/r1` of the sample's first delivery, with a real index, on the base model alone."""
    settings = Settings(var=folder / "var", configs=folder / "configs")
    shutil.copytree(PROJECT / "configs", settings.configs)
    migrate(settings)
    write(folder / "samples")
    files = sorted(path for path in (folder / "samples" / "regulatory" / "01-base").iterdir() if path.suffix == ".xml")
    landing.deliver(settings, "regulatory", files, uploader="steward", source="test", effective="2014-01-01")
    arrivals = ingest.claim(settings, "regulatory", "regulatory.ingest", "by hand")
    for arrival in arrivals:
        ingest.prepare(settings, "regulatory", arrival)
    (version,) = publish.publish(settings, "regulatory", arrivals)
    domain = load_domain("regulatory", settings)
    name = candidates.assemble(
        settings,
        domain="regulatory",
        version_id=version,
        base=domain.base.model,
        base_sha256=parts.base_sha256(domain),
        adapter_id=None,
        index_id=str(assemble.index(settings, "regulatory", version).outputs["artifact"]),
        prompt=domain.task.prompt,
        prompt_sha256=parts.prompt_sha256(settings, domain),
        policy={"passages": 1, "max_new_tokens": 48},
        step_hash="by hand",
    )
    make_live(settings, name)
    return settings
