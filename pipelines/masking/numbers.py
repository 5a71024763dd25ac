"""Numbers that can be checked: telephone numbers of many countries, IBANs.

A shape alone would take vital signs and amounts for telephone numbers; the numbering plans of 45 regions alone would cost 2 ms for every
run of digits in a text. So a shape proposes, cheaply, and the plans decide about the few that it proposes. Plans move on, and numbers are
written down wrong: where a text says that a telephone number follows, or groups digits as only telephone numbers are, the shape is enough.

Shapes: ITU-T E.123 (groups, brackets round what is not always dialled, `+`, extensions), the national forms in libphonenumber's metadata,
and what people write (`512/555-0142`, `x123`). Not covered: fewer than six digits (short codes, extensions alone), six without a label.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Final

import regex  # type: ignore[import-untyped]

_REGIONS_TEXT: Final = """
US GB DE FR IT ES NL BE CH AT SE NO DK FI IE PT PL CZ SK HU RO BG GR HR SI EE LV LT LU IS AU NZ ZA IN BR MX AR CL JP CN KR IL TR UA RU
"""
REGIONS: Final = tuple(_REGIONS_TEXT.split())

_ALONE = r"(?<![\w$€£.+]|\d[,:/-]|\b(?:F\.?R|U\.?S\.?C|C\.?F\.?R)\.?\s)"
_UNIT = (
    r"(?![\w%]|[.,:/-]\d|\s?(?i:mg|mcg|ml|mmHg|kg|lbs?|cm|units?|IU|percent|CFR|U\.?S\.?C|FR\b|people|times|months|years|days|dollars|euros?"
    r"|per\b))"
)
# Seven to fifteen digits in groups, not after a currency sign, a decimal or a letter, not before a unit.
_PHONE_SHAPE: Final = regex.compile(
    rf"{_ALONE}(?P<number>(?:\+|00|\()?\s?\(?\d{{1,5}}\)?(?:[ .\-/]{{0,2}}\(?\d{{1,5}}\)?){{1,6}})"
    rf"(?P<extension>\s?(?:x|ext\.?|extension)\s?\d{{1,6}})?{_UNIT}"
)
_GROUPS = r"\(?\d{1,6}\)?(?:[ .\-/–]{0,3}\(?\d{1,6}\)?){1,6}"
_NEAR_WORDS = (
    "number|numbers|no|nr|is|was|at|on|to|from|or|and|me|us|him|her|them|my|your|our|their|his|the|this|new|old|now|back|home|work|office|direct"
    "|line|phone|mobile|cell|fax|under|via|please|ext"
)
_ANNOUNCED: Final = regex.compile(
    r"(?i:\b(?:phone|telephone|tel|mobile|mob|cellphone|fax|pager|whatsapp|landline|hotline|call|ring|dial|text|reach(?:ed)?|contact"
    r"|(?<!(?:white|red|blood|stem|T|per) )cell(?=\s?(?:phone|number|no\b|nr\b|is\b|at\b|on\b|[:#(+]))"
    r"|(?:my|your|his|her|our|their|best|new|work|home|office|contact) number))\b"
    rf"(?:[\s.:#,;(]{{1,3}}(?:(?i:{_NEAR_WORDS})\b|(?!\d)\p{{Lu}}[\p{{L}}'’-]+)){{0,6}}(?:[\s.:#]{{1,4}}|(?=\())"
    rf"(?P<number>\+?{_GROUPS})(?P<extension>[\s,]{{0,2}}(?:x|#|(?i:ext\.?|extension))\s?\d{{1,6}})?{_UNIT}"
)
_TRUNK = r"(?!\d{5}-\d{4}\b)\(?0\d{2,5}\)?(?:\s?[/–-]\s?|\s)\d{2,8}(?:[ -]\d{2,5}){0,3}"
_COUNTRY = r"\(\+\d{1,3}\)[ .-]?\d{1,5}(?:[ .-]?\d{1,6}){1,5}"
_AREA = r"\(\d{2,4}\)[ -]?\d{3,5}[ -]\d{2,4}(?:[ -]\d{2})?"
_AMERICAN = r"\(?[2-9]\d\d\)?\s?[-–/.]\s?\d{3}\s?[-–.]\s?\d{4}"
_GROUPED: Final = regex.compile(
    rf"(?=[\d(]){_ALONE}(?P<number>{_TRUNK}|{_COUNTRY}|{_AREA}|{_AMERICAN})(?P<extension>\s?(?:x|#|(?i:ext\.?|extension))\s?\d{{1,6}})?{_UNIT}"
)
_CLOCK: Final = regex.compile(r"(?:[01]?\d|2[0-4])[.:]?[0-5]\d\s?[-–]\s?(?:[01]?\d|2[0-4])[.:]?[0-5]\d")
_DATE: Final = regex.compile(
    r"(?:1[89]|20)\d\d([-/. ])(?:0?[1-9]|1[0-2])\1(?:0?[1-9]|[12]\d|3[01])"
    r"|(?:0?[1-9]|[12]\d|3[01])(?:([-/. ])(?:0?[1-9]|[12]\d|3[01])\2(?:1[89]|20)\d\d|([-/.])(?:0?[1-9]|[12]\d|3[01])\3\d\d)"
)
_CODE_FIRST: Final = regex.compile(r"\d{4,6} (?=(?:.?\d){8})")
"""A postal code that stands before a number."""
_YEARS: Final = regex.compile(r"(?:(?:1[89]|20)\d\d(?:[ /.-]+|$))+")
_IBAN_SHAPE: Final = regex.compile(r"(?<![\p{L}\d])[A-Za-z]{2}\d{2}(?:[ -]?[A-Za-z0-9]){11,30}(?![\p{L}\d])")
_PAIRS: Final = regex.compile(r"\d\d[ .-]\d\d[ .-]\d\d|\d{3}[ .-]\d{3}|\d \d{3} \d\d")
_SHORT, _LEAST, _GROUPED_LEAST, _CARD_LEAST, _MOST = 6, 7, 9, 13, 15


def phones(text: str) -> Iterator[tuple[int, int]]:
    """(start, end) of every telephone number that some region's numbering plan knows."""
    for match in _PHONE_SHAPE.finditer(text):
        written = match["number"].strip()
        start = match.start() + len(match["number"]) - len(match["number"].lstrip())
        if _is_whole(written):
            yield start, match.end()
        elif (code := _CODE_FIRST.match(written)) and _is_whole(written[code.end() :]):
            yield start + code.end(), match.end()


def _is_whole(written: str) -> bool:
    """Whether the digits are one telephone number."""
    count = sum(letter.isdigit() for letter in written)
    if count < _LEAST or not _may_be(written, count) or (count >= _CARD_LEAST and written[0] not in "+0("):
        return False
    # Digits without any break are account numbers as often: only a whole international or trunk number is taken.
    if written.isdigit() and not (count >= 9 and (written[0] == "0" or count in (10, 11))):
        return False
    return _is_phone(written)


def announced(text: str) -> Iterator[tuple[int, int]]:
    """(start, end) of the numbers that follow "call", "phone", "my number is" ..., whatever their plan; six digits only in groups."""
    for match in _ANNOUNCED.finditer(text):
        count = sum(letter.isdigit() for letter in match["number"])
        if (count >= _LEAST or (count == _SHORT and _PAIRS.fullmatch(match["number"]))) and _may_be(match["number"], count):
            yield match.start("number"), match.end()


def grouped(text: str) -> Iterator[tuple[int, int]]:
    """(start, end) of digits in groups as telephone numbers alone have them."""
    for match in _GROUPED.finditer(text):
        count = sum(letter.isdigit() for letter in match["number"])
        if count >= _GROUPED_LEAST and _may_be(match["number"], count):
            yield match.span()


def _may_be(written: str, count: int) -> bool:
    """Whether it is neither a date, nor hours, nor years, nor longer than any number."""
    return count <= _MOST and not any(other.fullmatch(written) for other in (_DATE, _CLOCK, _YEARS))


@lru_cache(maxsize=4096)
def _is_phone(written: str) -> bool:
    import phonenumbers

    if written.startswith("00"):
        written = f"+{written[2:]}"
    for region in (None,) if written.startswith("+") else REGIONS:
        try:
            number = phonenumbers.parse(written, region)
        except phonenumbers.NumberParseException:
            continue
        # A number that is written with its country code is one even where the plan has moved on.
        if phonenumbers.is_valid_number(number) or (region is None and phonenumbers.is_possible_number(number)):
            return True
    return False


def ibans(text: str) -> Iterator[tuple[int, int]]:
    """(start, end) of every IBAN whose check digits hold; what follows it in the same breath is left."""
    for match in _IBAN_SHAPE.finditer(text):
        end = match.end()
        while end - match.start() >= 15:
            if _checked(text[match.start() : end]):
                yield match.start(), end
                break
            # Words after the number may look like more of it.
            cut = max(text.rfind(" ", match.start(), end), text.rfind("-", match.start(), end))
            if cut < 0:
                break
            end = cut


def _checked(written: str) -> bool:
    """ISO 13616: moved round, letters as numbers, the remainder by 97 is 1."""
    plain = regex.sub(r"[ -]", "", written).upper()
    if not 15 <= len(plain) <= 34:
        return False
    return int("".join(str(int(letter, 36)) for letter in plain[4:] + plain[:4])) % 97 == 1
