"""Dates as they are written, moved by days and written the same way."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Final

import regex  # type: ignore[import-untyped]

_MONTHS: Final = ("january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november", "december")
_WORDS: Final = regex.compile(
    r"(?P<before>\d{1,2})?(?P<suffix>st|nd|rd|th)?[\s]*(?:of\s+)?(?P<month>\p{L}{3,9})\.?\s*(?P<after>\d{1,2})?(?P<tail>st|nd|rd|th)?,?\s*(?P<year>\d{4})"
)
_ISO: Final = regex.compile(r"(?P<year>\d{4})(?P<by>[-/.])(?P<month>\d{1,2})(?P=by)(?P<day>\d{1,2})(?P<rest>[T ]\d{2}:\d{2}.*)?")
_SHORT: Final = regex.compile(r"(?P<first>\d{1,2})(?P<by>[-/.])(?P<second>\d{1,2})(?P=by)(?P<year>\d{4})")


def shift(written: str, days: int) -> str | None:
    """The date so many days later in the same form, or None where it is not a whole date with a year of four digits.

    `03/05/2014` is read month first, as in the United States, unless that is no date.
    """
    if match := _ISO.fullmatch(written):
        moved = _moved(match["year"], match["month"], match["day"], days)
        by = match["by"]
        return f"{moved.year}{by}{moved.month:02}{by}{moved.day:02}{match['rest'] or ''}" if moved else None
    if match := _SHORT.fullmatch(written):
        by, american = match["by"], True
        moved = _moved(match["year"], match["first"], match["second"], days)
        if moved is None:
            american, moved = False, _moved(match["year"], match["second"], match["first"], days)
        if moved is None:
            return None
        first, second = (moved.month, moved.day) if american else (moved.day, moved.month)
        return f"{first:02}{by}{second:02}{by}{moved.year}"
    if (match := _WORDS.fullmatch(written)) and (month := _number(match["month"])):
        day = match["before"] or match["after"]
        moved = _moved(match["year"], month, day, days) if day else None
        if moved is None:
            return None
        name = _MONTHS[moved.month - 1].title()
        return f"{moved.day} {name} {moved.year}" if match["before"] else f"{name} {moved.day}, {moved.year}"
    return None


def _number(word: str) -> int | None:
    near = [n for n, name in enumerate(_MONTHS, 1) if name.startswith(word.lower()[:3])]
    return near[0] if len(near) == 1 else None


def _moved(year: str | int, month: str | int, day: str | int, days: int) -> date | None:
    try:
        return date(int(year), int(month), int(day)) + timedelta(days=days)
    except (ValueError, OverflowError):
        return None
