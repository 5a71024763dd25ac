"""One asks, all wait."""

from __future__ import annotations

import asyncio

import pytest

from pipelines.errors import Unavailable
from pipelines.serving.cache.flight import Flights


class Work:
    def __init__(self) -> None:
        self.begun, self.cancelled, self.go = 0, 0, asyncio.Event()

    async def __call__(self) -> str:
        self.begun += 1
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return "done"


async def test_equal_ones_are_asked_once_and_others_by_themselves() -> None:
    flights, work, other = Flights[str](), Work(), Work()
    waiting = [asyncio.create_task(flights.join(b"a", work)) for _ in range(5)] + [asyncio.create_task(flights.join(b"b", other))]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    work.go.set(), other.go.set()
    assert await asyncio.gather(*waiting) == [("done", False), *[("done", True)] * 4, ("done", False)]
    assert (work.begun, other.begun) == (1, 1)
    assert await flights.join(b"a", work) == ("done", False) and work.begun == 2, "what has landed is not given again"


async def test_a_leader_that_leaves_does_not_fail_the_others() -> None:
    flights, work = Flights[str](), Work()
    leader = asyncio.create_task(flights.join(b"a", work))
    follower = asyncio.create_task(flights.join(b"a", work))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    leader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leader
    work.go.set()
    assert await follower == ("done", False) and (work.begun, work.cancelled) == (2, 1), "who waits takes over"


async def test_work_that_nobody_waits_for_ends_and_is_not_joined() -> None:
    flights, work = Flights[str](), Work()
    alone = asyncio.create_task(flights.join(b"a", work))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    alone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await alone
    again = asyncio.create_task(flights.join(b"a", work))
    await asyncio.sleep(0)
    work.go.set()
    assert await again == ("done", False) and (work.begun, work.cancelled) == (2, 1)


async def test_an_error_is_everybodys_and_the_next_begins_anew() -> None:
    flights, go = Flights[str](), asyncio.Event()

    async def fails() -> str:
        await go.wait()
        raise Unavailable("down")

    waiting = [asyncio.create_task(flights.join(b"a", fails)) for _ in range(3)]
    await asyncio.sleep(0)
    go.set()
    assert [type(one) for one in await asyncio.gather(*waiting, return_exceptions=True)] == [Unavailable] * 3
    work = Work()
    work.go.set()
    assert await flights.join(b"a", work) == ("done", False)
