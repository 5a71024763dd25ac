"""The cache of answers as the gateway sees it. Nothing in it raises or waits for the cache's sake; only `purge` does."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pipelines.config import Settings
from pipelines.errors import Unavailable
from pipelines.serving.cache import shared
from pipelines.serving.cache.flight import Flights
from pipelines.serving.cache.key import CacheKey
from pipelines.serving.cache.memory import Memory
from pipelines.serving.cache.semantic import Neighbours
from pipelines.serving_config import CachePolicy


@dataclass(frozen=True, slots=True)
class Similar:
    """The answer to a question that says the same, and the cosine of the two."""

    value: bytes
    cosine: float


class AnswerCache:
    """One per process, for its event loop. Answers are bytes that only the gateway reads.

    `counts`: `exact`, `semantic`, `miss`, and of Redis `fault` (it failed: raise the alarm), `skipped`, `forged` (a value was altered).
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.counts: Counter[str] = Counter()
        self._memory = Memory()
        self._shared = shared.Shared(settings, self.counts) if settings.redis_url else None
        self._neighbours = Neighbours()
        self._flights: Flights[Any] = Flights()
        self._epochs: dict[str, int] = {}
        self._purging: set[asyncio.Task[None]] = set()

    @property
    def healthy(self) -> bool:
        """False while Redis counts as dead."""
        return self._shared is None or not self._shared.breaker.open

    async def get(self, key: CacheKey, policy: CachePolicy) -> bytes | None:
        """The answer kept for exactly this, or None."""
        found = await self._get(key) if policy.exact else None
        self.counts["miss" if found is None else "exact"] += 1
        return found

    async def similar(self, key: CacheKey, vector: Any, policy: CachePolicy) -> Similar | None:
        """The answer to a question of the same partition that says the same. `vector`: float32 (dimensions,), of length 1."""
        if not policy.semantic:
            return None
        for near, cosine in self._neighbours.find(key, vector, policy.similarity):
            value = await self._get(near)
            if value is not None:
                self.counts["semantic"] += 1
                return Similar(value, cosine)
            self._neighbours.forget(near)
        return None

    async def put(self, key: CacheKey, value: bytes, policy: CachePolicy, vector: Any = None) -> None:
        """Keep an answer for the policy's time; with its `vector`, where the policy allows it, for questions that say the same too."""
        if not (policy.exact or policy.semantic) or key.epoch < self._epochs.get(key.domain, 0):
            return
        if self._shared is None:
            kept = self._memory.put(key, value, policy.seconds, policy.entries)
        else:
            kept = await self._shared.put(key, value, policy.seconds)
        if kept and policy.semantic and vector is not None:
            self._neighbours.add(key, vector)

    async def flight(self, key: CacheKey, make: Callable[[], Coroutine[Any, Any, Any]]) -> tuple[Any, bool]:
        """(what `make` gives, whether it was begun for another who asked the same). See `flight.Flights.join`."""
        return await self._flights.join(key.exact, make)

    def saw(self, domain: str, epoch: int) -> None:
        """The pointer is at this epoch: what is of an earlier one is dropped, from Redis in the background. Free when nothing is new."""
        if epoch <= self._epochs.get(domain, -1):
            return
        first = domain not in self._epochs
        self._epochs[domain] = epoch
        self._memory.purge(domain, epoch)
        self._neighbours.purge(domain, epoch)
        if self._shared is not None and not first:
            task = asyncio.create_task(self._sweep(domain, epoch))
            self._purging.add(task)
            task.add_done_callback(self._purging.discard)

    async def purge(self, domain: str, epoch: int = 0) -> int:
        """Delete everything kept for a domain, and let nothing of an epoch before `epoch` in; how many answers went.

        Unavailable when Redis cannot say that they are gone. Other processes' own memory follows the pointer's epoch (`saw`).
        """
        self._epochs[domain] = max(epoch, self._epochs.get(domain, 0))
        self._neighbours.purge(domain)
        gone = self._memory.purge(domain, epoch)
        if self._shared is not None:
            gone += await asyncio.to_thread(shared.purge, self._settings, domain, epoch)
        return gone

    async def close(self) -> None:
        """Close the connections."""
        for task in self._purging:
            task.cancel()
        await asyncio.gather(*self._purging, return_exceptions=True)
        if self._shared is not None:
            await self._shared.close()

    async def _get(self, key: CacheKey) -> bytes | None:
        return self._memory.get(key) if self._shared is None else await self._shared.get(key)

    async def _sweep(self, domain: str, epoch: int) -> None:
        # They are out of reach already, and end by themselves: tidiness, which a dead Redis may go without.
        with suppress(Unavailable):
            await asyncio.to_thread(shared.purge, self._settings, domain, epoch, once=True)


def forget(settings: Settings, domain: str, epoch: int) -> int:
    """Delete what gateways share of a domain's answers; blocking, for a step. 0 where they share nothing. Unavailable as for `purge`."""
    return shared.purge(settings, domain, epoch) if settings.redis_url else 0
