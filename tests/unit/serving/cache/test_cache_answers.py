"""The cache in this process and in a real Redis: what is kept, for whom, for how long, and what a purge leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
import redis.asyncio
from cache_keys import key
from cache_redis import RedisServer

from pipelines.config import Settings
from pipelines.errors import MaskingFailed, Unavailable
from pipelines.serving.cache import breaker, shared
from pipelines.serving.cache.answers import AnswerCache, forget
from pipelines.serving.cache.memory import Memory
from pipelines.serving_config import CachePolicy

POLICY = CachePolicy(semantic=True)
VECTOR = np.array([1, 0], dtype=np.float32)
ANSWER = b'{"text":"The dose is 20 mg for Annabel."}'


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.services)])
async def cache(request: pytest.FixtureRequest, settings: Settings) -> AsyncIterator[AnswerCache]:
    made = AnswerCache(settings if request.param == "memory" else request.getfixturevalue("shared_settings"))
    yield made
    await made.close()


async def test_an_answer_is_given_again_for_its_time(cache: AnswerCache) -> None:
    assert await cache.get(key(), POLICY) is None
    await cache.put(key(), ANSWER, POLICY)
    await cache.put(key(tenant="south"), b"theirs", CachePolicy(seconds=0.05))
    assert await cache.get(key(), POLICY) == ANSWER
    await asyncio.sleep(0.1)
    assert await cache.get(key(tenant="south"), POLICY) is None
    assert (cache.counts["exact"], cache.counts["miss"], cache.counts["fault"]) == (1, 2, 0)


async def test_nothing_is_kept_where_the_policy_says_so(cache: AnswerCache) -> None:
    off = CachePolicy(exact=False)
    await cache.put(key(), ANSWER, off, VECTOR)
    assert await cache.get(key(), POLICY) is None and await cache.similar(key(), VECTOR, POLICY) is None
    await cache.put(key(), ANSWER, POLICY)
    assert await cache.get(key(), off) is None


async def test_a_question_that_says_the_same_is_answered_in_its_own_partition_only(cache: AnswerCache) -> None:
    await cache.put(key(), ANSWER, POLICY, VECTOR)
    alike = {"question": "what's the dose of <DRUG_1>, please?"}
    found = await cache.similar(key(**alike), VECTOR, POLICY)
    assert found is not None and (found.value, round(found.cosine, 3)) == (ANSWER, 1.0)
    for other in ({"tenant": "south"}, {"roles": ["doctor"]}, {"release": "clinical/r2"}, {"index": "index-2"}, {"epoch": 1}):
        assert await cache.similar(key(**alike, **other), VECTOR, POLICY) is None
    assert await cache.similar(key(question="What is the dose of <DRUG_2>?"), VECTOR, POLICY) is None
    assert await cache.similar(key(**alike), VECTOR, CachePolicy()) is None, "off unless the domain says so"


async def test_a_purge_takes_a_domain_and_leaves_the_others(cache: AnswerCache) -> None:
    for tenant in ("north", "south"):
        await cache.put(key(tenant=tenant), ANSWER, POLICY, VECTOR)
    await cache.put(key(domain="regulatory"), b"law", POLICY)
    assert await cache.purge("clinical", 1) == 2
    assert await cache.get(key(), POLICY) is None and await cache.similar(key(), VECTOR, POLICY) is None
    assert await cache.get(key(domain="regulatory"), POLICY) == b"law"
    await cache.put(key(), ANSWER, POLICY, VECTOR)
    assert await cache.get(key(), POLICY) is None, "an answer that was under way does not come in behind the purge"
    await cache.put(key(epoch=1), b"new", POLICY)
    assert await cache.get(key(epoch=1), POLICY) == b"new"
    assert await cache.purge("clinical", 1) == 1 and await cache.purge("nobody", 1) == 0


async def test_a_raised_epoch_drops_what_was_before_it(cache: AnswerCache) -> None:
    cache.saw("clinical", 0)
    await cache.put(key(), ANSWER, POLICY, VECTOR)
    cache.saw("clinical", 0)
    assert await cache.get(key(), POLICY) == ANSWER
    cache.saw("clinical", 1)
    while cache._purging:
        await asyncio.sleep(0.01)
    assert await cache.get(key(), POLICY) is None and await cache.similar(key(), VECTOR, POLICY) is None
    await cache.put(key(), ANSWER, POLICY)
    assert await cache.get(key(), POLICY) is None


@pytest.mark.parametrize("store", ["memory", pytest.param("redis", marks=pytest.mark.services)])
async def test_many_tenants_at_once_with_near_duplicates_get_their_own(
    store: str, settings: Settings, request: pytest.FixtureRequest
) -> None:
    chosen = settings if store == "memory" else request.getfixturevalue("shared_settings")
    caches = [AnswerCache(chosen) for _ in range(1 if store == "memory" else 3)]
    facts = [(who, what, days) for who in ("lessor", "lessee") for what in ("enter", "not enter") for days in (3, 30, 33)]
    forms = ("May the {} {} within {} days?", "Please tell me, may a {} {} within {} days", "may the  {} {} within {} days, please?")
    worlds = [
        {"tenant": t, "roles": r, "release": f"clinical/r{n}"} for t in ("a", "b", "ab") for r in ([], ["x"], ["x", "y"]) for n in (1, 2)
    ]
    semantic = 0

    async def ask(number: int, world: dict[str, Any], fact: tuple[Any, ...]) -> None:
        nonlocal semantic
        mine, own = caches[number % len(caches)], f"{world} {fact}".encode()
        for form in forms:
            wanted = key(**world, question=form.format(*fact))
            found = await mine.get(wanted, POLICY)
            assert found in (None, own)
            # All vectors are one: the wording alone has to tell a question from its hostile neighbours.
            alike = await mine.similar(wanted, VECTOR, POLICY)
            assert alike is None or alike.value == own
            semantic += alike is not None and found is None
        await mine.put(key(**world, question=forms[0].format(*fact)), own, POLICY, VECTOR)

    for _ in range(2):
        await asyncio.gather(*(ask(number, world, fact) for number, world in enumerate(worlds) for fact in facts))
    assert semantic > 0 and caches[0].counts["fault"] == 0
    for one in caches:
        await one.close()


def test_memory_is_bounded_and_follows_a_changed_bound() -> None:
    memory = Memory()
    for number in range(5):
        memory.put(key(tenant=str(number)), b"x", 60, 3)
    assert sum(memory.get(key(tenant=str(number))) is not None for number in range(5)) == 3
    memory.put(key(), b"x", 60, 4)
    assert memory.purge("clinical") == 1


def test_the_breaker_opens_after_some_faults_and_lets_one_try() -> None:
    moment = 0.0
    one = breaker.Breaker(lambda: moment)
    for _ in range(breaker.FAULTS):
        assert one.may_ask()
        one.bad()
    assert one.open and not one.may_ask()
    moment = breaker.PAUSE_SECONDS
    assert one.may_ask() and not one.may_ask()
    one.good()
    assert not one.open and one.may_ask()


@pytest.mark.services
async def test_redis_sees_neither_questions_nor_answers_nor_a_name_that_could_be_guessed(
    shared_settings: Settings, redis_server: RedisServer
) -> None:
    cache = AnswerCache(shared_settings)
    await cache.put(key(), ANSWER, POLICY)
    ((name, value),) = redis_server.everything().items()
    for secret in (b"Annabel", b"20 mg", b"dose", b"north", b"clinical"):
        assert secret not in name + value
    assert key().exact.hex().encode() not in name
    assert shared_settings.secrets.joinpath("cache.key").stat().st_mode & 0o777 == 0o600
    await cache.close()


@pytest.mark.services
async def test_what_others_put_into_redis_is_not_believed(shared_settings: Settings, redis_server: RedisServer) -> None:
    cache = AnswerCache(shared_settings)
    await cache.put(key(tenant="south"), b"theirs", POLICY)
    ((theirs, value),) = redis_server.everything().items()
    await cache.put(key(), ANSWER, POLICY)
    (mine,) = redis_server.everything().keys() - {theirs}
    for forged in (value, b"", b"x" * 200):
        with redis_server.client() as client:
            client.set(mine, forged)
        assert await cache.get(key(), POLICY) is None
    assert cache.counts["forged"] == 3
    await cache.close()


@pytest.mark.services
async def test_a_dead_redis_is_a_miss_and_an_alarm_and_then_not_asked(shared_settings: Settings, redis_server: RedisServer) -> None:
    cache = AnswerCache(shared_settings)
    await cache.put(key(), ANSWER, POLICY)
    redis_server.stop()
    for _ in range(50):
        assert await cache.get(key(), POLICY) is None
        await cache.put(key(), ANSWER, POLICY)
    assert not cache.healthy and cache.counts["fault"] >= breaker.FAULTS and cache.counts["skipped"] > 80
    with pytest.raises(Unavailable, match="may still be there"):
        await cache.purge("clinical", 1)
    with pytest.raises(Unavailable, match="may still be there"):
        forget(shared_settings, "clinical", 1)
    redis_server.start()
    cache._shared.breaker._retry_at = 0.0  # type: ignore[union-attr]
    await cache.put(key(epoch=1), b"new", POLICY)
    assert cache.healthy and await cache.get(key(epoch=1), POLICY) == b"new"
    await cache.close()


@pytest.mark.services
async def test_a_redis_that_hangs_holds_nobody_up(
    shared_settings: Settings, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared, "SECONDS", 0.05)
    cache = AnswerCache(shared_settings)
    redis_server.hang()
    async with asyncio.timeout(20):  # 200 waits of 50 ms, one after the other, would be 10 s for each of these
        await asyncio.gather(*(cache.get(key(), POLICY) for _ in range(200)))
        for _ in range(200):
            assert await cache.get(key(), POLICY) is None
    assert not cache.healthy and cache.counts["skipped"] >= 150
    redis_server.go_on()
    await cache.close()


@pytest.mark.services
async def test_a_purge_finds_thousands_among_others(shared_settings: Settings, redis_server: RedisServer) -> None:
    cache = AnswerCache(shared_settings)
    async with redis.asyncio.Redis.from_url(redis_server.url) as client, client.pipeline() as pipeline:
        for number in range(3000):
            pipeline.set(f"{shared._answers('clinical')}{number}", b"x")
            pipeline.set(f"other:{number}", b"x")
        await pipeline.execute()
    assert await cache.purge("clinical", 2) == 3000
    assert len(redis_server.everything()) == 3001, "the others, and the domain's epoch"
    assert await asyncio.to_thread(shared.purge, shared_settings, "clinical", 2, once=True) == 0
    await cache.close()


async def test_without_redis_a_step_has_nothing_to_delete(settings: Settings) -> None:
    assert forget(settings, "clinical", 3) == 0


def test_a_broken_key_file_is_said(settings: Settings) -> None:
    settings.secrets.mkdir(parents=True)
    path = settings.secrets / "cache.key"
    path.write_text("short")
    path.chmod(0o600)
    with pytest.raises(MaskingFailed, match="not a key"):
        AnswerCache(settings.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"}))
