"""Who is let in, what it costs to be refused, and what the audit log says afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import time
from datetime import timedelta

import pytest
from access_log import refused
from sqlalchemy import update

from pipelines.config import Settings
from pipelines.errors import Unavailable
from pipelines.serving.access import Access
from pipelines.serving.keys import issue_key, revoke_key, rotate_key
from pipelines.serving.shapes import NoKey
from pipelines.state.database import engine_for, transaction
from pipelines.state.models import ApiKey, now


@pytest.fixture
async def door(settings: Settings) -> Access:
    return Access(settings)


async def test_a_key_opens(settings: Settings, door: Access) -> None:
    secret = issue_key(settings, "desk", ["regulatory"])
    for header in (f"Bearer {secret}", f"bearer {secret}", f"BEARER  {secret} "):
        assert (await door.authenticate(header)).name == "desk"


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "rk-secret",
        "Basic dXNlcjpwYXNz",
        "Bearer rk-unknown",
        "Bearer rk-\x00unknown",
        "Bearer rk-unknown\r\nX-Evil: 1",
        "Bearer rk-unknown, Bearer rk-other",
        "Bearer rk-ünknown",
        "Bearer rk-\udce9",
        "Bearer " + "a" * 100_000,
        "Bearer " + " " * 100_000 + "a",
        "Bearer a.b.c",
        "Bearer " + "." * 500,
    ],
)
async def test_what_is_no_key_is_refused_in_the_same_words(settings: Settings, door: Access, header: str | None) -> None:
    with pytest.raises(NoKey) as caught:
        await door.authenticate(header, "203.0.113.7")
    assert caught.value.what == "no valid API key or token was given"
    await door.close()
    ((who, reason, count),) = refused(settings)
    assert who == "network:203.0.113.0/24" and reason in ("none given", "malformed", "unknown") and count == 1


async def test_expired_and_revoked_keys_are_refused_like_unknown_ones_but_the_log_knows(settings: Settings, door: Access) -> None:
    expired = issue_key(settings, "old", ["regulatory"], expires_at=now() + timedelta(hours=1))
    with transaction(settings) as session:
        session.execute(update(ApiKey).values(expires_at=now() - timedelta(seconds=1)))
    revoked = issue_key(settings, "gone", ["regulatory"])
    revoke_key(settings, "gone", "why", "os:eve")
    said = []
    for secret in (expired, revoked, "rk-unknown"):
        for _ in range(3):
            with pytest.raises(NoKey) as caught:
                await door.authenticate(f"Bearer {secret}")
        said.append(str(caught.value))
    assert len(set(said)) == 1
    await door.close()
    assert sorted(refused(settings)) == [("key:gone", "revoked", 3), ("key:old", "expired", 3), ("unknown", "unknown", 3)]


async def test_a_running_gateway_sees_a_revocation_and_a_rotation(settings: Settings, door: Access) -> None:
    secret, other = issue_key(settings, "desk", ["regulatory"]), issue_key(settings, "ward", ["regulatory"])
    following = asyncio.create_task(door.follow())
    assert (await door.authenticate(f"Bearer {secret}")).name == "desk"
    await asyncio.to_thread(revoke_key, settings, "desk", "why", "os:eve")
    await asyncio.sleep(1.5)
    with pytest.raises(NoKey):
        await door.authenticate(f"Bearer {secret}")
    new = await asyncio.to_thread(rotate_key, settings, "ward", 1, "os:eve")
    assert (await door.authenticate(f"Bearer {new}")).name == "ward"
    assert (await door.authenticate(f"Bearer {other}")).name == "ward"
    following.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await following
    await door.close()
    assert refused(settings) == [("key:desk", "revoked", 1)]


async def test_a_key_that_expires_is_refused_from_that_moment(settings: Settings, door: Access) -> None:
    secret = issue_key(settings, "brief", ["regulatory"], expires_at=now() + timedelta(seconds=1))
    assert (await door.authenticate(f"Bearer {secret}")).name == "brief"
    await asyncio.sleep(1.1)
    with pytest.raises(NoKey):
        await door.authenticate(f"Bearer {secret}")


async def test_keys_that_could_never_be_read_are_an_outage_not_a_refusal(settings: Settings, door: Access) -> None:
    with engine_for(settings.database).begin() as connection:
        connection.exec_driver_sql("ALTER TABLE api_keys RENAME TO moved")
    with pytest.raises(Unavailable, match="cannot be read"):
        await door.authenticate("Bearer rk-any")
    with engine_for(settings.database).begin() as connection:
        connection.exec_driver_sql("ALTER TABLE moved RENAME TO api_keys")


async def test_a_flood_is_one_line_a_minute(settings: Settings, door: Access) -> None:
    following = asyncio.create_task(door.follow())
    until = time.monotonic() + 1.5
    sent = 0
    while time.monotonic() < until:
        with pytest.raises(NoKey):
            await door.authenticate(f"Bearer rk-{sent}", f"198.51.100.{sent % 250}")
        sent += 1
        await asyncio.sleep(0)
    following.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await following
    await door.close()
    rows = refused(settings)
    assert len(rows) == 2 and sum(count for *_, count in rows) == sent > 100
    assert {who for who, *_ in rows} == {"network:198.51.100.0/24"}


async def test_the_log_never_holds_what_was_presented(settings: Settings, door: Access) -> None:
    secret = "rk-SECRETSECRETSECRET"
    with pytest.raises(NoKey):
        await door.authenticate(f"Bearer {secret}")
    await door.close()
    from hashlib import sha256

    raw = b"".join(path.read_bytes() for path in settings.var.rglob("*") if path.is_file())
    assert b"SECRETSECRET" not in raw and sha256(secret.encode()).hexdigest().encode() not in raw
