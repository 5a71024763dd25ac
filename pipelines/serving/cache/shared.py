"""Answers kept in Redis, for all gateways together. A Redis that is slow or gone is a miss, never an error and never a wait.

Redis sees nothing but hashes as names and sealed values: AES-256-GCM under a key of its own for each place, derived from
`var/secrets/cache.key`. So what lies in its memory, dumps and replicas cannot be read, a question cannot be guessed and looked up, and who
may write to Redis can neither make up an answer nor carry one to another tenant's place. Gateways on several hosts need the same key file.

Every domain has a lowest epoch beside its answers, compared inside Redis when an answer is put: one that was under way while its domain
was purged does not come in behind the purge.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
from collections import Counter
from contextlib import closing, suppress
from hashlib import blake2b, sha256
from typing import Any

from pipelines.config import Settings
from pipelines.errors import MaskingFailed, Unavailable
from pipelines.governance.keyfile import read_or_draw
from pipelines.serving.cache.breaker import Breaker
from pipelines.serving.cache.key import CacheKey

SECONDS = 0.05
"""What a request waits for Redis at most."""
PURGE_SECONDS = 10.0
"""What an erasure waits for one answer of Redis: it must know that they are gone."""
_BATCH = 500
_NONCE = 12

_PUT = """
if tonumber(ARGV[3]) < tonumber(redis.call('GET', KEYS[2]) or '0') then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""
_RAISE = """
local floor = tonumber(redis.call('GET', KEYS[1]) or '0')
if tonumber(ARGV[1]) <= floor then return 0 end
redis.call('SET', KEYS[1], ARGV[1])
return 1
"""


class Shared:
    """The store behind `settings.redis_url`. `counts`: `fault` (Redis failed), `skipped` (not asked, for it failed before), `forged`.

    One connection: what is asked while an answer is under way goes out together, in one round trip.
    """

    def __init__(self, settings: Settings, counts: Counter[str]) -> None:
        from redis.asyncio import Redis

        self._counts = counts
        self._secret = _secret(settings)
        limits: dict[str, Any] = {"socket_timeout": SECONDS, "socket_connect_timeout": SECONDS, "retry": None, "max_connections": 1}
        self._redis: Any = Redis.from_url(_url(settings), **limits)
        self._waiting: list[tuple[tuple[Any, ...], asyncio.Future[Any]]] = []
        self._asking: asyncio.Task[None] | None = None
        self.breaker = Breaker()

    async def get(self, key: CacheKey) -> bytes | None:
        """The answer, or None."""
        name = _place(self._secret, key)
        sealed = await self._ask("GET", name)
        if sealed is None:
            return None
        opened = _open(self._secret, name, sealed)
        if opened is None:
            self._counts["forged"] += 1
        return opened

    async def put(self, key: CacheKey, value: bytes, seconds: float) -> bool:
        """Keep an answer; False when it was not kept."""
        name = _place(self._secret, key)
        values = (_seal(self._secret, name, value), max(1, int(seconds * 1000)), key.epoch)
        return bool(await self._ask("EVAL", _PUT, 2, name, _floor(key.domain), *values))

    async def _ask(self, *command: Any) -> Any:
        """What Redis answers, or None."""
        if not self.breaker.may_ask():
            self._counts["skipped"] += 1
            return None
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((command, future))
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask_all())
        try:
            # Only the waiting ends here: a connection that is cut off in the middle would not be closed.
            async with asyncio.timeout(SECONDS):
                return await future
        except TimeoutError:
            self._counts["fault"] += 1
            return None

    async def _ask_all(self) -> None:
        try:
            while self._waiting:
                asked, self._waiting = self._waiting, []
                if asked := [one for one in asked if not one[1].done()]:  # the others wait no longer
                    await self._ask_these(asked)
        finally:
            self._asking = None

    async def _ask_these(self, asked: list[tuple[tuple[Any, ...], asyncio.Future[Any]]]) -> None:
        from redis.exceptions import RedisError

        pipeline = self._redis.pipeline(transaction=False)
        for command, _ in asked:
            pipeline.execute_command(*command)
        answers: list[Any] = [None] * len(asked)
        try:
            answers = await pipeline.execute(raise_on_error=False)
            self.breaker.good()
        except (RedisError, OSError, TimeoutError):
            self._counts["fault"] += 1
            self.breaker.bad()
        for (_, future), answer in zip(asked, answers, strict=True):
            refused = isinstance(answer, RedisError)  # such as for a memory that is full
            self._counts["fault"] += refused
            if not future.done():
                future.set_result(None if refused else answer)

    async def close(self) -> None:
        """Close the connection."""
        if self._asking is not None:
            await self._asking
        with suppress(Exception):
            await self._redis.aclose()


def purge(settings: Settings, domain: str, epoch: int, *, once: bool = False) -> int:
    """Delete every answer of a domain, and let nothing of an epoch before `epoch` in any more; how many were deleted. Blocking.

    With `once` nothing is done where another has raised the domain's epoch so far. Unavailable when it cannot be known that all are gone.
    """
    from redis import Redis
    from redis.exceptions import RedisError

    try:
        with closing(Redis.from_url(_url(settings), socket_timeout=PURGE_SECONDS, socket_connect_timeout=PURGE_SECONDS)) as redis:
            raised = redis.eval(_RAISE, 1, _floor(domain), str(epoch))
            if once and not raised:
                return 0
            gone, batch = 0, []
            for name in redis.scan_iter(match=f"{_answers(domain)}*", count=1000):
                batch.append(name)
                if len(batch) == _BATCH:
                    gone += int(redis.delete(*batch))
                    batch = []
            return gone + (int(redis.delete(*batch)) if batch else 0)
    except (RedisError, OSError) as error:
        raise Unavailable(
            f"cached answers may still be there: Redis does not answer ({type(error).__name__})",
            where=domain,
            todo="bring Redis back and do this again, or take it away for good with its dump files and unset redis_url",
        ) from None


def _url(settings: Settings) -> str:
    if settings.redis_url is None:
        raise ValueError("no Redis is configured")
    return settings.redis_url


def _secret(settings: Settings) -> bytes:
    drawn = read_or_draw(settings.secrets / "cache.key", lambda: secrets.token_hex(32).encode(), may_make=True)
    try:
        secret = bytes.fromhex(drawn.decode())
    except ValueError:
        secret = b""
    if len(secret) != 32:
        raise MaskingFailed("not a key: 64 hexadecimal digits", where="cache.key", todo="delete it: a new one is drawn")
    return secret


def _tag(domain: str) -> str:
    return sha256(domain.encode()).hexdigest()[:16]


def _answers(domain: str) -> str:
    return f"ratchet:answer:{_tag(domain)}:"


def _floor(domain: str) -> str:
    return f"ratchet:epoch:{_tag(domain)}"


def _place(secret: bytes, key: CacheKey) -> str:
    # Keyed: a bare hash of a guessed question would tell that it was asked.
    return _answers(key.domain) + hmac.digest(secret, key.exact, "sha256").hex()


def _key_of(secret: bytes, name: str) -> bytes:
    """One key for each place: random nonces never run out, and a value opens where it was put and nowhere else."""
    return blake2b(name.encode(), key=secret, digest_size=32, person=b"ratchet answer").digest()


def _seal(secret: bytes, name: str, value: bytes) -> bytes:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    nonce = secrets.token_bytes(_NONCE)
    return nonce + AESGCM(_key_of(secret, name)).encrypt(nonce, value, None)


def _open(secret: bytes, name: str, sealed: bytes) -> bytes | None:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    try:
        return AESGCM(_key_of(secret, name)).decrypt(sealed[:_NONCE], sealed[_NONCE:], None)
    except (InvalidTag, ValueError):
        return None
