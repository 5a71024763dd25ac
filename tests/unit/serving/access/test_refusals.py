"""The record of refusals: the first at once, then counts, few callers told apart, nothing lost while the database is busy."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from access_log import refused
from sqlalchemy import select

from pipelines.config import Settings
from pipelines.serving.access.refusals import MOST, Refusals, network
from pipelines.state.database import engine_for, reading
from pipelines.state.models import AuditEvent


async def test_the_first_is_written_at_once_and_the_rest_counted(settings: Settings) -> None:
    refusals = Refusals(settings)
    following = asyncio.create_task(refusals.follow())
    refusals.note("unknown", "network:203.0.113.0/24")
    for _ in range(100):
        await asyncio.sleep(0.02)
        if refused(settings):
            break
    for _ in range(500):
        refusals.note("unknown", "network:203.0.113.0/24")
    await asyncio.sleep(0.05)
    assert refused(settings) == [("network:203.0.113.0/24", "unknown", 1)]
    following.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await following
    await refusals.close()
    assert [count for *_, count in refused(settings)] == [1, 500] and refusals.total["unknown"] == 501


async def test_many_callers_are_few_lines_and_one_kind_does_not_hide_another(settings: Settings) -> None:
    refusals = Refusals(settings)
    for number in range(5_000):
        refusals.note("unknown", f"network:10.{number // 256}.{number % 256}.0/24")
    refusals.note("revoked", "key:gone")
    await refusals.close()
    rows = refused(settings)
    assert len(rows) == MOST + 2 and ("others", "unknown", 5_000 - MOST) in rows and ("key:gone", "revoked", 1) in rows


async def test_what_was_asked_for_is_named_a_few_times(settings: Settings) -> None:
    refusals = Refusals(settings)
    for number in range(50):
        refusals.note("domain", "key:desk", f"domain{number}")
    await refusals.close()
    with reading(settings) as session:
        (event,) = session.scalars(select(AuditEvent))
    assert event.subject == "domain0" and event.detail["also"] == ["domain1", "domain2", "domain3", "domain4"]
    assert event.detail["count"] == 50 and not event.allowed


async def test_a_quiet_minute_forgets_so_that_the_next_one_is_a_first_again(settings: Settings) -> None:
    refusals = Refusals(settings)
    refusals.note("unknown", "unknown")
    await refusals.write(whole=False)
    refusals.note("unknown", "unknown")
    await refusals.write(whole=False)
    assert [count for *_, count in refused(settings)] == [1]
    await refusals.write(whole=True)
    await refusals.write(whole=True)
    assert refusals._tallies == {} and sum(refusals._callers.values()) == 0
    refusals.note("unknown", "unknown")
    await refusals.write(whole=False)
    assert [count for *_, count in refused(settings)] == [1, 1, 1]


async def test_nothing_is_lost_while_the_database_is_away(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    refusals = Refusals(settings)
    refusals.note("unknown", "unknown")
    with engine_for(settings.database).begin() as connection:
        connection.exec_driver_sql("ALTER TABLE audit RENAME TO moved")
    await refusals.write(whole=False)
    refusals.note("unknown", "unknown")
    with engine_for(settings.database).begin() as connection:
        connection.exec_driver_sql("ALTER TABLE moved RENAME TO audit")
    await refusals.close()
    assert refused(settings) == [("unknown", "unknown", 2)] and "cannot be audited now" in caplog.text


@pytest.mark.parametrize(
    ("address", "named"),
    [
        ("203.0.113.77", "network:203.0.113.0/24"),
        ("2001:db8:1:2::5", "network:2001:db8:1::/48"),
        ("::ffff:203.0.113.77", "network:203.0.113.0/24"),
        ("testclient", "unknown"),
        ("", "unknown"),
        ("1.2.3.4; DROP", "unknown"),
    ],
)
def test_an_address_is_only_its_network(address: str, named: str) -> None:
    assert network(address) == named
