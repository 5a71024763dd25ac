"""Characters that hide or disguise text: a reader sees one thing, a model is fed another.

Does not cover words written wholly in one foreign alphabet, nor pictures of text. Symbol fonts' private-use range (U+F000 to U+F0FF), which
word processors leave behind as bullets, is taken as harmless, and so are joiners in the scripts that need them.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

import regex  # type: ignore[import-untyped]

from pipelines.screen_config import Screen

_BIDI = r"[\u202a-\u202e\u2066-\u2069]"
_ZERO_WIDTH = r"[\u200b\u2060-\u2064\u180e\ufeff\u034f\u115f\u1160\u3164]"
_JOINERS = r"[\u200c\u200d]"
_TAGS = r"[\U000e0000-\U000e007f]"
_PRIVATE = r"[\ue000-\uefff\uf100-\uf8ff\U000f0000-\U000ffffd\U00100000-\U0010fffd]"
_SELECTORS = r"[\ufe00-\ufe0f\U000e0100-\U000e01ef]{2,}"
_STYLED = r"[\U0001d400-\U0001d7cb\uff21-\uff3a\uff41-\uff5a\u24b6-\u24e9]{3,}"
# Of Greek only the letters that pass for Latin: a beta blocker, a micro gram and an alpha level are honest words.
_CYRILLIC_OR_LOOKALIKE = r"[\p{Cyrillic}ΑΒΕΖΗΙΚΜΝΟΡΤΥΧοντρυχ]"
# The same look-ahead from both sides: a word with letters of both kinds.
_MIXED = rf"(?<![\p{{L}}\p{{M}}])(?=\p{{L}}*\p{{Latin}})(?=\p{{L}}*{_CYRILLIC_OR_LOOKALIKE})[\p{{L}}\p{{M}}]{{2,}}"
_JOINED_SCRIPTS = regex.compile(
    r"[\p{Arabic}\p{Hebrew}\p{Syriac}\p{Devanagari}\p{Bengali}\p{Gurmukhi}\p{Gujarati}\p{Oriya}\p{Tamil}\p{Telugu}\p{Kannada}\p{Malayalam}"
    r"\p{Sinhala}\p{Mongolian}\p{Khmer}\p{Myanmar}\p{Emoji_Presentation}\p{Extended_Pictographic}\ufe0f]"
)
_FLAG = "\U0001f3f4"
_KINDS = (
    ("bidi", _BIDI, "a control that reorders text on the screen"),
    ("zero", _ZERO_WIDTH, "a character without width"),
    ("join", _JOINERS, "a joiner where no script needs it"),
    ("tags", _TAGS, "invisible tag characters"),
    ("priv", _PRIVATE, "a private-use character"),
    ("vary", _SELECTORS, "a run of variation selectors"),
    ("style", _STYLED, "letters in the disguise of symbols"),
    ("mixed", _MIXED, "a word of letters from two alphabets that look alike"),
)
_REASONS = {name: reason for name, _, reason in _KINDS}
_SUSPECT = regex.compile("|".join(f"(?P<{name}>{pattern})" for name, pattern, _ in _KINDS))
_MOST = 20
"""Findings per text: one is enough to hold it."""


def spans(text: str, config: Screen) -> Iterator[tuple[int, int, str]]:  # noqa: ARG001
    """Every span that hides or disguises something, at most twenty."""
    if text.isascii():
        return
    found = 0
    for match in _SUSPECT.finditer(text):
        kind = match.lastgroup or ""
        start, end = match.span()
        if (
            (kind == "join" and _needed(text, start))
            or (kind == "tags" and _in_a_flag(text, start))
            or (text[start] == "\ufeff" and start == 0)
        ):
            continue
        yield start, end, _REASONS[kind]
        found += 1
        if found == _MOST:
            return


def plain(text: str) -> tuple[str, list[int] | None]:
    """The text as it is meant to be read by a machine: lower case, compatibility forms resolved, hidden characters gone, look-alikes Latin;
    and for each character its place in the text given, None where nothing moved."""
    if text.isascii():
        return text.lower(), None
    letters: list[str] = []
    places: list[int] = []
    for place, letter in enumerate(text):
        for one in unicodedata.normalize("NFKC", letter).lower():
            if unicodedata.category(one) in ("Cf", "Mn", "Co"):
                continue
            letters.append(_LATIN.get(one, one))
            places.append(place)
    return "".join(letters), places


_LATIN = dict(zip("асеорхуіјѕԁԛԝһвкмнтο’‘“”", "aceopxyijsdqwhbkmhto''\"\"", strict=True))


def _needed(text: str, place: int) -> bool:
    """Whether a joiner stands beside a letter of a script, or an emoji, that uses joiners."""
    return any(_JOINED_SCRIPTS.match(text[near]) for near in (place - 1, place + 1) if 0 <= near < len(text))


def _in_a_flag(text: str, place: int) -> bool:
    """Whether tag characters spell a region's flag, as in England's."""
    while place and "\U000e0000" <= text[place] <= "\U000e007f":
        place -= 1
    return text[place] == _FLAG
