"""When two questions are one: by their words, and by their meaning."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Any

from pipelines.manifest import sha256

_WORD = re.compile(r"[^\W_]+(?:[.,:/'’-][^\W_]+)*")


def normal(question: str) -> str:
    """The question's words and figures, lower case, one space between: how it was typed and punctuated doesn't count."""
    folded = unicodedata.normalize("NFKC", question).casefold()
    return " ".join(_WORD.findall(folded)) or " ".join(folded.split())


def fingerprint(question: str) -> str:
    """SHA-256 of `normal`, in hex."""
    return sha256(normal(question))


class Alike:
    """Questions that mean the same, by the cosine of their sentence vectors.

    Two that name different figures are never alike: a year more is another answer, and hardly another vector.
    """

    def __init__(self, embedder: str, similarity: float) -> None:
        self._embedder, self._similarity = embedder, similarity
        self._questions: list[str] = []
        self._vectors: list[Any] = []

    def vectors(self, questions: Sequence[str]) -> Any:
        """float32 array (len(questions), dimensions), rows of length 1. The encoder is loaded at the first call: half a second."""
        from pipelines.retrieval.embed import embedder

        return embedder(self._embedder).embed(questions)

    def add(self, questions: Sequence[str]) -> None:
        """Questions to compare with from now on."""
        if questions:
            self._questions += questions
            self._vectors += list(self.vectors(questions))

    @property
    def known(self) -> Any:
        """The vectors of the added ones, (n, dimensions); None for none."""
        import numpy as np

        return np.stack(self._vectors) if self._vectors else None

    def place(self, question: str, vector: Any) -> int | None:
        """Which of the added ones, in their order, is most alike; None when none is."""
        import numpy as np

        if not self._vectors:
            return None
        cosines = np.stack(self._vectors) @ vector
        for place in np.argsort(-cosines):
            if cosines[place] < self._similarity:
                return None
            if figures(self._questions[place]) == figures(question):
                return int(place)
        return None

    def most_repeated(self, questions: Sequence[str]) -> tuple[int, int]:
        """(how many of them are alike, place of the last of these); (0, -1) for none."""
        import numpy as np

        if not questions:
            return 0, -1
        found = self.vectors(questions)
        same = (found @ found.T >= self._similarity) & np.array([[figures(a) == figures(b) for b in questions] for a in questions])
        counts = same.sum(axis=1)
        best = int(counts.argmax())
        return int(counts[best]), int(np.flatnonzero(same[best])[-1])


def figures(question: str) -> frozenset[str]:
    """The numbers that a question names."""
    from pipelines.retrieval.index import numbers

    return frozenset(numbers(question))
