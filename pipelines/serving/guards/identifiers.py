"""Direct identifiers in an answer: e-mail addresses, social security, telephone, card and account numbers; surrogates; planted secrets.

An answer is short, so each is looked for in several spellings: as it stands, with its gaps closed, with digits in words. What has check
digits is checked (ISO/IEC 7812 for cards, ISO 13616 for IBANs). Light on purpose: it knows no names; masking does, before anything is
trained on. Not found: identifiers in another language's words, in a code that `folding` does not undo, spread over sentences.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, Final

from pipelines.masking import direct, numbers
from pipelines.serving.guards import sets
from pipelines.serving.guards.folding import folded, readings

_WORDS: Final = "zero one two three four five six seven eight nine oh"
_DIGITS: Final = dict(zip(_WORDS.split(), "01234567890", strict=True))
_SPOKEN = re.compile(rf"\b(?:{'|'.join(_DIGITS)})\b(?:[\s,.-]+(?:(?:{'|'.join(_DIGITS)})\b|\d(?!\d))){{2,}}")
_SPOKEN_WORD = re.compile(rf"{'|'.join(_DIGITS)}|\d")

_SAID = re.compile(r"(?<!\d)\d{9}(?!\d)")

_EMAIL = re.compile(r"[\w.%+'-]+@[\w-]+(?:\.[\w-]+)*\.[a-z]{2,}")
_TOP = (
    r"(?:com|org|net|edu|gov|mil|info|biz|io|co|us|uk|de|fr|eu|ca|au|nl|it|es|ch|at|se|no|dk|pl|example|test|invalid|local|me|app|"
    r"dev|health)"
)
_SPACED_EMAIL = re.compile(
    r"[\w.%+'-]{1,64}\s{0,3}[\[({<]?\s{0,2}@\s{0,2}[\])}>]?\s{0,3}[\w-]+(?:\s{0,2}\.\s{0,2}[\w-]+)*\s{0,2}\.\s{0,2}[a-z]{2,}"
)
_SQUEEZED_EMAIL = re.compile(rf"[\w.%+'-]+@[\w.-]+\.{_TOP}")
_AT = r"(?:[\[({<]\s*(?:at|@|ät)\s*[\])}>]|\bat\b|@)"
_DOT = r"(?:[\[({<]\s*(?:dot|\.)\s*[\])}>]|\bdot\b)"
_SPELT_EMAIL = re.compile(
    rf"[\w.%+'-]+\s*{_AT}\s*[\w-]+(?:\s*(?:{_DOT}|\.)\s*[\w-]+)*\s*{_DOT}\s*[a-z]{{2,}}"
    rf"|[\w.%+'-]+\s*[\[({{<]\s*(?:at|@)\s*[\])}}>]\s*[\w-]+(?:\s*(?:{_DOT}|\.)\s*[\w-]+)+"
)
_PLAIN_AT = re.compile(rf"\b[\w.%+'-]+ at (?:[\w-]+\.)+{_TOP}\b")

_SEP = r"[\s.\-/_·,:()]"
_SSN = re.compile(rf"(?<![\d$€£.,])\d{{3}}(?:{_SEP}{{1,3}})\d{{2}}(?:{_SEP}{{1,3}})\d{{4}}(?![\d])(?!{_SEP}?\d{{1,2}}\b)")
_SSN_LABEL = re.compile(r"\b(?:ssn|social[\s-]security)\b\D{0,40}?\d(?:\D{0,3}\d){8}(?!\d)")
_SINGLES = re.compile(r"(?<![\w$])(?:\d[\s.\-_/·]{1,3}){6,}\d(?![\w])")
_LABELLED_PHONE = re.compile(r"\b(?:call|dial|phone|telephone|tel|mobile|cell|fax|ring|text)\b\D{0,25}?(\d{3}[\s.-]?\d{4})(?!\d|[.,-]\d)")
_LOCAL_PHONE = re.compile(r"(?<![\w.+/$-])\d{3}-\d{4}(?![\w-])")
_RUN = re.compile(r"(?<![\d$€£])\d(?:[\s.\-_/·]{0,3}\d){12,}")
_GAP = re.compile(r"[\s.\-_/·]+")
_TOO_LONG = 60
"""Digits in one run of which card numbers are still looked for at every group."""
_CARDS = re.compile(
    r"(?:4\d{12}(?:\d{3})?(?:\d{3})?|5[1-5]\d{14}|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}|3[47]\d{13}|3(?:0[0-5]|[68]\d)\d{11}"
    r"|6(?:011|5\d\d|4[4-9]\d)\d{12}|35(?:2[89]|[3-8]\d)\d{12}|62\d{14,17}|(?:50|5[6-9]|6\d)\d{10,17})"
)
"""Ranges of issuers by ISO/IEC 7812: Visa, Mastercard, American Express, Diners Club, Discover, JCB, UnionPay, Maestro."""
_LENGTHS: Final = (
    "ad24 ae23 al28 at20 az28 ba20 be16 bg22 bh22 br29 ch21 cy28 cz24 de22 dk18 do28 ee20 es24 fi18 fo18 fr27 gb22 ge22 gi23 gl18 gr27"
    " gt28 hr21 hu28 ie22 il23 is26 it27 jo30 kw30 kz20 lb28 li21 lt20 lu20 lv21 mc27 md24 me22 mk19 mr27 mt31 mu30 nl18 no15 pk24 pl28"
    " ps29 pt25 qa29 ro24 rs22 sa24 se24 si19 sk24 sm27 tn24 tr26 ua29 vg24 xk20"
)
_IBANS: Final = {pair[:2]: int(pair[2:]) for pair in _LENGTHS.split()}
"""Characters of an IBAN by country: SWIFT's registry of IBANs."""
_ANY = r"\W{0,3}"
_IBAN_START = re.compile(rf"(?=((?:{'|'.join(_IBANS)})\d\d))")
_SURROGATE = re.compile(r"\bpatient\W{0,3}[0-9a-f]{8}(?![0-9a-z])|\bnote\W{1,3}[0-9a-f]{12}(?![0-9a-z])")
_SQUASHED_SURROGATE = re.compile(r"patient(?=[0-9a-f]{0,7}\d)[0-9a-f]{8}|note(?=[0-9a-f]{0,11}\d)[0-9a-f]{12}")
_SPACED_OUT = re.compile(r"(?:(?<![^\W_])[^\W_]\W{1,3}){7,}")
_NOT_ALNUM = re.compile(r"[\W_]+")
_SHORT = 6
"""Characters below which a secret must stand as a word of its own."""


def leaked(answer: str, shown: Sequence[str], *, private: bool) -> bool:
    """Whether an identifier is in the answer. Where the domain is public, contact details that its passages or the question hold may be.

    A number of a person (social security, card, account) never may, and where text is private nothing may, surrogates included.
    """
    for text in _spellings(answer):
        if len(sets.matches(_suspect(), text)) < 2:
            continue
        if _personal(text) or (private and (_of_private(text) or _surrogate(text))):
            return True
        allowed = "" if private else "\n".join(_closed(one) for one in shown)
        if any(private or _closed(found) not in allowed for found in _contacts(text, private)):
            return True
    return False


def recited(answer: str, secrets: Iterable[str]) -> bool:
    """Whether one of the planted secrets is in the answer, however its letters and digits are spaced or spelt."""
    known = _cores(frozenset(secrets))
    for text in _spellings(answer) if known else ():
        squashed = _NOT_ALNUM.sub("", text)
        for core, alone in known:
            if core in squashed and (alone is None or alone.search(text)):
                return True
    return False


@lru_cache(maxsize=64)
def _cores(secrets: frozenset[str]) -> tuple[tuple[str, re.Pattern[str] | None], ...]:
    """Of each secret its letters and digits, and where they are few a pattern for it as a word of its own."""
    return tuple(
        (core, re.compile(rf"(?<!\w){re.escape(folded(secret))}(?!\w)") if len(core) < _SHORT else None)
        for secret in sorted(secrets)
        if (core := squash(secret))
    )


@lru_cache(maxsize=1)
def _suspect() -> Any:
    """Whether anything here can be found at all, in RE2: most answers hold neither six digits close together nor an `@`."""
    return sets.compiled(
        (
            r"\d(?:\D{0,4}\d){5}",
            rf"(?:{'|'.join(rf'{code[0]}{_ANY}{code[1]}' for code in _IBANS)}){_ANY}\d{_ANY}\d(?:{_ANY}[0-9a-z]){{0,12}}(?:{_ANY}\d){{5}}",
            r"@|[\[({<]\s*(?:at|ät)\s*[\])}>]|\bat\b[^\n]{0,80}(?:\bdot\b|\w\.\w)",
            r"patient\W{0,3}[0-9a-f]|note\W{1,3}[0-9a-f]",
            r"(?:\w\W{1,3}){7}",
            r"\d{3}\D{0,1}\d{4}",
        )
    )


def squash(text: str) -> str:
    """Letters and digits only, lower case."""
    return _NOT_ALNUM.sub("", folded(text))


def _spellings(text: str) -> list[str]:
    """The readings of a text, digits in figures."""
    made = []
    for reading in readings(text):
        figures = reading if reading.isascii() else "".join(_figure(letter) for letter in reading)
        made.append(figures)
        if (spoken := _SPOKEN.sub(_said, figures)) != figures:
            # Nine digits in words are nobody's amount.
            made.append(_SAID.sub(lambda match: "-".join((match.group()[:3], match.group()[3:5], match.group()[5:])), spoken))
            made.append(spoken)
    return made


def _figure(letter: str) -> str:
    return str(unicodedata.digit(letter, letter))


def _said(match: re.Match[str]) -> str:
    return "".join(_DIGITS.get(word, word) for word in _SPOKEN_WORD.findall(match.group()))


def _personal(text: str) -> bool:
    return _SSN.search(text) is not None or _SSN_LABEL.search(text) is not None or _card(text) or _iban(text)


def _of_private(text: str) -> bool:
    return direct.mask(text) != text or direct.mask(text.upper()) != text.upper()


def _surrogate(text: str) -> bool:
    return _SURROGATE.search(text) is not None or (
        _SPACED_OUT.search(text) is not None and _SQUASHED_SURROGATE.search(_NOT_ALNUM.sub("", text)) is not None
    )


def _contacts(text: str, private: bool) -> Iterator[str]:
    """What is found of e-mail addresses and telephone numbers, as written."""
    for shape in (_EMAIL, _SPACED_EMAIL, _SPELT_EMAIL, *((_PLAIN_AT,) if private else ())):
        for match in shape.finditer(text):
            yield match.group()
    if "@" in text:
        for match in _SQUEEZED_EMAIL.finditer(re.sub(r"\s+", "", text)):
            yield match.group()
    for find in (numbers.phones, numbers.grouped, numbers.announced):
        for start, end in find(text):
            yield text[start:end]
    for shape in (_SINGLES, _LABELLED_PHONE, *((_LOCAL_PHONE,) if private else ())):
        for match in shape.finditer(text):
            yield match.group(match.lastindex or 0)


def _closed(text: str) -> str:
    """A text without gaps and punctuation but `@`, for comparing spellings of a contact."""
    return _closed_of(text)


@lru_cache(maxsize=4096)
def _closed_of(text: str) -> str:
    return re.sub(r"[^\w@]+", "", folded(text))


def _card(text: str) -> bool:
    for match in _RUN.finditer(text):
        groups = [group for group in _GAP.split(match.group()) if group]
        if sum(map(len, groups)) > _TOO_LONG:
            # Nobody groups so many; a card may be hidden anywhere in it.
            return True
        for first in range(len(groups)):
            digits = ""
            for group in groups[first:]:
                digits += group
                if len(digits) > 19:
                    break
                if len(digits) >= 12 and _CARDS.fullmatch(digits) and _luhn(digits):
                    return True
    return False


def _luhn(digits: str) -> bool:
    """ISO/IEC 7812-1, annex B."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + place % 2)
        total += value - 9 * (value > 9)
    return total % 10 == 0


def _iban(text: str) -> bool:
    squashed = _NOT_ALNUM.sub("", text)
    for match in _IBAN_START.finditer(squashed):
        code = match.group(1)[:2]
        written = squashed[match.start() : match.start() + _IBANS[code]]
        # Words run together are no account: its digits are many.
        if len(written) == _IBANS[code] and sum(map(str.isdigit, written)) >= 10 and written.isascii():
            moved = "".join(str(int(letter, 36)) for letter in written[4:] + written[:4])
            if int(moved) % 97 == 1:
                return True
    return False
