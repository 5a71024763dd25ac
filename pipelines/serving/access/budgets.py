"""Requests a minute and tokens a day, per key: counted in Redis for all gateways, or in each process.

While Redis does not answer, each process counts for itself and goes on: a budget protects from cost and load, and an outage of the
counters must not become an outage of the answers. `faults` says how often; it belongs on an alarm.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from pipelines.config import Settings
from pipelines.serving.keys import Key, TooMany

if TYPE_CHECKING:
    from limits.aio.strategies import FixedWindowRateLimiter, SlidingWindowCounterRateLimiter

TIMEOUT_SECONDS = 0.25
AWAY_SECONDS = 2.0
"""How long Redis is left alone after it did not answer: not every request may wait for it."""
DAY = 86_400
log = logging.getLogger("ratchet.access")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Counters:
    """Requests slide, so that nobody gets twice the rate across a minute's end; tokens are of a day."""

    requests: SlidingWindowCounterRateLimiter
    tokens: FixedWindowRateLimiter


class Budgets:
    """The counters of one process, opened at the first key that has a limit. `clock`: seconds since 1970."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        self._url, self._clock = settings.redis_url, clock
        self._own: _Counters | None = None
        self._shared: _Counters | None = None
        self._pool: Any = None
        self._away_until = -math.inf
        self.faults = 0
        """Times that Redis did not answer."""

    async def admit(self, key: Key) -> None:
        """Count one request. TooMany when it is one too many, or the day's tokens are spent; a refused request counts for nothing."""
        if key.tokens_per_day is not None:
            await self._have_tokens(key, key.tokens_per_day)
        if key.requests_per_minute is not None:
            await self._have_requests(key, key.requests_per_minute)

    async def spend(self, key: Key, tokens: int) -> None:
        """Count tokens that an answer took, in and out. The answer that goes over the day's budget is still given."""
        if key.tokens_per_day is None or tokens <= 0:
            return
        item, names = self._day(key, key.tokens_per_day)
        await self._count(lambda counters: counters.tokens.hit(item, *names, cost=tokens))

    async def hold_back(self, domain: str, tenant: str, limit: int) -> None:
        """Count one request of a tenant that is held back in a domain. TooMany when it is one too many."""
        await self._slide(limit, "held", f"{domain}/{tenant}", "requests of your organisation are held back for now")

    async def close(self) -> None:
        """Close the connections."""
        if self._pool is not None:
            await self._pool.disconnect()

    async def _have_tokens(self, key: Key, limit: int) -> None:
        item, names = self._day(key, limit)
        if not await self._count(lambda counters: counters.tokens.test(item, *names)):
            raise TooMany(
                f"the {limit:,} tokens of the day are spent",
                todo="they are given anew at midnight, UTC",
                budget="tokens",
                retry_after=DAY - int(self._clock()) % DAY,
            )

    async def _have_requests(self, key: Key, limit: int) -> None:
        await self._slide(limit, "requests", key.name, f"more than {limit} requests a minute")

    async def _slide(self, limit: int, budget: str, name: str, what: str) -> None:
        from limits import RateLimitItemPerMinute

        item = RateLimitItemPerMinute(limit, namespace=budget)
        if await self._count(lambda counters: counters.requests.hit(item, name)):
            return
        stats = await self._count(lambda counters: counters.requests.get_window_stats(item, name))
        wait = min(60, max(1, math.ceil(stats.reset_time - time.time())))
        raise TooMany(what, todo=f"try again in {wait} s", budget=budget, retry_after=wait)

    def _day(self, key: Key, limit: int) -> tuple[Any, tuple[str, str]]:
        from limits import RateLimitItemPerDay

        # The library's day begins with the first token: the date makes it the calendar's.
        day = datetime.fromtimestamp(self._clock(), UTC).date().isoformat()
        return RateLimitItemPerDay(limit, namespace="tokens"), (day, key.name)

    async def _count(self, ask: Callable[[_Counters], Awaitable[T]]) -> T:
        if self._url is not None and (at := time.monotonic()) >= self._away_until:
            from redis.exceptions import RedisError

            if self._away_until > -math.inf:
                self._away_until = at + AWAY_SECONDS  # one request tries it, the others do not wait for that
            try:
                counted = await ask(self._in_redis(self._url))
                self._away_until = -math.inf
                return counted
            except (OSError, RedisError) as error:
                self.faults += 1
                self._away_until = time.monotonic() + AWAY_SECONDS
                log.error("budgets are counted in this process alone: Redis does not answer (%s)", type(error).__name__)
        if self._own is None:
            from limits.aio.storage import MemoryStorage

            self._own = _counters(MemoryStorage())
        return await ask(self._own)

    def _in_redis(self, url: str) -> _Counters:
        if self._shared is None:
            from limits.aio.storage import RedisStorage
            from redis.asyncio import BlockingConnectionPool
            from redis.asyncio.retry import Retry
            from redis.backoff import NoBackoff

            self._pool = BlockingConnectionPool.from_url(
                url,
                max_connections=64,
                timeout=TIMEOUT_SECONDS,
                socket_timeout=TIMEOUT_SECONDS,
                socket_connect_timeout=TIMEOUT_SECONDS,
                retry=Retry(NoBackoff(), 1),  # once: a connection that Redis closed while it was idle
            )
            options: dict[str, Any] = {"connection_pool": self._pool}
            self._shared = _counters(RedisStorage("redis://", implementation="redispy", key_prefix="ratchet:budget", **options))
        return self._shared


def _counters(storage: Any) -> _Counters:
    from limits.aio.strategies import FixedWindowRateLimiter, SlidingWindowCounterRateLimiter

    return _Counters(SlidingWindowCounterRateLimiter(storage), FixedWindowRateLimiter(storage))
