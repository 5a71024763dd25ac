"""The person a record is about, found in every writing of every word of the name."""

from __future__ import annotations

import unicodedata
from typing import Final

import regex  # type: ignore[import-untyped]

from pipelines.governance.naming import fold, letters

_NOT_NAMES_TEXT = "mr mrs ms miss dr prof sir jr sr ii iii iv de da del der den di du la le van von bin al el the and of"
_NOT_NAMES: Final = frozenset(_NOT_NAMES_TEXT.split())


def spans(text: str, subjects: tuple[str, ...]) -> list[tuple[int, int]]:
    """Where the text says a subject: whole, or any word of it, in any case, with or without its accents, also as a possessive."""
    words: set[str] = set()
    for subject in subjects:
        whole = " ".join(fold(subject).split())
        words.add(whole)
        words.update(part for part in regex.findall(r"[\p{L}\p{N}]+(?:['’-][\p{L}\p{N}]+)*", whole) if _tells(part))
        words.update(part for part in regex.findall(r"[\p{L}\p{N}]+", whole) if _tells(part))
    if not (words := {word for word in words if len(word) > 1}):
        return []
    longest_first = sorted(words, key=lambda word: (-len(word), word))
    escaped = (regex.escape(word).replace(r"\ ", r"\s+").replace(" ", r"\s+") for word in longest_first)
    pattern = regex.compile(rf"(?<![\p{{L}}\p{{N}}])(?:{'|'.join(escaped)})(?![\p{{L}}\p{{N}}])")
    read = list(letters(text))
    folded = "".join(letter for _, letter in read)
    return [(read[match.start()][0], _end(text, read[match.end() - 1][0])) for match in pattern.finditer(folded)]


def _end(text: str, last: int) -> int:
    """Behind the character at `last` and the accents that follow it."""
    end = last + 1
    while end < len(text) and unicodedata.combining(text[end]):
        end += 1
    return end


def _tells(part: str) -> bool:
    """Whether a word of a subject tells who it is: not a title or a particle, not a short number."""
    if any(character.isdigit() for character in part):
        return sum(character.isdigit() for character in part) >= 4
    return len(part) > 1 and part not in _NOT_NAMES
