"""How far an answer rests on the passages that it was given: word against word, without a language model.

Each sentence of the answer gets a support in [0, 1], the mean of three shares:

words    of its words, those that any passage holds; rare ones weigh more (inverse document frequency over the passages' sentences)
nearby   of its different words, those that three neighbouring sentences of one passage hold: words picked from everywhere prove little
pairs    of its neighbouring words, those that stand side by side in a passage: closer to the order in which they were said

A figure that no passage holds halves it, and so does a "not" that the nearest sentence lacks, or has alone. The answer's groundedness is
the mean over its sentences, each counted by its words. An answer that was shown nothing and only says that it does not know is at 1.

The share of an answer's words that the passages hold ("K-precision") follows people's judgement of faithfulness closely: V. Adlakha and
others, "Evaluating Correctness and Faithfulness of Instruction-Following Models for Question Answering", TACL 12, 2024. What it is worth
here, and what was left out because it added nothing (the cosine of sentence vectors, for one): docs/metrics.md.

Does not see a true paraphrase in other words, nor a false sentence made of the passages' own words. English only.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?|\d+(?:[.,]\d+)*")
_FIGURE = re.compile(r"\d+(?:[.,]\d+)*")
_BULLET = re.compile(r"^\s*(?:[-*•]+|\d{1,2}[.)])\s+|[*#]+")
_END = re.compile(r"(?<=[.!?])[\"”)]?\s+(?=[A-Z0-9\"“(])")
_NEGATION = re.compile(r"\b(?:not|no|never|neither|nor|none|without|cannot|\w+n['’]t)\b", re.IGNORECASE)
_YES_OR_NO = re.compile(r"^(?:yes|no)\b[,.]?\s*", re.IGNORECASE)
_DENIAL = re.compile(
    r"\b(?:(?:do|does|did|is|are|could|can) ?(?:not|n['’]t)|cannot|no|not|unable)\b[^.;]{0,40}"
    r"\b(?:information|mention\w*|specif\w+|knowledge|answer|know|stated?|states|find)\b",
    re.IGNORECASE,
)
_FUNCTION_WORDS = (
    "a about after all also an and any are as at be because been before being between both but by can could did do does during each for"
    " from had has have having he her here his how i if in into is it its just may me might more most must my no not of on only or other"
    " our out over own same shall she should so some such than that the their them then there these they this those through to under up"
    " us very was we were what when where which while who whom whose why will with would you your"
)
_SAY_NOTHING = frozenset(_FUNCTION_WORDS.split())
_NEIGHBOURS = 3
_PENALTY = 0.5
_NEARLY_SAID = 0.8
"""Share of words that two sentences have in common (Dice) from which a "not" in one of them is a contradiction, no other sentence."""


@dataclass(frozen=True, slots=True)
class Support:
    """One sentence of an answer. `nearest` is the passages' sentence that shares most with it; `why` says what halved its support."""

    sentence: str
    support: float
    words: int
    nearest: str
    why: str


@dataclass(frozen=True, slots=True)
class _Passage:
    sentences: list[str]
    contents: list[frozenset[str]]
    """Of each sentence, the words that say something."""
    seen_in: Counter[str]
    """By word, in how many sentences it is."""
    windows: list[frozenset[str]]
    pairs: frozenset[tuple[str, str]]
    figures: frozenset[str]


def groundedness(answer: str, passages: Sequence[str]) -> float:
    """In [0, 1]; 1 where nothing is claimed, 0 where something is claimed of no passage."""
    found = supports(answer, passages)
    # Of no passage, "I do not know" is nothing but true; "the documents do not say" is a claim about those that there are.
    if not found or (not any(passages) and all(_DENIAL.search(one.sentence) for one in found)):
        return 1.0
    return sum(one.support * one.words for one in found) / sum(one.words for one in found)


def supports(answer: str, passages: Sequence[str]) -> list[Support]:
    """Every sentence of the answer with its support, in order; a heading or a line of a list is a sentence."""
    sources = [_read(passage) for passage in passages]
    return [_support(sentence, sources) for sentence in sentences(answer)]


def sentences(text: str) -> list[str]:
    """Split at line ends and after `.`, `!` or `?` before a capital, a digit or a quotation mark; marks of lists and headings dropped."""
    lines = (_BULLET.sub("", line).strip() for line in text.splitlines())
    return [part.strip() for line in lines for part in _END.split(line) if any(map(str.isalnum, part))]


def _support(sentence: str, sources: list[_Passage]) -> Support:
    said = _stems(sentence)
    content = [stem for stem, counts in said if counts]
    different = frozenset(content)
    size = max(1, len(content))
    total = sum(len(one.sentences) for one in sources)
    if not total:
        return Support(sentence, 0.0, size, "", "there is no passage")
    seen = {stem: sum(one.seen_in[stem] for one in sources) for stem in different}
    weights = {stem: math.log((total + 1) / (count + 0.5)) for stem, count in seen.items()}
    weight = sum(weights[stem] for stem in content)
    words = sum(weights[stem] for stem in content if seen[stem]) / weight if content else 1.0
    nearby = max(len(different & window) for one in sources for window in one.windows) / len(different) if content else 1.0
    pairs = list(pairwise(stem for stem, _ in said))
    in_order = sum(any(pair in one.pairs for one in sources) for pair in pairs) / len(pairs) if pairs else words
    support = (words + nearby + in_order) / 3

    shared, nearest = max(
        (
            (2 * len(different & found) / max(1, len(different) + len(found)), text)
            for one in sources
            for text, found in zip(one.sentences, one.contents, strict=True)
        ),
        key=lambda candidate: candidate[0],
    )
    why = []
    held = frozenset[str]().union(*(one.figures for one in sources))
    if missing := [figure for figure in _FIGURE.findall(sentence) if figure.replace(",", "") not in held]:
        why.append(f"no passage holds {', '.join(missing)}")
        support *= _PENALTY
    if shared >= _NEARLY_SAID and _negated(sentence) != _negated(nearest):
        why.append("one says not, the other does not")
        support *= _PENALTY
    return Support(sentence, support, size, nearest if shared else "", "; ".join(why))


@lru_cache(maxsize=4096)
def _read(passage: str) -> _Passage:
    """Kept: all cells of a matrix are scored against the same passages."""
    found = sentences(passage)
    stems = [_stems(sentence) for sentence in found]
    contents = [frozenset(stem for stem, counts in one if counts) for one in stems]
    starts = range(max(1, len(contents) - _NEIGHBOURS + 1))
    return _Passage(
        sentences=found,
        contents=contents,
        seen_in=Counter(stem for one in contents for stem in one),
        windows=[frozenset[str]().union(*contents[start : start + _NEIGHBOURS]) for start in starts],
        pairs=frozenset(pairwise(stem for one in stems for stem, _ in one)),
        figures=frozenset(figure.replace(",", "") for figure in _FIGURE.findall(passage)),
    )


def _stems(sentence: str) -> list[tuple[str, bool]]:
    """The stem of every word, and whether the word says something by itself."""
    return [(_stem(word), word not in _SAY_NOTHING) for word in _WORD.findall(sentence.casefold())]


def _negated(sentence: str) -> bool:
    return _NEGATION.search(_YES_OR_NO.sub("", sentence)) is not None


@lru_cache(maxsize=100_000)
def _stem(word: str) -> str:
    return str(_stemmer().stem(word.replace("’", "'")))


@lru_cache(maxsize=1)
def _stemmer() -> Any:
    from nltk.stem.porter import PorterStemmer  # type: ignore[import-untyped]

    return PorterStemmer()
