"""A small law that tests deliver: whole texts and notices in RegML, through claim, prepare and publish."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from pipelines.config import PROJECT, Settings
from pipelines.corpus import warehouse
from pipelines.corpus.documents import as_of
from pipelines.intake import landing
from pipelines.steps import ingest, publish

FRONT = "<preamble><documentNumber>{number}</documentNumber><effectiveDate>{day}</effectiveDate></preamble>"
PARAGRAPH = '<paragraph label="9-{label}"><title>About {label}.</title><content>{text}</content></paragraph>'


def regulation(folder: Path, number: str, day: str, **texts: str) -> Path:
    body = "".join(PARAGRAPH.format(label=label, text=text) for label, text in texts.items())
    return _write(
        folder, number, f'<regulation xmlns="eregs">{FRONT.format(number=number, day=day)}<part label="9">{body}</part></regulation>'
    )


def notice(folder: Path, number: str, day: str, amends: str, **texts: str) -> Path:
    changes = "".join(
        f'<change operation="modified" label="9-{label}">{PARAGRAPH.format(label=label, text=text)}</change>'
        for label, text in texts.items()
    )
    changeset = f'<changeset leftDocumentNumber="{amends}" rightDocumentNumber="{number}">{changes}</changeset>'
    return _write(folder, number, f'<notice xmlns="eregs">{FRONT.format(number=number, day=day)}{changeset}</notice>')


def by_structure(settings: Settings, folder: Path, examples: dict[str, Any]) -> Settings:
    """The site with configs of its own: no question rules, these examples, and a golden on paragraph `9-p3`."""
    configs = folder / "configs"
    (configs / "domains").mkdir(parents=True)
    (configs / "goldens").mkdir()
    for shared in ("prompts", "suites"):
        (configs / shared).symlink_to(PROJECT / "configs" / shared)
    domain = yaml.safe_load((PROJECT / "configs" / "domains" / "regulatory.yaml").read_text(encoding="utf-8"))
    domain["task"]["rules"] = []
    domain |= {"examples": examples, "retrieval": {"chunk_words": 60}}
    (configs / "domains" / "regulatory.yaml").write_text(yaml.safe_dump(domain), encoding="utf-8")
    golden = {
        "id": "g",
        "question": "What?",
        "answer": "sort 3",
        "cites": "9-p3",
        "valid_from": "2011-01-01",
        "author": "a",
        "reviewer": "b",
    }
    (configs / "goldens" / "regulatory.jsonl").write_text(json.dumps(golden) + "\n", encoding="utf-8")
    return settings.model_copy(update={"configs": configs})


def _write(folder: Path, number: str, text: str) -> Path:
    path = folder / f"{number}.xml"
    path.write_text(text, encoding="utf-8")
    return path


def deliver(settings: Settings, path: Path, run: str) -> list[str]:
    """One delivery through claim, prepare and publish as one run; the versions it made."""
    landing.deliver(settings, "regulatory", [path], uploader="steward", source="test", effective="2011-01-01")
    return work(settings, run)


def work(settings: Settings, run: str) -> list[str]:
    arrivals = ingest.claim(settings, "regulatory", "regulatory.ingest", run)
    for arrival in arrivals:
        ingest.prepare(settings, "regulatory", arrival)
    return publish.publish(settings, "regulatory", arrivals)


def held(settings: Settings, version: str, day: str) -> dict[str, str]:
    return {row.key: row.text for row in as_of(warehouse.documents(settings, "regulatory", version), day)}
