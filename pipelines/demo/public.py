"""The same story on public data: Regulation M and its notices in order, and a day of mock consultations.

Nothing of it ships with the project. What the story needs beside the data, goldens with their dates, it reads out of the data itself.
"""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pipelines.config import Settings, load_domain
from pipelines.demo.script import QUESTION, Part, Script
from pipelines.errors import BadInput

FOREVER = "9999-12-31"
LINE = re.compile(r"From January 1, (?P<year>\d{4}) through December 31, (?P=year), the threshold amount is (?P<amount>\$[\d,]+)\.")
ASKS = (
    "What is the exempt consumer lease threshold in {year}?",
    "What is the threshold amount from January 1, {year} through December 31, {year}?",
    "What threshold amount applies to consumer leases in {year}?",
    "Which threshold amount is in effect during {year}?",
    "In {year}, what is the threshold amount?",
    "What was the threshold amount for the year {year}?",
    "What is the threshold amount through December 31, {year}?",
    "State the threshold amount in effect in {year}.",
)
HISTORY = re.compile(r"(?P<time>\d+/(?:7|52|12)) hx of (?P<what>[a-z]+(?: (?!and\b)[a-z]+)?)")
"""Doctors' shorthand: 3/7 is three days, 2/52 two weeks, 4/12 four months."""


def script(settings: Settings, data: Path) -> tuple[Settings, Script]:
    """Settings with configs of their own under var/demo, and the script. BadInput when the data is not there."""
    regulation, notices, notes = data / "cfpb_regulations/regulation/1013", data / "cfpb_regulations/notice/1013", data / "primock57"
    for folder in (regulation, notices, notes):
        if not folder.is_dir():
            raise BadInput("the public data is not there", where=str(folder), todo="see README, 'your own data'")
    own = settings.model_copy(update={"configs": settings.var / "demo" / "configs"})
    shutil.copytree(settings.configs, own.configs, dirs_exist_ok=True)
    goldens = own.configs / "goldens"
    goldens.mkdir(exist_ok=True)
    _write(goldens / "regulatory.jsonl", _thresholds(own, regulation))
    consultations = sorted((notes / "notes").glob("day1_*.json"))
    _write(goldens / "clinical.jsonl", _histories(consultations))
    _own_domains(own)

    from pipelines.samples.write import write

    samples = settings.var / "samples"
    write(samples)
    first = regulation / "2011-31723.xml"
    worse = _worse(regulation / "2017-24411.xml", settings.var / "demo" / "2017-99999.xml")
    return own, Script(
        name=f"public data at {data}",
        base=Part("2011-31723", [first], effective(first), "CFPB"),
        amendment=[Part(path.stem, [path], effective(path), "CFPB") for path in sorted(notices.glob("*.xml"), key=effective)],
        broken=Part("broken", [samples / "regulatory/03-broken/2014-90009.xml"], "2018-01-01", "CFPB"),
        worse=Part("worse", [worse], "2018-02-01", "CFPB"),
        clinical=Part("primock57-day1", consultations, "2022-01-01", "primock57"),
        question=QUESTION,
        as_of="2013-06-01",
        clinical_question="For how long has there been diarrhea?",
        planted=[],
    )


@dataclass(frozen=True, slots=True)
class _Held:
    year: str
    amount: str
    key: str


def _thresholds(settings: Settings, folder: Path) -> list[dict[str, Any]]:
    """Goldens on the yearly lines, each valid while a paragraph of that label says so. Lines for parts of a year stay for training."""
    from pipelines.intake import formats

    sources = load_domain("regulatory", settings).sources
    states: list[tuple[str, set[_Held]]] = []
    for path in sorted(folder.glob("*.xml"), key=effective):
        day = effective(path)
        held = set()
        for record in formats.read(path, sources, effective=day, where=""):
            if isinstance(record, formats.RawRecord) and (found := LINE.search(record.text)):
                held.add(_Held(found["year"], found["amount"], record.key))
        states.append((day, held))
    rows = []
    for line in sorted({line for _, held in states for line in held}, key=lambda one: (one.year, one.key)):
        days = [day for day, held in states if line in held]
        after = [day for day, held in states if day > days[-1] and line not in held]
        for number, ask in enumerate(ASKS):
            rows.append(
                {
                    "id": f"{line.key}-{line.year}-{number}",
                    "question": ask.format(year=line.year),
                    "answer": line.amount,
                    "cites": line.key,
                    "valid_from": days[0],
                    "valid_to": after[0] if after else FOREVER,
                    "author": "pipelines.demo.public",
                    "reviewer": "steward",
                }
            )
    return rows


def _histories(notes: list[Path]) -> list[dict[str, Any]]:
    """Goldens on the length of a complaint's history, where one note only speaks of that complaint."""
    found: dict[str, list[tuple[str, str]]] = {}
    for path in notes:
        match = HISTORY.search(json.loads(path.read_text(encoding="utf-8"))["note"])
        if match:
            found.setdefault(match["what"], []).append((match["time"], match.group()))
    return [
        {
            "id": f"history-{what.replace(' ', '-')}",
            "question": f"For how long has there been {what}?",
            "answer": times[0][0],
            "quote": times[0][1],
            "valid_from": "2022-01-01",
            "author": "pipelines.demo.public",
            "reviewer": "steward",
        }
        for what, times in sorted(found.items())
        if len(times) == 1
    ]


def _own_domains(settings: Settings) -> None:
    """The two domains, fitted to this data: the consultations' columns and shorthand, and as many goldens as there are."""
    folder = settings.configs / "domains"
    for name in ("regulatory", "clinical"):
        values = yaml.safe_load((folder / f"{name}.yaml").read_text(encoding="utf-8"))
        values["gate"]["min_goldens"] = len(ASKS)
        if name == "clinical":
            values["sources"] |= {"key": "id", "text": ["presenting_complaint", "note"], "title": None, "subject": [], "effective": None}
            ask = ["For how long has there been {what}?", "How long is the history of {what}?"]
            values["task"]["rules"].append({"pattern": HISTORY.pattern, "ask": ask, "answer": "{time}", "swap": {"time": "number"}})
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")


def _worse(source: Path, target: Path) -> Path:
    """A notice that repeats every threshold line as a bad scan would read it."""
    from defusedxml.ElementTree import parse

    lines = []
    for element in parse(source).iter():
        content = element.find("{eregs}content")
        text = "" if content is None or content.text is None else content.text
        if element.get("label") and LINE.search(text):
            spoilt = re.sub(r"\$\d\d,\d", "$S~,", text)
            lines.append(
                f'<change operation="modified" label="{element.get("label")}"><interpParagraph label="{element.get("label")}" '
                f'marker="{element.get("marker")}"><content>{spoilt}</content></interpParagraph></change>'
            )
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(
        '<notice xmlns="eregs"><preamble><cfr><title>12</title><section>1013</section></cfr><documentNumber>2018-99999</documentNumber>'
        "<effectiveDate>2018-02-01</effectiveDate></preamble>"
        f'<changeset leftDocumentNumber="2017-24411" rightDocumentNumber="2018-99999">{"".join(lines)}</changeset></notice>',
        encoding="utf-8",
    )
    return target


def effective(path: Path) -> str:
    """The date a RegML file takes effect. BadInput when it does not say."""
    from defusedxml.ElementTree import parse

    found = parse(path).find(".//{eregs}effectiveDate")
    if found is None or not found.text:
        raise BadInput("no effectiveDate", where=str(path))
    return str(found.text)


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
