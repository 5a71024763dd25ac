"""The person a record is about, found in every writing of every word of the name."""

from __future__ import annotations

import unicodedata
from typing import Final

import regex  # type: ignore[import-untyped]

_NOT_NAMES_TEXT = "mr mrs ms miss dr prof sir jr sr ii iii iv de da del der den di du la le van von bin al el the and of"
_NOT_NAMES: Final = frozenset(_NOT_NAMES_TEXT.split())
# Letters that Unicode does not take apart.
_STROKED: Final = dict(zip("øłđħŧıæœþð", "oldhtiaotd", strict=True))


def normal(subjects: tuple[str, ...]) -> str:
    return "\0".join(" ".join(_fold(subject).split()) for subject in subjects if subject.strip())


def spans(text: str, subjects: tuple[str, ...]) -> list[tuple[int, int]]:
    """Where the text says a subject: whole, or any word of it, in any case, with or without its accents, also as a possessive."""
    words: set[str] = set()
    for subject in subjects:
        whole = " ".join(_fold(subject).split())
        words.add(whole)
        words.update(part for part in regex.findall(r"[\p{L}\p{N}]+(?:['’-][\p{L}\p{N}]+)*", whole) if _tells(part))
        words.update(part for part in regex.findall(r"[\p{L}\p{N}]+", whole) if _tells(part))
    if not (words := {word for word in words if len(word) > 1}):
        return []
    longest_first = sorted(words, key=lambda word: (-len(word), word))
    escaped = (regex.escape(word).replace(r"\ ", r"\s+").replace(" ", r"\s+") for word in longest_first)
    pattern = regex.compile(rf"(?<![\p{{L}}\p{{N}}])(?:{'|'.join(escaped)})(?![\p{{L}}\p{{N}}])")
    return [match.span() for match in pattern.finditer(_fold(text))]


def _tells(part: str) -> bool:
    """Whether a word of a subject tells who it is: not a title or a particle, not a short number."""
    if any(character.isdigit() for character in part):
        return sum(character.isdigit() for character in part) >= 4
    return len(part) > 1 and part not in _NOT_NAMES


def _fold(text: str) -> str:
    """Lower case without accents, character for character: positions stay."""
    return "".join(_fold_one(character) for character in text)


def _fold_one(character: str) -> str:
    if character.isascii():
        return character.lower()
    base = unicodedata.normalize("NFKD", character)[0].lower()
    return _STROKED.get(base, base) if len(base) == 1 else character
