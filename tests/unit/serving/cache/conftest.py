"""A real Redis of a test's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cache_redis import RedisServer
from free_ports import free_port

from pipelines.config import Settings
from pipelines.serving.cache import shared


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path, free_port())
    yield server
    server.stop()


@pytest.fixture
def shared_settings(settings: Settings, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr(shared, "SECONDS", 10.0)  # a busy machine must not make a miss of a hit
    return settings.model_copy(update={"redis_url": redis_server.url})
