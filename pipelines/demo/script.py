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
    from pipelines.samples.write import write

    root = settings.var / "samples"
    write(root)
    deliveries = json.loads((root / "deliveries.json").read_text(encoding="utf-8"))
    parts = {one["folder"]: part(root / one["folder"], one["effective"], one["source"]) for one in deliveries}
    goldens = [json.loads(line) for line in (root / "goldens" / "clinical.jsonl").read_text(encoding="utf-8").splitlines()]
    return Script(
        name="generated",
        base=parts["regulatory/01-base"],
        amendment=[parts["regulatory/02-amendment"]],
        broken=parts["regulatory/03-broken"],
        worse=parts["regulatory/04-worse"],
        clinical=parts["clinical/01-notes"],
        question=QUESTION,
        as_of=parts["regulatory/01-base"].effective,
        clinical_question=goldens[0]["question"],
        planted=json.loads((root / "planted.json").read_text(encoding="utf-8")),
    )


def part(folder: Path, effective: str, source: str) -> Part:
    """All files of a folder as one delivery."""
    return Part(folder.name, sorted(path for path in folder.iterdir() if path.is_file()), effective, source)
