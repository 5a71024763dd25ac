"""Whether a span stands in a text, and which years a text names: what answers are checked by, given or judged."""

from __future__ import annotations

import re
from functools import lru_cache

_YEAR = re.compile(r"(?<!\d)(?<!\d[.,])(?:19|20)\d\d(?!\d)(?![.,]\d)")


def occurs(span: str, text: str) -> bool:
    """Whether `span` stands in `text` as a whole: `53` does not stand in `53,500`, nor `201` in `2013`."""
    span, text = flatten(span), flatten(text)
    # Not by a regular expression: each new span would have to be compiled, which takes ten times as long as looking.
    at = text.find(span) if span else -1
    while at >= 0:
        if _stands_alone(text, at, at + len(span)):
            return True
        at = text.find(span, at + 1)
    return False


def _stands_alone(text: str, start: int, end: int) -> bool:
    """Whether neither a word nor a number goes on to the left or the right."""
    if text[start].isalnum() and start:
        before = text[start - 1]
        if before.isalnum() or before == "_" or (before in ".," and text[start - 2 : start - 1].isdecimal()):
            return False
    if text[end - 1].isalnum() and end < len(text):
        after = text[end]
        if after.isalnum() or after == "_" or (after in ".," and text[end + 1 : end + 2].isdecimal()):
            return False
    return True


@lru_cache(maxsize=4096)
def years(text: str) -> frozenset[str]:
    """The years that a text names, 1900 to 2099. Remembered: the same passages are shown again and again."""
    return frozenset(_YEAR.findall(text))


def flatten(text: str) -> str:
    """The text on one line, runs of white space as one space."""
    return " ".join(text.split())
