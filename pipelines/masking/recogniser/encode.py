"""Text as the encoder reads it: word pieces in windows, and beside each piece what the uncased vocabulary cannot say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

WINDOW: Final = 126
OVERLAP: Final = 40
SHAPES: Final = 12
"""Rows of the shape embedding: letter case of the word (0 unknown, lower, Title, UPPER, miXed, none), again for words that begin a line."""
_NEW_LINE: Final = 6
TAGS: Final = ("O", *(f"{place}-{label}" for label in ("NAME", "PLACE", "ORG", "ADDRESS") for place in "BI"))


@dataclass(frozen=True, slots=True)
class Pieces:
    """A text's word pieces: ids, shapes, the word each belongs to, and every word's (start, end) in the text."""

    ids: list[int]
    shapes: list[int]
    owner: list[int]
    words: list[tuple[int, int]]


@lru_cache(maxsize=1)
def tokenizer() -> Any:
    """The encoder's own tokenizer, without truncation or padding."""
    from tokenizers import Tokenizer

    from pipelines.masking.recogniser.base import encoder_folder

    made = Tokenizer.from_file(str(encoder_folder() / "tokenizer.json"))
    made.no_truncation()
    made.no_padding()
    return made


def pieces(texts: list[str]) -> list[Pieces]:
    """The word pieces of each text."""
    return [
        _pieces(text, encoding) for text, encoding in zip(texts, tokenizer().encode_batch(texts, add_special_tokens=False), strict=True)
    ]


def _pieces(text: str, encoding: Any) -> Pieces:
    words: list[tuple[int, int]] = []
    shapes: list[int] = []
    owner: list[int] = []
    last, shape = None, 0
    for word, (start, end) in zip(encoding.word_ids, encoding.offsets, strict=True):
        if word != last:
            last = word
            before = text[words[-1][1] : start] if words else "\n"
            words.append((start, end))
            shape = _NEW_LINE if "\n" in before else 0
        else:
            words[-1] = (words[-1][0], end)
        owner.append(len(words) - 1)
        shapes.append(shape)
    cases = [_case(text[start:end]) for start, end in words]
    return Pieces(encoding.ids, [line + cases[word] for line, word in zip(shapes, owner, strict=True)], owner, words)


def _case(word: str) -> int:
    if word.islower():
        return 1
    if word.isupper():
        return 2 if len(word) == 1 else 3
    if word.istitle():
        return 2
    return 4 if any(letter.isalpha() for letter in word) else 5


def windows(length: int) -> Iterator[tuple[int, int]]:
    """(start, end) of the windows that cover so many pieces, each sharing OVERLAP with the one before."""
    start = 0
    while True:
        end = min(start + WINDOW, length)
        yield start, end
        if end == length:
            return
        start = end - OVERLAP
