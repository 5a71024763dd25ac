"""Questions that mean the same, in this process: per partition the vectors of the last few hundred, compared one by one.

A neighbour counts only where its wording says the same too (`wording.py`). What is kept is the place of its answer, not the answer: one
that was purged, or whose time is over, is a miss.
"""

from __future__ import annotations

from typing import Any

from cachetools import LRUCache

from pipelines.serving.cache import wording
from pipelines.serving.cache.key import CacheKey

PER_PARTITION = 256
"""Compared in some 30 microseconds at 384 dimensions."""
PARTITIONS = 64
"""Those used longest ago are dropped: 25 MB at 384 dimensions."""
_LOOKED_AT = 8
"""Neighbours whose wording is compared, nearest first."""


class Neighbours:
    """For one event loop."""

    def __init__(self) -> None:
        self._partitions: LRUCache[bytes, _Partition] = LRUCache(PARTITIONS)

    def find(self, key: CacheKey, vector: Any, similarity: float) -> list[tuple[CacheKey, float]]:
        """Keys of questions that say the same, with their cosine, nearest first. `vector`: float32 (dimensions,), of length 1."""
        partition = self._partitions.get(key.partition)
        return partition.find(key.question, vector, similarity) if partition is not None else []

    def add(self, key: CacheKey, vector: Any) -> None:
        """Remember a question; the oldest of its partition makes room."""
        partition = self._partitions.get(key.partition)
        if partition is None or partition.dimensions != len(vector):
            partition = self._partitions[key.partition] = _Partition(key, len(vector))
        partition.add(key, vector)

    def forget(self, key: CacheKey) -> None:
        """Its answer is not there any more."""
        if (partition := self._partitions.get(key.partition)) is not None:
            partition.forget(key)

    def purge(self, domain: str, epoch: int | None = None) -> int:
        """Drop a domain's questions, or those of an epoch before `epoch`; how many went."""
        mine = [name for name, one in self._partitions.items() if one.domain == domain and (epoch is None or one.epoch < epoch)]
        return sum(len(self._partitions.pop(name)) for name in mine)


class _Partition:
    def __init__(self, key: CacheKey, dimensions: int) -> None:
        import numpy as np

        self.domain, self.epoch, self.dimensions = key.domain, key.epoch, dimensions
        self._vectors = np.zeros((PER_PARTITION, dimensions), dtype=np.float32)
        self._keys: list[CacheKey | None] = []
        self._places: dict[bytes, int] = {}
        self._next = 0

    def __len__(self) -> int:
        return len(self._places)

    def find(self, question: str, vector: Any, similarity: float) -> list[tuple[CacheKey, float]]:
        cosines = self._vectors[: len(self._keys)] @ vector
        near = [int(place) for place in (-cosines).argsort()[:_LOOKED_AT] if cosines[place] >= similarity]
        found = [(self._keys[place], float(cosines[place])) for place in near]
        return [(key, cosine) for key, cosine in found if key is not None and wording.same(question, key.question)]

    def add(self, key: CacheKey, vector: Any) -> None:
        place = self._places.get(key.exact)
        if place is None:
            place, self._next = self._next, (self._next + 1) % PER_PARTITION
            if place == len(self._keys):
                self._keys.append(None)
            elif (old := self._keys[place]) is not None:
                del self._places[old.exact]
        self._vectors[place], self._keys[place], self._places[key.exact] = vector, key, place

    def forget(self, key: CacheKey) -> None:
        if (place := self._places.pop(key.exact, None)) is not None:
            self._keys[place] = None
            self._vectors[place] = 0
