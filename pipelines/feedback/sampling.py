"""Active sampling: of answers that look well, those that people should look at all the same: uncertain ones, and unlike one another.

Only what looks bad would teach nothing about what is wrong and looks well. A pool is drawn from the stream by weighted reservoir sampling
(P. Efraimidis and P. Spirakis, "Weighted random sampling with a reservoir", Information Processing Letters 97, 2006, algorithm A-Res), and
from the pool are picked, one after the other, those farthest from all that were picked before: the greedy k-center of T. Gonzalez
("Clustering to minimize the maximum intercluster distance", Theoretical Computer Science 38, 1985), which O. Sener and S. Savarese proposed
for choosing what to label ("Active learning for convolutional neural networks: a core-set approach", ICLR 2018). Here each distance is
multiplied by the answer's uncertainty.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

T = TypeVar("T")
LEAST = 0.05
"""Uncertainty that even the surest answer has: it may be picked too."""


def uncertainty(confidence: float | None) -> float:
    """In [LEAST, 1]; an answer that says nothing of its confidence is half sure."""
    return max(LEAST, 1.0 - (0.5 if confidence is None else confidence))


class Pool(Generic[T]):
    """A weighted sample of a stream: `size` at most. Drawn by the seed and each one's name, so that the order of the stream is nothing."""

    def __init__(self, size: int, seed: str) -> None:
        self._size, self._seed = size, seed
        self._kept: list[tuple[float, str, T]] = []

    def offer(self, name: str, weight: float, value: T) -> None:
        """One of the stream. `weight` > 0; twice the weight, about twice the chance."""
        digest = hashlib.blake2b(f"{self._seed}\0{name}".encode(), digest_size=8).digest()
        drawn = (int.from_bytes(digest) + 1) / 2**64
        entry = (drawn ** (1.0 / weight), name, value)
        if len(self._kept) < self._size:
            heapq.heappush(self._kept, entry)
        elif self._kept and entry[:2] > self._kept[0][:2]:
            heapq.heapreplace(self._kept, entry)

    def drawn(self) -> list[T]:
        """What is in it, in an order of its own that is always the same."""
        return [value for _, _, value in sorted(self._kept, key=lambda one: one[:2], reverse=True)]


def pick(vectors: Any, uncertainties: Sequence[float], count: int, known: Any = None) -> list[int]:
    """Places of `count` of the rows of `vectors` (n, dimensions; of length 1), in the order in which they were picked.

    The first is the most uncertain one, or, where `known` (m, dimensions) has rows, the one farthest from these. Rows that lie on one that
    was picked are not picked.
    """
    import numpy as np

    if not len(uncertainties) or count <= 0:
        return []
    weights = np.asarray(uncertainties, dtype=np.float64)
    nearest = np.ones(len(weights)) if known is None or not len(known) else 1.0 - (vectors @ known.T).max(axis=1)
    picked: list[int] = []
    while len(picked) < count:
        scores = weights * np.clip(nearest, 0.0, None)
        scores[picked] = -1.0
        best = int(scores.argmax())
        if scores[best] <= 1e-6:
            break
        picked.append(best)
        nearest = np.minimum(nearest, 1.0 - vectors @ vectors[best])
    return picked
