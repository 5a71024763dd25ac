"""A row, from a table or a JSON object, into a record, by the columns that the domain names."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal

from pipelines.config import Sources
from pipelines.intake.formats.files import MAX_KEY
from pipelines.intake.records import RawRecord, Refusal, iso_date


def needed(sources: Sources) -> list[str]:
    """The columns that the domain names, each once."""
    return list(
        dict.fromkeys((sources.key, *sources.text, *sources.subject, *filter(None, (sources.title, sources.effective, sources.source))))
    )


def record(row: object, sources: Sources, effective: str, place: str) -> RawRecord | Refusal:
    """The row's record, or why it is none."""
    if not isinstance(row, Mapping):
        return Refusal(place, "not an object")
    if missing := [name for name in (sources.key, *sources.text) if name not in row]:
        return Refusal(place, f"columns are missing: {', '.join(missing)}")
    key, title = cell(row.get(sources.key)), cell(row.get(sources.title)) if sources.title else ""
    source = cell(row.get(sources.source)) if sources.source else ""
    parts = [cell(row.get(name)) for name in sources.text]
    subjects = [cell(value) for name in sources.subject for value in _many(row.get(name))]
    if None in (key, title, source, *parts, *subjects):
        return Refusal(place, "a column holds neither text nor a number")
    if not key or len(key) > MAX_KEY:
        return Refusal(place, f"the key in column {sources.key!r} is empty or longer than {MAX_KEY} characters")
    if sources.named_columns:
        parts = [f"{name}:\n{part}" if part else "" for name, part in zip(sources.text, parts, strict=True)]
    text = "\n".join(part for part in parts if part)
    if not text:
        return Refusal(place, "the text is empty")
    valid_from = effective
    if sources.effective:
        try:
            valid_from = day(cell(row.get(sources.effective)) or "")
        except ValueError:
            return Refusal(place, f"column {sources.effective!r} does not hold a date written YYYY-MM-DD")
    return RawRecord(key, title or "", text, valid_from, source or "", False, tuple(filter(None, subjects)), place)


def day(given: str) -> str:
    """The ISO date that a date or a moment begins with; ValueError otherwise."""
    if given[10:11] not in ("", "T", " "):
        raise ValueError("not a date")
    return iso_date(given[:10])


def cell(value: object) -> str | None:
    """A cell as text: text, a number, a date, or a list of turns as lines. None when it is something else."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float | Decimal):
        return str(value)
    if isinstance(value, date | datetime):
        return value.isoformat()
    if isinstance(value, list):
        turns = [_turn(item) for item in value]
        return None if None in turns else "\n".join(turn for turn in turns if turn)
    return None


def _turn(item: object) -> str | None:
    if isinstance(item, str):
        return item.strip()
    if isinstance(item, dict) and isinstance(item.get("text"), str):
        speaker = item.get("speaker", "")
        return f"{speaker}: {item['text'].strip()}" if isinstance(speaker, str) and speaker else str(item["text"]).strip()
    return None


def _many(value: object) -> list[object]:
    return list(value) if isinstance(value, list) else [value]
