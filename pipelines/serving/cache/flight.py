"""Equal questions that come while the first is being answered wait for its answer, instead of each asking the model."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class _Left(Exception):
    """Whoever was answering has gone; one of those who wait takes over."""


class Flights(Generic[T]):
    """For one event loop. The first to ask does the work itself, without a task: most questions are asked by nobody else meanwhile."""

    def __init__(self) -> None:
        self._flying: dict[bytes, asyncio.Future[T]] = {}

    async def join(self, key: bytes, make: Callable[[], Awaitable[T]]) -> tuple[T, bool]:
        """(what `make` gives, whether another did it). Its error is everybody's who waits; the next who asks begins anew."""
        while (waiting := self._flying.get(key)) is not None:
            try:
                return await asyncio.shield(waiting), True
            except _Left:
                continue
        mine = self._flying[key] = asyncio.get_running_loop().create_future()
        try:
            made = await make()
        except BaseException as error:
            del self._flying[key]
            mine.set_exception(error if isinstance(error, Exception) else _Left())
            mine.exception()  # looked at: where nobody waits, nobody else would
            raise
        del self._flying[key]
        mine.set_result(made)
        return made, False
