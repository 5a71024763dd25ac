"""Kept answers by number, as a gateway would have written them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from pipelines.config import DomainConfig, Settings
from pipelines.traffic import samples
from pipelines.traffic.samples import Sample, Shown

TEXT = "A lessor must keep payment ledgers for 30 months after the lease ends."
PASSAGE = Shown(key="9-8-a", content="c1", paragraph="9.8(a)", title="Retention", text=TEXT)


def sample(at: datetime, number: int = 0, **told: Any) -> Sample:
    """A grounded answer; `told` replaces fields."""
    values: dict[str, Any] = {
        "at": at, "request_id": f"q-{number}", "question": f"How long must a lessor keep payment ledgers of lease {number}?",
        "answer": "30 months [9.8(a)]", "span": "30 months", "as_of": "2015-06-01", "passages": (PASSAGE,), "cited": "9-8-a",
        "release": "regulatory/r1", "tenant": "t", "key": "k", "confidence": 0.9,
    }  # fmt: skip
    return Sample.model_validate(values | told)


def keep(settings: Settings, domain: DomainConfig, kept: Iterable[Sample]) -> None:
    """Append them to the domain's kept answers."""
    for one in kept:
        path = settings.var / "samples" / domain.domain / f"{one.at:%Y-%m-%dT%H}-1-abc-1.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(samples.line(settings, domain, one)) + "\n")
