"""Lets callers in: one object per gateway process that knows keys, people, budgets, and records what it refused."""

from __future__ import annotations

import asyncio
import re
import time
from typing import TYPE_CHECKING, Final

from pipelines.config import Settings
from pipelines.errors import Unavailable
from pipelines.serving.access.budgets import Budgets
from pipelines.serving.access.people import People, Refused
from pipelines.serving.access.refusals import Refusals, network
from pipelines.serving.access.ring import KeyRing
from pipelines.serving.keys import Key, TooMany
from pipelines.serving.shapes import NoKey

if TYPE_CHECKING:
    from starlette.requests import Request

EVERY_SECONDS = 0.5
LONGEST = 8_192
"""Characters of a key or token: a JWT with many roles has two or three thousand."""
_BEARER: Final = re.compile(r"bearer +([A-Za-z0-9._~+/=-]+) *", re.IGNORECASE | re.ASCII)
_DOMAIN: Final = re.compile(r"[a-z][a-z0-9_]{0,39}")


class Access:
    """Who calls, and whether they may now. Start `follow` with the gateway; without it keys are read only when an unknown one comes."""

    def __init__(self, settings: Settings) -> None:
        self.ring = KeyRing(settings)
        self.people = People(settings, settings.oidc) if settings.oidc is not None else None
        self.budgets = Budgets(settings)
        self.refusals = Refusals(settings)
        self._reading = asyncio.Lock()

    async def authenticate(self, authorization: str | None, source: str = "") -> Key:
        """The key of an `Authorization` header. `source`: the caller's address, for the audit log.

        NoKey without a good one, always with the same words: whether a key once was is for the audit log. Unavailable when the keys, or
        the identity provider's, could never be read.
        """
        if authorization is None:
            raise self._no_key("none given", source)
        found = _BEARER.fullmatch(authorization) if len(authorization) <= LONGEST + 8 else None
        if found is None or len(secret := found.group(1)) > LONGEST:
            raise self._no_key("malformed", source)
        held = self.ring.held(secret)
        if held is None and secret.count(".") == 2 and self.people is not None:
            try:
                return await self.people.key(secret)
            except Refused as refused:
                raise self._no_key(str(refused), source) from None
        if held is None:
            # One reading for all who come with it at once: a new key's first callers are often many.
            async with self._reading:
                held = self.ring.held(secret)
                if held is None and self.ring.may_ask():
                    await asyncio.to_thread(self.ring.refresh)
                    held = self.ring.held(secret)
        if held is None:
            if self.ring.read_at is None:
                raise Unavailable("the keys cannot be read", todo="try again; the control database does not answer")
            raise self._no_key("unknown", source)
        if (reason := held.refusal(time.time())) is not None:
            raise self._no_key(reason, who=held.key.actor)
        return held.key

    async def caller(self, request: Request) -> Key:
        """`authenticate` for a request."""
        source = request.client.host if request.client is not None else ""
        return await self.authenticate(request.headers.get("authorization"), source)

    async def admit(self, key: Key) -> None:
        """Count one request of this key. TooMany, with `retry_after`, when it is over a budget. Costs nothing for a key without limits."""
        if key.requests_per_minute is None and key.tokens_per_day is None:
            return
        try:
            await self.budgets.admit(key)
        except TooMany as error:
            self.refused(key, f"over budget: {error.budget}")
            raise

    async def spend(self, key: Key, tokens: int) -> None:
        """Count the tokens of an answer, in and out. Never raises for an outage."""
        await self.budgets.spend(key, tokens)

    def refused(self, key: Key, reason: str, domain: str = "gateway") -> None:
        """Record that this caller was refused something. `reason` is one of few fixed words, never what the caller sent."""
        self.refusals.note(reason, key.actor, domain if _DOMAIN.fullmatch(domain) else "an impossible domain")

    async def follow(self) -> None:
        """Read the keys twice a second, fetch the provider's, write refusals; until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow_keys())
            group.create_task(self.refusals.follow())
            if self.people is not None:
                group.create_task(self.people.keys.follow())

    async def close(self) -> None:
        """Write the refusals that are left, and close the connections. After `follow` was cancelled."""
        await self.refusals.close()
        await self.budgets.close()

    async def _follow_keys(self) -> None:
        while True:
            await asyncio.to_thread(self.ring.refresh)
            await asyncio.sleep(EVERY_SECONDS)

    def _no_key(self, reason: str, source: str = "", who: str | None = None) -> NoKey:
        self.refusals.note(reason, who or network(source))
        return NoKey("no valid API key or token was given", todo="send `Authorization: Bearer <key>`; the platform engineer issues keys")
