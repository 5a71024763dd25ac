"""What stands beside places: postal codes, which are bare numbers anywhere else, and the rest of an address."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import regex  # type: ignore[import-untyped]

from pipelines.masking.patterns import LOW_POPULATION_ZIP3

Finding = tuple[int, int, str, float]
"""Start, end, kind and score."""

_CODE: Final = (
    r"(?P<code>\d{5}-\d{3,4}|(?:[A-Z]{1,2}-)?\d{3}[ -]\d{2}|(?:[A-Z]{1,2}-)?(?!(?:1[89]|20)\d\d\b)\d{4,6}"
    r"|[A-Z]{1,2}\d[A-Z\d]? ?\d[A-Z]{2}|[A-Z]\d[A-Z] ?\d[A-Z]\d)"
)
_AFTER: Final = regex.compile(
    rf"[\s,]{{1,3}}(?:[A-Z]{{2}}[\s,]{{1,2}})?{_CODE}(?![\w%]|[.,:/-]\d|\s?(?:people|miles|km|mg|units?|dollars|euros?))"
)
_BEFORE: Final = regex.compile(rf"(?<![\w$€£.,:/+-]){_CODE}[\s,]{{1,2}}$")
_TAIL: Final = regex.compile(
    r"[\s,]{1,4}(?:[A-Z]{2,3}[\s,]{1,3})?(?P<code>\d{3,7})(?![\w%]|[.,:/-]\d|\s?(?:people|miles|km|mg|units?|dollars|euros?))"
)
_DISTRICT: Final = regex.compile(r"[\s,]{0,3}\(\p{Lu}[\p{L} .'’-]{0,24}\)")
_GAP: Final = regex.compile(r"[\s,;]{0,4}(?:[A-Z]{2,3}[\s,]{1,3})?")
_US: Final = regex.compile(r"\d{5}(?:-\d{4})?")


def beside(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """(start, end) of the postal codes right before and right after a place or an address."""
    if after := _AFTER.match(text, end):
        yield after.span("code")
    window = max(0, start - 14)
    if before := _BEFORE.search(text[window:start]):
        yield window + before.start("code"), window + before.end("code")


def joined(text: str, spans: Iterable[Finding]) -> list[Finding]:
    """Spans with the towns and numbers that go on with an address taken into it: an envelope is masked whole."""
    made: list[Finding] = []
    for start, end, kind, score in sorted(spans):
        if kind == "ADDRESS":
            end = _onward(text, end)
        last = made[-1] if made else None
        both = {kind, last[2]} if last else set()
        if last and "ADDRESS" in both and both <= {"ADDRESS", "PLACE"} and _GAP.fullmatch(text, last[1], max(start, last[1])):
            made[-1] = (last[0], _onward(text, max(end, last[1])), "ADDRESS", max(score, last[3]))
        else:
            made.append((start, end, kind, score))
    return made


def _onward(text: str, end: int) -> int:
    """Where an address ends that goes on with a district in brackets or a number."""
    if district := _DISTRICT.match(text, end):
        end = district.end()
    tail = _TAIL.match(text, end)
    return int(tail.end("code")) if tail else end


def shortened(code: str) -> str:
    """What safe harbor leaves of a code: a US one's first three digits, 000 where few people live; of others nothing."""
    if not _US.fullmatch(code):
        return "[ZIP]"
    return "000" if code[:3] in LOW_POPULATION_ZIP3 else code[:3]
