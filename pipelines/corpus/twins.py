"""Which texts are nearly the same as one of a few given texts: exact, by three-word shingles.

Used where one side is small and known beforehand (evaluation and held-out documents): each of the many others then costs its own shingles
and nothing else, and nothing is estimated. `near` compares many with many.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from math import ceil

from pipelines.corpus.near import shingles


class Twins:
    """The given texts by key. A key may come several times, with the texts it had."""

    def __init__(self, texts: Iterable[tuple[str, str]], similarity: float) -> None:
        self._similarity = similarity
        self._given = [(key, frozenset(shingles(text))) for key, text in texts if text.strip()]
        self._often: Mapping[bytes, int] = Counter(one for _, some in self._given for one in some)
        self._holding: dict[bytes, list[int]] = {}
        for place, (_, some) in enumerate(self._given):
            for one in self._telling(some):
                self._holding.setdefault(one, []).append(place)

    def of(self, text: str) -> str | None:
        """The key of a given text whose Jaccard similarity to this one is at least the threshold; None when there is none."""
        if not self._given or not text.strip():
            return None
        own = shingles(text)
        if len(own & self._often.keys()) < self._similarity * len(own):
            return None
        candidates = {place for one in self._telling(own) for place in self._holding.get(one, ())}
        for place in sorted(candidates):
            key, other = self._given[place]
            if len(own & other) >= self._similarity * len(own | other):
                return key
        return None

    def _telling(self, some: Iterable[bytes]) -> list[bytes]:
        """So many of the rarest shingles that two sets of the wanted similarity cannot miss each other.

        The prefix filter of exact similarity joins (Chaudhuri, Ganti and Kaushik, "A primitive operator for similarity joins", ICDE 2006):
        sets of Jaccard similarity t share one of their first n - ceil(t n) + 1 members in any order that is the same for both.
        """
        ordered = sorted(some, key=lambda one: (self._often.get(one, 0), one))
        # The threshold times a length may come out a hair too high.
        return ordered[: len(ordered) - ceil(self._similarity * len(ordered) - 1e-9) + 1]
