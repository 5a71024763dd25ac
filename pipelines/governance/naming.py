"""One form for every writing of a person's name: what finds it in a text, and what its surrogate and its key stand on."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from typing import Final

# Letters that Unicode does not take apart.
_STROKED: Final = dict(zip("øłđħŧıæœþð", "oldhtiaotd", strict=True))


def normal(subjects: Sequence[str]) -> str:
    """A record's names together; one that is blank is none."""
    return "\0".join(" ".join(fold(subject).split()) for subject in subjects if subject.strip())


def fold(text: str) -> str:
    """Lower case without accents, however they are written."""
    return "".join(letter for _, letter in letters(text))


def letters(text: str) -> Iterator[tuple[int, str]]:
    """Each letter of `fold` with the place it comes from: an accent may be a character of its own, and a ligature is two letters."""
    for place, character in enumerate(text):
        if character.isascii():
            yield place, character.lower()
            continue
        for part in unicodedata.normalize("NFKD", character):
            if not unicodedata.combining(part):
                yield from ((place, _STROKED.get(letter, letter)) for letter in part.lower())
