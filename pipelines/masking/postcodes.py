"""Postal codes: by their letters, by a label before them, by the place or address beside them. A bare number is one nowhere else.

Shapes as each post publishes them (Universal Postal Union, *Addressing systems*, a sheet per country): United Kingdom (Royal Mail's 124
areas, no C I K M O V in the last two letters), Canada (Canada Post: no D F I O Q U, no W or Z first), Ireland (Eircode: a routing key
and four characters), Netherlands (`1234 AB`), Poland `12-345`, Portugal `1234-567`, Brazil `12345-678`, Sweden, Czechia, Slovakia and
Greece `123 45`, India and Singapore six digits, Japan `123-4567`, Australia four after the state, Denmark, Norway, Switzerland, Austria,
Belgium, Hungary four, the United States `12345` and `12345-6789`; a country's letters before the number (`CH-8001`, `AZ1000`).

Not covered: four digits that may be a year beside a place (`Sydney 2000` without `NSW` or a street), three digits without a label.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import regex  # type: ignore[import-untyped]

from pipelines.masking.patterns import CANADIAN, EIRCODE_LOOSE, LOW_POPULATION_ZIP3, STATE_CODES, UNITED_KINGDOM

Finding = tuple[int, int, str, float]
"""Start, end, kind and score."""

_PROVINCES = "AB BC MB NB NL NS NT NU ON PE QC SK YT NSW VIC QLD TAS ACT"
_REGION: Final = "(?:" + "|".join(sorted((*STATE_CODES, *_PROVINCES.split()))) + ")"
_NOT_YEAR = r"(?!(?:1[89]|20)\d\d(?!\d))"
_WORDS = "in|is|or|at|on|to|of|we|my|by|as|an|so|it|do|no|if|me|us|he|be|up|go|am|pm|ad|bc|mg|ml|kg|km|cm|mm|iu|ft|lb"
_DUTCH = rf"[1-9]\d{{3}}(?: ?[A-Z]{{2}}|[a-z]{{2}}| (?!(?:{_WORDS})\b)[a-z]{{2}})(?!\w)"
_LETTERED = rf"(?:{UNITED_KINGDOM}|{CANADIAN}|{EIRCODE_LOOSE}|(?!(?i:{_WORDS})\b){_NOT_YEAR}{_DUTCH})"
_BROKEN = r"\d{5}-\d{3,4}|\d{4}-\d{3}|\d{3}[ -]\d{2}|\d{2}-\d{3}"
_CODE: Final = rf"(?P<code>{_LETTERED}|(?:(?i:[A-Z]{{1,2}})-)?(?:{_BROKEN}|{_NOT_YEAR}\d{{4,6}})|(?i:AZ|LV|BB|BM|MD)[ -]?\d{{4,5}})"
_NO_UNIT: Final = r"(?![\w%]|[.,:/-]\d|\s?(?i:people|patients|miles|km|mg|units?|dollars|euros?|residents|inhabitants|of\b))"
_AFTER: Final = regex.compile(
    rf"(?:[\s,]{{1,3}}(?:[A-Z]{{2,3}}[\s,]{{1,2}})?|,\s?(?i:{_REGION})[\s,]{{1,2}}|\s?\(|\s[-–]\s){_CODE}{_NO_UNIT}",
)
_BEFORE: Final = regex.compile(rf"(?<![\w$€£.,:/+-]){_CODE}[\s,]{{1,2}}$")
_AFTER_NAME: Final = regex.compile(rf"(?:,\s|\s?\()(?P<code>{_LETTERED}|{_BROKEN}|\d{{5}}){_NO_UNIT}")
_BEFORE_LENGTH: Final = 14
_TAIL: Final = regex.compile(
    r"[\s,]{1,4}(?:[A-Z]{2,3}[\s,]{1,3})?(?P<code>\d{3,7})(?![\w%]|[.,:/-]\d|\s?(?:people|miles|km|mg|units?|dollars|euros?))"
)
_DISTRICT: Final = regex.compile(r"[\s,]{0,3}\(\p{Lu}[\p{L} .'’-]{0,24}\)")
_GAP: Final = regex.compile(r"[\s,;]{0,4}(?:[A-Z]{2,3}[\s,]{1,3})?")
_US: Final = regex.compile(r"\d{5}(?:-\d{4})?")

_LABEL: Final = regex.compile(
    r"\b(?i:zip(?!\s?(?:files?|lock|up|line)\b)(?:[ -]?codes?)?|post(?:al)?[ -]?codes?|pin ?codes?|eircodes?|PLZ)\b"
)
_SAID: Final = (
    rf"(?P<code>(?i:{UNITED_KINGDOM}|{CANADIAN}|{EIRCODE_LOOSE})|{_DUTCH}|(?i:[A-Z]{{1,3}})-?\d{{3,7}}|\d{{3}}-\d{{4}}|{_BROKEN}"
    r"|\d{3} \d{3}|"
)
_RIGHT_AFTER: Final = regex.compile(rf"(?:\s*(?i:is|was|no\.?|number)\b)?[\s:#=,(\"'“]{{1,4}}{_SAID}\d{{3,8}}){_NO_UNIT}")
_LATER: Final = regex.compile(
    rf"[^.\n\d$€£]{{1,40}}?(?:(?<![\p{{L}}\d])(?=[^\s]{{5}})|(?:\b(?i:is|was|to|from|as|says|for|in)|[:(,])\s?){_SAID}{_NOT_YEAR}\d{{4,6}}){_NO_UNIT}"
)
_ANOTHER: Final = regex.compile(rf"(?:\s?[,/]\s?(?:(?i:to|or|and|not)\s)?|\s(?i:to|or|and|not)\s){_SAID}{_NOT_YEAR}\d{{4,6}}){_NO_UNIT}")


def labelled(text: str) -> Iterator[tuple[int, int]]:
    """(start, end) of the codes that a "zip", "postcode" ... announces, and of those named in the same breath."""
    for label in _LABEL.finditer(text):
        code = _RIGHT_AFTER.match(text, label.end()) or _LATER.match(text, label.end())
        while code:
            yield code.span("code")
            code = _ANOTHER.match(text, code.end())


def beside(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """(start, end) of the postal codes right before and right after a place or an address."""
    if after := _AFTER.match(text, end):
        yield after.span("code")
    window = max(0, start - _BEFORE_LENGTH)
    if before := _BEFORE.search(text[window:start]):
        yield window + before.start("code"), window + before.end("code")


def after_name(text: str, end: int) -> Iterator[tuple[int, int]]:
    """(start, end) of a code behind what looks like a name and is a town as often."""
    if after := _AFTER_NAME.match(text, end):
        yield after.span("code")


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
