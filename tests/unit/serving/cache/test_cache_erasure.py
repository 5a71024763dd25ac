"""Erasure deletes kept answers for good, and writes no receipt while it cannot know that they are gone."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from cache_keys import key
from cache_redis import RedisServer

from pipelines.config import Settings
from pipelines.errors import Unavailable
from pipelines.serving.cache.answers import AnswerCache
from pipelines.serving_config import CachePolicy
from pipelines.state.database import reading, transaction
from pipelines.state.models import Erasure, Pointer
from pipelines.steps import erase

pytestmark = pytest.mark.services
POLICY = CachePolicy()


def sealed(folder: Path) -> Path:
    path = folder / "request.json"
    path.write_text(json.dumps({"domain": "clinical", "subject": {"patient": "Ann"}, "reason": "Art. 17", "requester": "case 12"}))
    path.with_name("request.json.sha256").write_text(hashlib.sha256(path.read_bytes()).hexdigest())
    return path


def state(settings: Settings) -> tuple[int, int]:
    """(the domain's epoch, receipts)."""
    with reading(settings) as session:
        return session.get_one(Pointer, "clinical").epoch, session.query(Erasure).count()


@pytest.fixture
def pointed(shared_settings: Settings) -> Settings:
    with transaction(shared_settings) as session:
        session.add_all([Pointer(domain="clinical", canary_share=0.0), Pointer(domain="regulatory", canary_share=0.0)])
    return shared_settings


async def test_what_was_kept_is_gone_and_other_domains_keep_theirs(pointed: Settings, tmp_path: Path) -> None:
    cache = AnswerCache(pointed)
    for domain in ("clinical", "regulatory"):
        await cache.put(key(domain=domain), b"kept", POLICY)
    erase.erase(pointed, sealed(tmp_path), actor="os:warden")
    assert state(pointed) == (1, 1)
    assert await cache.get(key(), POLICY) is None and await cache.get(key(domain="regulatory"), POLICY) == b"kept"
    await cache.put(key(), b"late", POLICY)
    assert await cache.get(key(), POLICY) is None, "nor does a late one come in"
    await cache.put(key(epoch=1), b"anew", POLICY)
    erase.erase(pointed, sealed(tmp_path), actor="os:warden")
    assert state(pointed) == (2, 1) and await cache.get(key(epoch=1), POLICY) is None
    await cache.close()


def test_with_a_dead_redis_nothing_is_called_erased(pointed: Settings, redis_server: RedisServer, tmp_path: Path) -> None:
    redis_server.stop()
    with pytest.raises(Unavailable, match="may still be there"):
        erase.erase(pointed, sealed(tmp_path), actor="os:warden")
    assert state(pointed) == (1, 0) and not (pointed.artifacts / "erasure").exists()
    redis_server.start()
    erase.erase(pointed, sealed(tmp_path), actor="os:warden")
    assert state(pointed) == (2, 1)
