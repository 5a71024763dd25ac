"""The identity provider's public keys (JWKS, RFC 7517): fetched, kept, and asked for again when a token names one that is not there."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import time
from dataclasses import dataclass
from typing import Any, Final

from pipelines.errors import Unavailable

REFRESH_SECONDS = 600.0
RETRY_SECONDS = 30.0
"""Between two fetches that unknown key ids, or failures, cause."""
TIMEOUT_SECONDS = 3.0
BODY_BYTES = 256 * 1024
KEYS = 100
# Asymmetric only (RFC 8725, 3.1): with `none` or a shared secret whoever can read the public key could sign.
RSA: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
CURVES: Final = {"P-256": ("ES256",), "P-384": ("ES384",), "P-521": ("ES512",), "Ed25519": ("EdDSA",)}
log = logging.getLogger("ratchet.access")


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A public key, and the algorithms that it may verify."""

    key: Any
    algorithms: tuple[str, ...]


class KeySet:
    """The keys by id. Those of the last good fetch stay while the provider is down."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._keys: dict[str | None, SigningKey] | None = None
        self._next = -math.inf
        self._fetching = asyncio.Lock()
        self.fault: str | None = None

    async def find(self, kid: str | None) -> SigningKey | None:
        """The key of that id, or the only one for a token that names none. None when the provider has no such key. Unavailable when none
        was ever fetched."""
        if (found := self._get(kid)) is not None:
            return found
        async with self._fetching:
            if self._get(kid) is None and time.monotonic() >= self._next:
                await self._fetch()
        if self._keys is None:
            raise Unavailable("the identity provider does not answer", todo="try again in half a minute, or use an API key")
        return self._get(kid)

    async def follow(self) -> None:
        """Fetch anew every ten minutes, sooner after a failure; until cancelled."""
        while True:
            async with self._fetching:
                await self._fetch()
            await asyncio.sleep(REFRESH_SECONDS if self.fault is None else RETRY_SECONDS)

    def _get(self, kid: str | None) -> SigningKey | None:
        keys = self._keys or {}
        return next(iter(keys.values())) if kid is None and len(keys) == 1 else keys.get(kid)

    async def _fetch(self) -> None:
        self._next = time.monotonic() + RETRY_SECONDS
        try:
            found = _keys(await _body(self._url))
        except Exception as error:
            # Not its words: they may quote what an address or a body holds.
            self.fault = f"its keys cannot be fetched: {type(error).__name__}"
            log.error("the identity provider: %s", self.fault)
            return
        self._keys, self.fault = found, None


async def _body(url: str) -> bytes:
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
    async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url, allow_redirects=False) as response:
        if response.status != 200:
            raise ValueError("not a 200")
        body = bytearray()
        async for piece in response.content.iter_chunked(65_536):
            body += piece
            if len(body) > BODY_BYTES:
                raise ValueError("too long")
        return bytes(body)


def _keys(body: bytes) -> dict[str | None, SigningKey]:
    """The usable ones. ValueError when there is none: a provider without keys is broken, not everybody locked out."""
    found: dict[str | None, SigningKey] = {}
    for entry in json.loads(body)["keys"][:KEYS]:
        kid = entry.get("kid") if isinstance(entry, dict) else None
        if isinstance(entry, dict) and (kid is None or isinstance(kid, str)) and kid not in found and (key := _key(entry)) is not None:
            found[kid] = key
    if not found:
        raise ValueError("no usable key")
    return found


def _key(entry: dict[str, Any]) -> SigningKey | None:
    """None for a key of another use or kind, and for one whose private part was published."""
    from jwt import PyJWK
    from jwt.exceptions import PyJWTError

    algorithms: tuple[str, ...] = RSA if entry.get("kty") == "RSA" else CURVES.get(str(entry.get("crv")), ())
    if (said := entry.get("alg")) is not None:
        algorithms = tuple(one for one in algorithms if one == said)
    if not algorithms or entry.get("use", "sig") != "sig" or "d" in entry:
        return None
    try:
        return SigningKey(PyJWK(entry, algorithms[0]).key, algorithms)
    except (PyJWTError, ValueError, TypeError):
        return None
