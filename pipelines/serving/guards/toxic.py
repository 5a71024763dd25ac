"""Swear words, slurs and crude sexual words in a question or an answer, and a few threats in plain words. English.

The list is glin-profanity's, less the words that a note or a regulation needs, as `evaluation.wording.polite` has it. That function takes
milliseconds, so it decides only where one RE2 pattern of the whole list, tried on every reading of the text, says that a word may be there.

Does not see an insult, contempt or hatred in ordinary words, nor other languages.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, Final

from pipelines.serving.guards import sets
from pipelines.serving.guards.folding import folded

_THREATS: Final = (
    r"\b(?:i(?:'ll| will| am going to|'m going to)|we(?:'ll| will)) (?:kill|murder|rape|strangle|shoot|hurt|beat)"
    r" (?:you|him|her|them|your \w+)\b"
    r"|\b(?:go )?kill yourself\b|\byou (?:should|deserve to) die\b|\bkys\b"
)
_STRETCHED = re.compile(r"([^\W\d_])\1{2,}")
_SPACED = re.compile(r"(?<![a-z0-9])(?:[a-z][^a-z0-9\n]{1,2}){2,}[a-z](?![a-z0-9])")
_GAP = re.compile(r"[^a-z]+")


def score(texts: Sequence[str]) -> float:
    """1 where a word of the list or a threat is in one of the readings, else 0."""
    for text in texts:
        if _threats().search(text) or any(_listed().search(form) and _is_crude(form) for form in _forms(text)):
            return 1.0
    return 0.0


def _forms(text: str) -> Iterator[str]:
    """The text, then without stretched and without spaced letters, where it has any."""
    yield text
    odd = sets.matches(_odd(), text)
    if 0 in odd:
        yield _STRETCHED.sub(r"\1", text)
    if 1 in odd:
        yield _SPACED.sub(lambda match: _GAP.sub("", match.group()), text)


def _is_crude(text: str) -> bool:
    from pipelines.evaluation import wording

    # A few words round each hit: the list's own scan is slow on long texts.
    return any(not wording.polite(text[max(0, match.start() - 40) : match.end() + 40]) for match in _listed().finditer(text))


@lru_cache(maxsize=1)
def _listed() -> Any:
    import re2  # type: ignore[import-untyped]
    from glin_profanity.data.dictionary import DictionaryLoader  # type: ignore[import-untyped]

    listed = {folded(word) for word in DictionaryLoader().get_words("english")}
    forms = (r"[\s._*-]{1,3}".join(re.escape(part) for part in word.split()) for word in sorted(listed) if word.strip())
    return re2.compile(rf"(?:^|[^a-z])(?:{'|'.join(forms)})(?:e?s|ed|er|ing|in)?(?:$|[^a-z])")


@lru_cache(maxsize=1)
def _odd() -> Any:
    # RE2 knows no back-references, and Python's are slow on a text without any.
    stretched = "|".join(f"{letter}{{3}}" for letter in string.ascii_lowercase)
    return sets.compiled((stretched, r"(?:^|[^a-z0-9])(?:[a-z][^a-z0-9]{1,2}){2}[a-z](?:$|[^a-z0-9])"))


@lru_cache(maxsize=1)
def _threats() -> Any:
    import re2

    return re2.compile(_THREATS)
