"""Answers as a gateway would have given and kept them: a line of the traffic log and one of the samples each."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import traffic_lines

from pipelines.config import DomainConfig, Settings
from pipelines.traffic import samples
from pipelines.traffic.samples import Sample, Shown

PASSAGE = Shown(
    key="9-2-e",
    content="0" * 64,
    paragraph="9.2(e)",
    title="Threshold amount",
    text="The threshold amount is $53,500 for a consumer lease. A lessor keeps the account for 24 months.",
)


LEDGERS = Shown(
    key="9-8-a",
    content="c1",
    paragraph="9.8(a)",
    title="Retention",
    text="A lessor must keep payment ledgers for 30 months after the lease ends.",
)


def sample(request_id: str, at: datetime, question: str, **told: Any) -> Sample:
    """A sure and well-grounded answer; `told` replaces fields."""
    whole: dict[str, Any] = {
        "at": at, "request_id": request_id, "question": question, "answer": "$53,500 [9.2(e)]", "span": "$53,500", "as_of": "2015-06-01",
        "passages": (PASSAGE,), "cited": "9-2-e", "release": "regulatory/r1", "tenant": "legal", "key": "legal", "confidence": 0.95,
        "conversation": request_id,
    }  # fmt: skip
    return Sample(**(whole | told))


def numbered(at: datetime, number: int = 0, **told: Any) -> Sample:
    """A grounded answer to a question of its own."""
    words = told.pop("question", f"How long must a lessor keep payment ledgers of lease {number}?")
    grounded = {"answer": "30 months [9.8(a)]", "span": "30 months", "passages": (LEDGERS,), "cited": "9-8-a"}
    return sample(f"q-{number}", at, words, **grounded | told)


def keep(settings: Settings, domain: DomainConfig, *kept: Sample, logged: bool = True) -> None:
    """Write them to the samples, and to the traffic log too unless told otherwise."""
    for one in kept:
        path = settings.var / "samples" / domain.domain / f"{one.at:%Y-%m-%dT%H}-1-abc-1.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(samples.line(settings, domain, one), separators=(",", ":")) + "\n")
        if logged:
            log(settings, domain, one.request_id, one.at, tenant=one.tenant, key=one.key, stored=True)


def log(settings: Settings, domain: DomainConfig, request_id: str, at: datetime, **told: Any) -> None:
    """A line of the traffic log alone."""
    line = traffic_lines.record("regulatory/r1", **{"request_id": request_id, "tenant": "legal", "key": "legal", **told})
    path = settings.var / "traffic" / domain.domain / f"{at:%Y-%m-%dT%H}-1-abc-1.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"at": at.isoformat(timespec="milliseconds"), **line}, separators=(",", ":")) + "\n")
