"""Whether a span stands in a text, and which years a text names: what answers are checked by, given or judged."""

from __future__ import annotations

import re

_YEAR = re.compile(r"(?<!\d)(?<!\d[.,])(?:19|20)\d\d(?!\d)(?![.,]\d)")


def occurs(span: str, text: str) -> bool:
    """Whether `span` stands in `text` as a whole: `53` does not stand in `53,500`, nor `201` in `2013`."""
    span = flatten(span)
    if not span:
        return False
    before = r"(?<!\w)(?<!\d[.,])" if span[0].isalnum() else ""
    after = r"(?!\w)(?![.,]\d)" if span[-1].isalnum() else ""
    return re.search(before + re.escape(span) + after, flatten(text)) is not None


def years(text: str) -> set[str]:
    """The years that a text names, 1900 to 2099."""
    return set(_YEAR.findall(text))


def flatten(text: str) -> str:
    """The text on one line, runs of white space as one space."""
    return " ".join(text.split())
