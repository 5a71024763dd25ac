"""Lines of a traffic log, as a gateway would have written them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from pipelines.config import Settings


def record(of: str, number: int = 0, /, **told: Any) -> dict[str, Any]:
    """An answer like any other; `told` replaces fields."""
    whole = {
        "request_id": f"{of}-{number}", "conversation": f"{of}-c{number}", "release": of, "canary": False, "shadow": False,
        "status": 200, "latency_ms": 100.0 + number % 50, "tokens_in": 200 + number % 20, "tokens_out": 20 + number % 10,
        "confidence": 0.9 - number % 10 / 100, "abstained": False, "guards": [], "cache": None,
    }  # fmt: skip
    return whole | told


def write(settings: Settings, domain: str, at: datetime, records: Iterable[dict[str, Any]], end: str = "\n") -> Path:
    """Append records of that moment, a millisecond apart, to the domain's log."""
    path = settings.var / "traffic" / domain / f"{at:%Y-%m-%dT%H}-1-abc-1.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        for k, one in enumerate(records):
            moment = at + timedelta(milliseconds=k)
            file.write(json.dumps({"at": moment.isoformat(timespec="milliseconds"), **one}) + end)
    return path
