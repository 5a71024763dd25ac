"""People's tokens: JWTs of the site's OIDC provider become keys.

A person is named by a pseudonym, HMAC-SHA256 of issuer and subject under `var/secrets/people.key`: stable, so that budgets and the audit
log can tell people apart, and nothing that a log's reader could look up in a directory or compute from a list of names.
"""

from __future__ import annotations

import hmac
import re
import secrets
import time
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from pipelines.config import Oidc, Settings
from pipelines.governance import keyfile
from pipelines.serving.access.jwks import KeySet
from pipelines.serving.keys import EVERY, PERSON, Key

LEEWAY_SECONDS = 30
KEPT_SECONDS = 300.0
"""A verified token is not verified again for so long: a signing key that the provider withdrew stops counting after it."""
KEPT = 4_096
CLAIMED = 100
"""Roles, or domains, that are read of one token."""
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_TENANT = re.compile(r"[^\W_][\w .:@/+-]{0,79}")


class Refused(Exception):
    """A token that is not good. Its text is one of a fixed set of reasons."""


class People:
    """Verifies tokens of one provider, and remembers those that were good."""

    def __init__(self, settings: Settings, oidc: Oidc) -> None:
        from cachetools import LRUCache

        self._oidc, self._settings = oidc, settings
        self.keys = KeySet(oidc.jwks_url)
        self._pepper: bytes | None = None
        self._good: Any = LRUCache(KEPT)
        """SHA-256 of the token -> (key, until): the token itself is not kept."""

    async def key(self, token: str) -> Key:
        """The key that this token stands for. Refused when it is not good, Unavailable when the provider was never reached."""
        place = sha256(token.encode()).digest()
        kept = self._good.get(place)
        if kept is not None:
            key, until = kept
            if time.time() < until:
                return key  # type: ignore[no-any-return]
            del self._good[place]
        claims = await self._verified(token)
        made = self._key(claims)
        until = min(float(claims["exp"]) + LEEWAY_SECONDS, time.time() + KEPT_SECONDS)
        self._good[place] = (made, until)
        return made

    async def _verified(self, token: str) -> dict[str, Any]:
        import jwt

        try:
            kid = jwt.get_unverified_header(token).get("kid")
        except Exception:
            raise Refused("token: malformed") from None
        signing = await self.keys.find(kid)
        if signing is None:
            raise Refused("token: unknown signing key")
        try:
            return jwt.decode(
                token,
                signing.key,
                algorithms=list(signing.algorithms),  # the key's own, whatever the token's header says
                audience=self._oidc.audience,
                issuer=self._oidc.issuer,
                leeway=LEEWAY_SECONDS,
                options={"require": ["exp", "iss", "aud", "sub"], "enforce_minimum_key_length": True},
            )
        except Exception as error:
            raise Refused(f"token: {_why(error)}") from None

    def _key(self, claims: dict[str, Any]) -> Key:
        name = self.name(str(claims["sub"]))
        tenant = _at(claims, self._oidc.tenant_claim)
        domains = [one for one in _words(_at(claims, self._oidc.domains_claim)) if one == EVERY or _NAME.fullmatch(one)]
        return Key(
            name,
            tenant if isinstance(tenant, str) and _TENANT.fullmatch(tenant) else name,
            tuple(sorted(set(domains))),
            frozenset(one for one in _words(_at(claims, self._oidc.roles_claim)) if _NAME.fullmatch(one)),
            expires_at=_moment(claims["exp"]),
        )

    def name(self, subject: str) -> str:
        """`person:<20 hex digits>` of a subject of this issuer."""
        if self._pepper is None:
            path = self._settings.secrets / "people.key"
            self._pepper = keyfile.read_or_draw(path, lambda: secrets.token_hex(32).encode(), may_make=True)
        digest = hmac.new(self._pepper, f"{self._oidc.issuer}\0{subject}".encode(), sha256)
        return f"{PERSON}{digest.hexdigest()[:20]}"


def _at(claims: dict[str, Any], path: str) -> Any:
    """A claim by its name, which may hold dots (an address), or else by a path of names, as in `realm_access.roles`."""
    if path in claims:
        return claims[path]
    value: Any = claims
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _words(value: Any) -> list[str]:
    """A list of strings, or a string of words as OAuth's scopes are written."""
    parts = value.split() if isinstance(value, str) else value if isinstance(value, list) else []
    return [part for part in parts[:CLAIMED] if isinstance(part, str)]


def _moment(seconds: Any) -> datetime | None:
    try:
        return datetime.fromtimestamp(int(seconds), UTC)
    except (OverflowError, ValueError, OSError):
        return None  # further away than the calendar goes


def _why(error: Exception) -> str:
    from jwt import exceptions

    for kind, reason in (
        (exceptions.ExpiredSignatureError, "expired"),
        (exceptions.ImmatureSignatureError, "not valid yet"),
        (exceptions.InvalidAudienceError, "for another audience"),
        (exceptions.InvalidIssuerError, "of another issuer"),
        (exceptions.InvalidAlgorithmError, "algorithm not allowed"),
        (exceptions.MissingRequiredClaimError, "a claim is missing"),
        (exceptions.InvalidSignatureError, "wrong signature"),
        (exceptions.InvalidKeyError, "signing key too short"),
    ):
        if isinstance(error, kind):
            return reason
    return "malformed"
