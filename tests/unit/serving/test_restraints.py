"""What is held back for a while, as gateways read it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from pipelines.config import Settings
from pipelines.serving import restraints
from pipelines.serving.access.budgets import Budgets
from pipelines.serving.keys import TooMany
from pipelines.state.database import reading, transaction
from pipelines.state.models import Restraint, now


def hold(settings: Settings, kind: str, subject: str, limit: int | None = None, minutes: float = 10, lifted: bool = False) -> None:
    with transaction(settings) as session:
        session.add(
            Restraint(
                domain="regulatory", kind=kind, subject=subject, requests_per_minute=limit, until=now() + timedelta(minutes=minutes),
                by="watcher", reason="test", lifted_at=now() if lifted else None,
            )
        )  # fmt: skip


def test_what_is_in_force(settings: Settings) -> None:
    hold(settings, "throttle", "bank", 30)
    hold(settings, "throttle", "bank", 10)
    hold(settings, "throttle", "*", 20)
    hold(settings, "throttle", "law", 1, minutes=-1)
    hold(settings, "route_off", "provider")
    hold(settings, "route_off", "small", lifted=True)
    with reading(settings) as session:
        held = restraints.in_force(session)["regulatory"]
    assert (held.limit("bank"), held.limit("anybody"), held.off) == (10, 20, frozenset({"provider"}))
    assert restraints.Held().limit("bank") is None


async def test_a_held_back_tenant_is_told_when_to_come_again(settings: Settings) -> None:
    budgets = Budgets(settings)
    for _ in range(3):
        await budgets.hold_back("regulatory", "bank", 3)
    with pytest.raises(TooMany) as refused:
        await budgets.hold_back("regulatory", "bank", 3)
    assert 1 <= refused.value.retry_after <= 60
    await budgets.hold_back("regulatory", "other", 3)
    await budgets.close()
