"""Equal questions that come while the first is being answered wait for its answer, instead of each asking the model."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T")


@dataclass(slots=True)
class _Flight(Generic[T]):
    task: asyncio.Task[T]
    waiting: int = 0


class Flights(Generic[T]):
    """For one event loop. The work is nobody's own: who began it may leave, and it ends when the last who waits has left."""

    def __init__(self) -> None:
        self._flying: dict[bytes, _Flight[T]] = {}

    async def join(self, key: bytes, make: Callable[[], Coroutine[Any, Any, T]]) -> tuple[T, bool]:
        """(what `make` gives, whether another had begun it). Its error is everybody's who waits; the next who asks begins anew."""
        flight = self._flying.get(key)
        followed = flight is not None
        if flight is None:
            flight = self._flying[key] = _Flight(asyncio.create_task(make()))
            flight.task.add_done_callback(lambda _: self._landed(key, flight))
        flight.waiting += 1
        try:
            return await asyncio.shield(flight.task), followed
        finally:
            flight.waiting -= 1
            if not flight.waiting and not flight.task.done():
                flight.task.cancel()
                self._landed(key, flight)  # at once: who comes now must not join what is being cancelled

    def _landed(self, key: bytes, flight: _Flight[T] | None) -> None:
        if self._flying.get(key) is flight:
            del self._flying[key]
