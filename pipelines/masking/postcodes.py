"""Postal codes that stand beside a place: a bare number is one there and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import regex  # type: ignore[import-untyped]

from pipelines.masking.patterns import LOW_POPULATION_ZIP3

_CODE: Final = (
    r"(?P<code>\d{5}-\d{3,4}|(?:[A-Z]{1,2}-)?\d{3}[ -]\d{2}|(?:[A-Z]{1,2}-)?(?!(?:1[89]|20)\d\d\b)\d{4,6}"
    r"|[A-Z]{1,2}\d[A-Z\d]? ?\d[A-Z]{2}|[A-Z]\d[A-Z] ?\d[A-Z]\d)"
)
_AFTER: Final = regex.compile(
    rf"[\s,]{{1,3}}(?:[A-Z]{{2}}[\s,]{{1,2}})?{_CODE}(?![\w%]|[.,:/-]\d|\s?(?:people|miles|km|mg|units?|dollars|euros?))"
)
_BEFORE: Final = regex.compile(rf"(?<![\w$€£.,:/+-]){_CODE}[\s,]{{1,2}}$")
_US: Final = regex.compile(r"\d{5}(?:-\d{4})?")


def beside(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """(start, end) of the postal codes right before and right after a place or an address."""
    if after := _AFTER.match(text, end):
        yield after.span("code")
    window = max(0, start - 14)
    if before := _BEFORE.search(text[window:start]):
        yield window + before.start("code"), window + before.end("code")


def shortened(code: str) -> str:
    """What safe harbor leaves of a code: a US one's first three digits, 000 where few people live; of others nothing."""
    if not _US.fullmatch(code):
        return "[ZIP]"
    return "000" if code[:3] in LOW_POPULATION_ZIP3 else code[:3]
