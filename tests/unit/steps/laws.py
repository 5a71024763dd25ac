"""A small law that tests deliver: whole texts and notices in RegML, through claim, prepare and publish."""

from __future__ import annotations

from pathlib import Path

from pipelines.config import Settings
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
