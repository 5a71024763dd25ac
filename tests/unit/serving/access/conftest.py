"""A real identity provider with keys of its own making, and a real Redis."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from identity_provider import AUDIENCE, ISSUER, Provider, jwk
from redis_process import RedisProcess
from source_server import Server

from pipelines.config import Oidc, Settings
from pipelines.serving.access import Access


@pytest.fixture(scope="session")
def signing_keys() -> dict[str, Any]:
    return {
        "rsa": rsa.generate_private_key(65_537, 2048),
        "other": rsa.generate_private_key(65_537, 2048),
        "ec": ec.generate_private_key(ec.SECP256R1()),
        "ed": ed25519.Ed25519PrivateKey.generate(),
    }


@pytest.fixture
def provider(source_server: Server, signing_keys: dict[str, Any]) -> Provider:
    made = Provider(source_server, signing_keys)
    made.publish(*(jwk(signing_keys[kid], kid, use="sig") for kid in ("rsa", "ec", "ed")))
    return made


@pytest.fixture
def with_people(settings: Settings, provider: Provider) -> Settings:
    return settings.model_copy(update={"oidc": Oidc(issuer=ISSUER, audience=AUDIENCE, jwks_url=provider.url)})


@pytest.fixture
async def access(with_people: Settings) -> AsyncIterator[Access]:
    made = Access(with_people)
    yield made
    await made.close()


@pytest.fixture
def redis_process(tmp_path: Path) -> Iterator[RedisProcess]:
    binary = shutil.which("redis-server")
    if binary is None:
        assert not os.environ.get("CI"), "install redis-server"
        pytest.skip("no redis-server here")
    made = RedisProcess(tmp_path, binary)
    yield made
    made.stop()
