"""Requests a minute and tokens a day: in one process, in two over a real Redis, and while Redis is away."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from typing import Any

import pytest
from access_log import refused
from redis_process import RedisProcess

from pipelines.config import PROJECT, Settings
from pipelines.serving.access import Access, TooMany
from pipelines.serving.access.budgets import Budgets
from pipelines.serving.keys import Key
from pipelines.serving.shapes import retry

DAY = 86_400
NOON = 20_000 * DAY + DAY // 2


def key(requests: int | None = None, tokens: int | None = None, name: str = "desk") -> Key:
    return Key(name, name, ("regulatory",), requests_per_minute=requests, tokens_per_day=tokens)


async def admitted(budgets: Budgets | Access, wanted: Key, times: int) -> int:
    count = 0
    for _ in range(times):
        try:
            await budgets.admit(wanted)
            count += 1
        except TooMany:
            pass
    return count


class Clock:
    def __init__(self) -> None:
        self.now = float(NOON)

    def __call__(self) -> float:
        return self.now


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.services)])
def counted(request: pytest.FixtureRequest, settings: Settings) -> Settings:
    if request.param == "memory":
        return settings
    process: RedisProcess = request.getfixturevalue("redis_process")
    return settings.model_copy(update={"redis_url": process.url})


async def test_requests_a_minute(counted: Settings) -> None:
    access = Access(counted)
    # One more may pass where a minute of the clock ends in between.
    assert await admitted(access, key(requests=5), 30) in (5, 6)
    assert await admitted(access, key(requests=5, name="another"), 3) == 3
    with pytest.raises(TooMany) as caught:
        await access.admit(key(requests=5))
    assert 1 <= caught.value.retry_after <= 60
    assert retry(caught.value, 429) == {"Retry-After": str(caught.value.retry_after)}
    await access.close()
    assert {(who, why) for who, why, _ in refused(counted)} == {("key:desk", "over budget: requests")}


async def test_tokens_of_a_day_are_given_anew_at_midnight(counted: Settings) -> None:
    clock = Clock()
    budgets = Budgets(counted, clock)
    desk = key(tokens=100)
    await budgets.admit(desk)
    await budgets.spend(desk, 99)
    await budgets.admit(desk)
    await budgets.spend(desk, 500)  # the answer that goes over is given all the same
    with pytest.raises(TooMany, match="tokens of the day") as caught:
        await budgets.admit(desk)
    assert caught.value.retry_after == DAY // 2 and caught.value.budget == "tokens"
    clock.now += DAY // 2 - 1
    with pytest.raises(TooMany) as caught:
        await budgets.admit(desk)
    assert caught.value.retry_after == 1
    clock.now += 1
    await budgets.admit(desk)
    await budgets.close()


async def test_spent_tokens_do_not_use_up_requests_and_refused_requests_no_tokens(counted: Settings) -> None:
    budgets = Budgets(counted)
    await budgets.spend(key(requests=1_000, tokens=10), 10)
    assert await admitted(budgets, key(requests=1_000, tokens=10), 5) == 0
    assert await admitted(budgets, key(requests=1_000), 5) == 5
    await budgets.close()


@pytest.mark.parametrize("tokens", [0, -5])
async def test_no_tokens_are_no_spending(counted: Settings, tokens: int) -> None:
    budgets = Budgets(counted)
    await budgets.spend(key(tokens=1), tokens)
    await budgets.admit(key(tokens=1))
    await budgets.close()


async def test_a_key_without_limits_asks_nobody(settings: Settings) -> None:
    access = Access(settings.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"}))
    await access.admit(key())
    await access.spend(key(), 1_000)
    assert access.budgets.faults == 0


ASKS = """
import asyncio, json, sys
from pipelines.config import Settings
from pipelines.serving.access.budgets import Budgets
from pipelines.serving.keys import Key, TooMany

async def main():
    budgets, count = Budgets(Settings(redis_url=sys.argv[1])), 0
    desk = Key("desk", "desk", (), requests_per_minute=50, tokens_per_day=1_000)
    for _ in range(40):
        try:
            await budgets.admit(desk)
            count += 1
        except TooMany:
            pass
    await budgets.spend(desk, 300)
    await budgets.close()
    print(json.dumps([count, budgets.faults]))

asyncio.run(main())
"""


@pytest.mark.slow
@pytest.mark.services
async def test_two_processes_share_budgets_over_redis(settings: Settings, redis_process: RedisProcess) -> None:
    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", ASKS, redis_process.url], cwd=PROJECT, env=os.environ, stdout=subprocess.PIPE)

    both = [start(), start()]
    said: list[Any] = [json.loads((await asyncio.to_thread(process.communicate))[0]) for process in both]
    assert sum(count for count, _ in said) in range(50, 53) and all(faults == 0 for _, faults in said)
    budgets = Budgets(settings.model_copy(update={"redis_url": redis_process.url}))
    desk = key(tokens=1_000)
    await budgets.spend(desk, 399)
    await budgets.admit(desk)
    await budgets.spend(desk, 1)
    with pytest.raises(TooMany):
        await budgets.admit(desk)
    await budgets.close()


@pytest.mark.services
async def test_while_redis_is_away_each_process_counts_for_itself(settings: Settings, redis_process: RedisProcess) -> None:
    access = Access(settings.model_copy(update={"redis_url": redis_process.url}))
    desk = key(requests=5, tokens=10_000)
    assert await admitted(access, desk, 2) == 2
    redis_process.stop()
    assert await admitted(access, desk, 30) in (5, 6, 7)
    assert access.budgets.faults == 1  # the others did not wait for it
    await access.spend(desk, 20_000)
    with pytest.raises(TooMany):
        await access.admit(desk)
    redis_process.start()
    await asyncio.sleep(2.1)
    assert await admitted(access, desk, 1) == 1 and access.budgets.faults == 1
    await access.close()


@pytest.mark.services
async def test_a_redis_that_hangs_holds_up_one_request_for_a_moment(settings: Settings, redis_process: RedisProcess) -> None:
    budgets = Budgets(settings.model_copy(update={"redis_url": redis_process.url}))
    desk = key(requests=1_000)
    await budgets.admit(desk)
    redis_process.hang()
    assert await admitted(budgets, desk, 20) == 20 and budgets.faults == 1
    await budgets.close()
