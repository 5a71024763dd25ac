"""What is cut off a model's span before it counts: titles, redactions that are there already, words that no name is made of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import regex  # type: ignore[import-untyped]

from pipelines.masking import names
from pipelines.masking.patterns import STATE_CODES

REDACTED: Final = regex.compile(
    r"\[[A-Z_]+(?:-[0-9a-f]+)?\]|<removed>|(?<![\p{L}\d])[Xx]{2,}(?:[/-][Xx]{2,})*(?:[/-]\d{2,4})?(?![\p{L}\d])"
)
"""What earlier masking left behind: [NAME], [PATIENT-0a1b2c3d], XXXX, XX/XX/2014."""

_TITLE: Final = regex.compile(r"(?i:drs?|mrs?|ms|miss|mx|prof|professor|doctor|nurse|sir|madam)\b\.?\s+")
_LABEL: Final = regex.compile(
    r"(?i:(?:iban|vin|mrn|dob|ssn|npi|dea|docket|case|account|acct|name|address|patient|phone|fax|tel|zip|e-?mail)\b[\s:.#]*)"
)
_NEVER_TEXT: Final = "vin mrn dob ssn npi dea id fax tel zip iban ip docket"
_NEVER: Final = (names.STOP | frozenset(_NEVER_TEXT.split())) - {"will", "may", "april", "june", "august"}
"""Words that are nobody's name on their own, whatever a model says."""
_CROSSING: Final = regex.compile(r"(?<!\p{L})(?i:(?:the\s+)?(?:corner|intersection|junction|crossing)\s+of\s+)$")
_LETTERS: Final = regex.compile(r"(?<!\p{L})\p{L}\.(?:\s?\p{L}\.)*\s?\p{L}$")
_LAW: Final = regex.compile(r"\b(?:U\.?\s?S\.?\s?C|C\.?\s?F\.?\s?R|F\.?\s?R|Stat|Pub)\b\.?\s?(?:§+\s?)?\d|\b\d+(?:-\d+)?,? docket\b")
_COUNT: Final = regex.compile(
    r"(?:\d{5,}|\d{1,3}(?:,\d{3})+)(?:\.\d+)?\s(?!(?i:st|street|ave|avenue|road|rd|lane|drive|way|court|place|broadway)\b)\p{Ll}+"
)
_STREET_SAYS: Final = regex.compile(
    r"(?i)\d|\b(?:street|str?|avenue|ave?|av|road|rd|boulevard|blvd|lane|ln|drive|dr|court|ct|place|plaza|plaça|pl|terrace|way|parkway|pkwy|circle"
    r"|highway|hwy|route|square|sq|trail|row|close|crescent|walk|alley|loop|corner|intersection|junction|crossing|box|gate|gardens?|grove|hill|mews"
    r"|quay|pike|rue|allée|chemin|quai|via|viale|piazza|corso|calle|avenida|paseo|camino|rua|travessa|largo|ulica|ul|aleja|utca|út|tér)\b"
    r"|(?:stra(?:ß|ss)e|str|weg|platz|allee|gasse|ring|damm|ufer|straat|laan|plein|gracht|kade|gatan|vägen|gata|vej|gade|veien|katu|tie)\b"
)
_EDGE: Final = " \t\n,;:.-'’\"()[]<>#*/&"


def trimmed(text: str, start: int, end: int, kind: str) -> tuple[int, int] | None:
    """The part of a span that is masked, or None."""
    if kind == "NAME" and (title := _TITLE.match(text, start, end)):
        start = title.end()
    while label := _LABEL.match(text, start, end):
        start = label.end()
    while start < end and text[start] in _EDGE:
        start += 1
    while end > start and text[end - 1] in _EDGE:
        end -= 1
    if kind == "ADDRESS" and (crossing := _CROSSING.search(text[max(0, start - 30) : start])):
        start -= len(crossing.group())
    # "U.S." and "J. R." end with the full stop of their last letter.
    if _LETTERS.search(text[start:end]) and text[end : end + 1] == ".":
        end += 1
    value = text[start:end]
    if not _says(value):
        return None
    if kind in ("NAME", "PLACE") and all(word.lower() in _NEVER or not word.isalpha() for word in value.split()):
        return None
    # A state is no identifier (45 CFR 164.514(b)(2)(i)(B)), and its two letters are often a word.
    if kind == "PLACE" and value in STATE_CODES and text[:start].rstrip().endswith(","):
        return None
    return start, end


def is_citation(text: str, start: int, end: int) -> bool:
    """Whether a span taken for an address cites the law ("15 U.S.C. 1601", "76 FR 78500") or counts things ("10000 customers").
    A count has more digits than a house number, or a comma: "14 elm" stays an address."""
    value, around = text[start:end], text[max(0, start - 80) : end + 80]
    return bool(_LAW.search(value)) or bool(_COUNT.fullmatch(value) and around != around.lower())


def called(value: str, kind: str) -> str:
    """The kind of a span: an address has a number or a street's word in it, a place has not."""
    return "PLACE" if kind == "ADDRESS" and not _STREET_SAYS.search(value) else kind


def is_odd_one_out(text: str, start: int, end: int) -> bool:
    """Whether it is one word in lower case where the text around it has its capitals: names have theirs there too."""
    value, around = text[start:end], text[max(0, start - 80) : end + 80]
    return value.islower() and " " not in value and around != around.lower()


def around_redactions(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """What of a span lies outside of redactions and says something."""
    at = start
    for redaction in REDACTED.finditer(text):
        if redaction.start() >= end:
            break
        if redaction.end() > start:
            if _says(text[at : redaction.start()]):
                yield at, redaction.start()
            at = max(at, redaction.end())
    if _says(text[at:end]):
        yield at, end


def _says(part: str) -> bool:
    return any(letter.isalnum() for letter in part)
