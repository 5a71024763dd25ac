"""Numbers that can be checked: telephone numbers of many countries, IBANs.

A shape alone would take vital signs and amounts for telephone numbers; the numbering plans of 45 regions alone would cost 2 ms for every
run of digits in a text. So a shape proposes, cheaply, and the plans decide about the few that it proposes.
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

# Seven to fifteen digits in groups, not after a currency sign, a decimal or a letter, not before a unit.
_PHONE_SHAPE: Final = regex.compile(
    r"(?<![\w$€£#,.:/+-])(?P<number>(?:\+|00|\()?\s?\(?\d{1,5}\)?(?:[ .\-/]{0,2}\(?\d{1,5}\)?){1,6})"
    r"(?P<extension>\s?(?:x|ext\.?|extension)\s?\d{1,6})?"
    r"(?![\w%]|[.,:/-]\d|\s?(?:mg|mcg|ml|mL|mmHg|kg|lbs?|cm|units?|IU|percent|CFR|U\.?S\.?C|FR\b))"
)
_DATE_SHAPE: Final = regex.compile(r"(?:\d{4}([-/. ])\d{1,2}\1\d{1,2}|\d{1,2}([-/. ])\d{1,2}\2(?:\d{4}|\d{2}))")
_YEARS: Final = regex.compile(r"(?:(?:1[89]|20)\d\d(?:[ /.-]+|$))+")
_IBAN_SHAPE: Final = regex.compile(r"(?<![\p{L}\d])[A-Za-z]{2}\d{2}(?:[ -]?[A-Za-z0-9]){11,30}(?![\p{L}\d])")
_CARD_LEAST: Final = 13


def phones(text: str) -> Iterator[tuple[int, int]]:
    """(start, end) of every telephone number that some region's numbering plan knows."""
    for match in _PHONE_SHAPE.finditer(text):
        written = match["number"].strip()
        count = sum(letter.isdigit() for letter in written)
        if not 7 <= count <= 15 or _DATE_SHAPE.fullmatch(written) or (count >= _CARD_LEAST and written[0] not in "+0("):
            continue
        if _YEARS.fullmatch(written):
            continue
        # Digits without any break are account numbers as often: only a whole international or trunk number is taken.
        if written.isdigit() and not (count >= 9 and (written[0] == "0" or count in (10, 11))):
            continue
        if _is_phone(written):
            lead = len(match["number"]) - len(match["number"].lstrip())
            yield match.start() + lead, match.end()


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
