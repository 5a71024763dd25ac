"""Answers kept in this process: per domain, bounded in number, each until its time is over. Where no Redis is configured."""

from __future__ import annotations

import time
from collections.abc import Callable

from cachetools import TLRUCache

from pipelines.serving.cache.key import CacheKey

Kept = tuple[bytes, float, int]
"""The answer, the moment of the clock until which it is kept, and the key's epoch."""


class Memory:
    """For one event loop: not safe between threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._domains: dict[str, TLRUCache[bytes, Kept]] = {}
        self._floor: dict[str, int] = {}

    def get(self, key: CacheKey) -> bytes | None:
        """The answer, or None."""
        kept = self._domains.get(key.domain)
        found = kept.get(key.exact) if kept is not None else None
        return found[0] if found is not None else None

    def put(self, key: CacheKey, value: bytes, seconds: float, entries: int) -> bool:
        """Keep an answer; False when its epoch is over."""
        if key.epoch < self._floor.get(key.domain, 0):
            return False
        kept = self._domains.get(key.domain)
        if kept is None or kept.maxsize != entries:
            # The domain file says another number: what is kept is worth less than the code that would carry it over.
            kept = self._domains[key.domain] = TLRUCache(entries, ttu=_until, timer=self._clock)
        kept[key.exact] = (value, self._clock() + seconds, key.epoch)
        return True

    def purge(self, domain: str, epoch: int = 0) -> int:
        """Drop everything of a domain, and refuse from now on what is of an epoch before `epoch`; how many answers went."""
        self._floor[domain] = max(epoch, self._floor.get(domain, 0))
        return len(self._domains.pop(domain, ()))


def _until(_: bytes, kept: Kept, __: float) -> float:
    return kept[1]
