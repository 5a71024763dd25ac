"""What the story delivers and asks: the generated sample."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from pipelines.config import Settings

QUESTION = "What is the exempt consumer lease threshold in 2014?"


@dataclass(frozen=True, slots=True)
class Part:
    """One delivery."""

    name: str
    files: list[Path]
    effective: str
    source: str


@dataclass(frozen=True, slots=True)
class Script:
    """Everything a telling needs."""

    name: str
    base: Part
    amendment: list[Part]
    broken: Part
    worse: Part
    clinical: Part
    question: str
    as_of: str
    clinical_question: str
    planted: list[str]


def generated(settings: Settings) -> Script:
    """Write the generated sample under var/samples and describe it."""
    from pipelines import samples

    root = settings.var / "samples"
    facts = samples.write(root, seed=7)
    return Script(
        name="generated",
        base=part(root / "regulatory" / "01-base", facts.base_effective, "Model Rule Publisher"),
        amendment=[part(root / "regulatory" / "02-amendment", facts.amendment_effective, "Model Rule Publisher")],
        broken=part(root / "regulatory" / "03-broken", facts.broken_effective, "Model Rule Publisher"),
        worse=part(root / "regulatory" / "04-worse", facts.worse_effective, "Model Rule Publisher"),
        clinical=part(root / "clinical" / "01-notes", facts.clinical_effective, "ward system export"),
        question=QUESTION,
        as_of=facts.as_of,
        clinical_question=facts.clinical_question,
        planted=json.loads((root / "planted.json").read_text(encoding="utf-8")),
    )


def part(folder: Path, effective: str, source: str) -> Part:
    """All files of a folder as one delivery."""
    return Part(folder.name, sorted(path for path in folder.iterdir() if path.is_file()), effective, source)
