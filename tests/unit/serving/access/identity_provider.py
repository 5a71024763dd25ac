"""An identity provider on loopback: its keys are drawn by the test, its JWKS is served over HTTP."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from source_server import Reply, Server

ISSUER, AUDIENCE = "https://people.example", "ratchet"


def jwk(private: Any, kid: str, **more: Any) -> dict[str, Any]:
    """The public half as a JWK."""
    kinds = {rsa.RSAPrivateKey: "RSA", ec.EllipticCurvePrivateKey: "EC"}
    kind = next((name for cls, name in kinds.items() if isinstance(private, cls)), "OKP")
    algorithm = {"RSA": jwt.algorithms.RSAAlgorithm, "EC": jwt.algorithms.ECAlgorithm, "OKP": jwt.algorithms.OKPAlgorithm}[kind]
    return {**json.loads(algorithm.to_jwk(private.public_key())), "kid": kid, **more}


@dataclass
class Provider:
    """Signs, and publishes what it signs with at `url`."""

    server: Server
    private: dict[str, Any]
    published: list[dict[str, Any]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"{self.server.url}/keys"

    def publish(self, *entries: dict[str, Any]) -> None:
        self.published = list(entries)
        self.answer(Reply(body=json.dumps({"keys": self.published}).encode()))

    def answer(self, reply: Reply | Callable[..., Reply]) -> None:
        self.server.on("/keys", reply)

    def fetched(self) -> int:
        return self.server.paths().count("/keys")

    def token(self, *, kid: str | None = "rsa", algorithm: str = "RS256", key: Any = None, header: Any = None, **claims: Any) -> str:
        """A good token, but for what is said; a claim that is None is left out."""
        at = int(time.time())
        body = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": "ann",
            "iat": at,
            "exp": at + 600,
            "domains": ["regulatory"],
            "roles": ["staff"],
        } | claims
        headers = ({"kid": kid} if kid else {}) | (header or {})
        return jwt.encode({k: v for k, v in body.items() if v is not None}, key or self.private[kid or "rsa"], algorithm, headers)
