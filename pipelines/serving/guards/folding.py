"""The ways in which a text can be read: as it stands, and with the usual disguises taken off.

Every reading is lower case, without accents, hidden characters or look-alike letters. Disguises are undone only where the text shows one,
so that an ordinary question costs one pass. All of it takes time linear in the text.

Undone: invisible characters and tags, full width and styled letters, Cyrillic and Greek look-alikes, letters spaced out, digits and signs
for letters, base64, hexadecimal, percent signs, HTML entities, rot13, reversed text. Not undone: ciphers with a key, several codes one
over another, pictures of text, letters in the wrong order.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import html
import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final
from urllib.parse import unquote

from pipelines.intake.screen.encoding import plain
from pipelines.serving.guards import sets

_ALIKE: Final = str.maketrans("αεικνορτυχɑɡɩѵӏ‐‑‒–—―−", "aeikvoptuxagivl-------")
_LEET: Final = str.maketrans("0134578@$!|", "oieastbasil")
_IN_LEET = re.compile(r"[a-z][0134578@$!|]+[a-z]|\b[0134578@$!|]+[a-z]{2}|[a-z]{2}[0134578@$|]+\b")
# A letter between separators, at least six of them: nobody writes a question so.
_SPACED = re.compile(r"(?<![^\W_])(?:[^\W_](?:[^\S\n]{1,3}|[._*~/|+\-])){5,}[^\W_](?![^\W_])")
_WIDE = re.compile(r"\s{2,}")
_GAP = re.compile(r"[\s._*~/|+\-]+")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{16,}")
_HEX = re.compile(r"(?:(?:\\x|0x)?[0-9A-Fa-f]{2}[ ,:]?){10,}")
_HEX_MARK = re.compile(r"\\x|0x|[ ,:]")
_TAG_LETTERS = re.compile("[\U000e0020-\U000e007e]+")
_MOST_RUNS = 16
_READABLE = 0.9


def folded(text: str) -> str:
    """The text as `plain` reads it, accents off and dashes alike."""
    lowered, _ = plain(text)
    if lowered.isascii():
        return lowered
    apart = unicodedata.normalize("NFD", lowered.translate(_ALIKE))
    return "".join(letter for letter in apart if unicodedata.category(letter) != "Mn")


def readings(text: str) -> list[str]:
    """The folded text first, then one for each disguise that it shows."""
    first = folded(text)
    if text.isascii() and len(sets.matches(_tricks(), text)) < 2:
        return [first]
    found = [first, *(folded(hidden) for hidden in _decoded(text))]
    for one in tuple(found):
        if _SPACED.search(one):
            found.append(_SPACED.sub(_joined, one))
        if _IN_LEET.search(one):
            found.append(one.translate(_LEET))
            if _SPACED.search(found[-1]):
                found.append(_SPACED.sub(_joined, found[-1]))
    return found


@lru_cache(maxsize=1)
def _tricks() -> Any:
    """Whether a disguise of ASCII text may be there at all."""
    patterns = [sets.wider(one.pattern) for one in (_SPACED, _IN_LEET, _BASE64, _HEX)]
    return sets.compiled([*patterns, "%[0-9a-f]{2}", r"&[#\w]+;?"], any_case=True)


def turned(reading: str) -> tuple[str, str]:
    """The reading by rot13, and backwards: looked at for commands only."""
    return codecs.encode(reading, "rot13"), reading[::-1]


def _joined(match: re.Match[str]) -> str:
    return " ".join(_GAP.sub("", word) for word in _WIDE.split(match.group()))


def _decoded(text: str) -> Iterator[str]:
    for number, match in enumerate(_BASE64.finditer(text)):
        if number == _MOST_RUNS:
            break
        yield from _as_text(_from_base64(match.group()))
    for number, match in enumerate(_HEX.finditer(text)):
        if number == _MOST_RUNS:
            break
        digits = _HEX_MARK.sub("", match.group())
        yield from _as_text(bytes.fromhex(digits[: len(digits) // 2 * 2]))
    if "%" in text and (plain_text := unquote(text)) != text:
        yield plain_text
    if "&" in text and (plain_text := html.unescape(text)) != text:
        yield plain_text
    if not text.isascii() and (tags := _TAG_LETTERS.findall(text)):
        yield "".join(chr(ord(letter) - 0xE0000) for run in tags for letter in run)


def _from_base64(run: str) -> bytes:
    run = run.replace("-", "+").replace("_", "/")
    run = run[: len(run) - (len(run) % 4 == 1)]
    try:
        return base64.b64decode(run + "=" * (-len(run) % 4), validate=True)
    except (binascii.Error, ValueError):
        return b""


def _as_text(found: bytes) -> Iterator[str]:
    """The bytes where they are mostly letters, spaces and marks: a long word decodes to something, too."""
    readable = sum(32 <= one < 127 or one in (9, 10, 13) for one in found)
    if found and readable >= _READABLE * len(found):
        yield found.decode("utf-8", "replace")
