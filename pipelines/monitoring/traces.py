"""Requests that show what a rule saw: the newest records of its group, those that show it best first. Ids only, never text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from pipelines.config import Settings
from pipelines.monitor_config import Monitors, Rule
from pipelines.monitoring.observations import PROBE_KEY
from pipelines.traffic import segments

LIMIT = 10
TAIL_BYTES = 1024 * 1024
"""Of each segment, the end that is read: some thousand requests. A burst of a million records costs no more."""
SEGMENTS = 16
"""Of several gateways, the newest so many."""

_Score = Callable[[dict[str, Any]], float | None]
"""How well a record shows it; None: not at all."""


def showing(settings: Settings, domain: str, config: Monitors, rule: Rule, group: str, begin: datetime, end: datetime) -> list[str]:
    """Up to ten request ids of the group from `begin` until before `end`, the clearest first, then the newest."""
    score = _score_of(rule)
    found: list[tuple[float, str, str]] = []
    for record in _newest(segments.folder_of(settings, domain), begin, end):
        if record.get("shadow") or record.get("key") == PROBE_KEY or _group(record, rule, config) != group:
            continue
        worth = score(record)
        if worth is not None and (name := record.get("request_id")):
            found.append((worth, record["at"], name))
    return list(dict.fromkeys(name for _, _, name in sorted(found, reverse=True)))[:LIMIT]


def _newest(folder: Path, begin: datetime, end: datetime) -> Iterator[dict[str, Any]]:
    for name in segments.names(folder, begin)[-SEGMENTS:]:
        path = segments.place(folder, name)
        if path is None:
            continue
        with suppress(FileNotFoundError):
            start = max(path.stat().st_size - TAIL_BYTES, 0)
            for line, _ in segments.lines(path, start):
                record = segments.parse(line)  # the first line is torn where the middle of a file was begun at: it is no record
                if record is not None and begin <= segments.moment(record) < end:
                    yield record


def _group(record: dict[str, Any], rule: Rule, config: Monitors) -> str:
    match rule.by:
        case "release" | "prompt" | "tenant":
            return str(record.get(rule.by) or "none")
        case "slice":
            key = record.get("cited") or next(iter(record.get("sources") or []), None)
            return next((one.name for one in config.slices if key and re.search(one.key, key)), "other")
        case _:
            return "all"


def _score_of(rule: Rule) -> _Score:
    up = getattr(rule, "below", None) is None and getattr(rule, "direction", "up") != "down"
    number = _NUMBERS.get(rule.measure)
    if number is not None:
        return lambda record: None if record.get(number) is None else float(record[number]) * (1 if up else -1)
    holds = _SHARES.get(rule.measure)
    if holds is not None:
        return lambda record: 1.0 if holds(record) == up else None
    return _every


def _every(_record: dict[str, Any]) -> float:
    return 0.0


def _guard(*names: str) -> Callable[[dict[str, Any]], bool]:
    return lambda record: any(one.get("rule") in names for one in record.get("guards") or [])


_NUMBERS = {
    "latency_p50": "latency_ms", "latency_p95": "latency_ms", "latency_p99": "latency_ms", "first_p95": "first_ms",
    "tokens_in_mean": "tokens_in", "tokens_out_mean": "tokens_out", "tokens_per_minute": "tokens_out", "cost_per_request": "tokens_out",
    "cost_per_hour": "tokens_out", "confidence_mean": "confidence", "top_score_mean": "top_score",
}  # fmt: skip
_SHARES: dict[str, Callable[[dict[str, Any]], bool]] = {
    "error_share": lambda record: record.get("status", 0) >= 500,
    "refused_share": lambda record: 400 <= record.get("status", 0) < 499 and record["status"] not in (401, 403, 404),
    "gone_share": lambda record: record.get("status") == 499,
    "cache_share": lambda record: record.get("cache") is not None,
    "small_share": lambda record: record.get("route") == "small",
    "provider_share": lambda record: record.get("route") == "provider",
    "abstained_share": lambda record: bool(record.get("abstained")),
    "withheld_share": lambda record: record.get("reason") in ("answer_withheld", "passages_withheld"),
    "ungrounded_share": lambda record: (
        record.get("reason") in ("not_in_passage", "bad_citation", "other_year") or _guard("numbers")(record)
    ),
    "cited_share": lambda record: record.get("cited") is not None,
    "unsure_share": lambda record: record.get("confidence") is not None and record["confidence"] < 0.5,
    "injection_share": _guard("injection"),
    "toxic_share": _guard("toxicity", "toxic_answers"),
    "identifier_share": _guard("identifiers", "canaries"),
}
