"""That the watcher is dead shows in the gateway's metrics, and so does what is open."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import datetime, timedelta

from pipelines.config import Settings
from pipelines.monitoring.lease import NAME, SITE, Lease
from pipelines.serving import loop_gauges
from pipelines.serving.metrics import Metrics
from pipelines.state.database import transaction
from pipelines.state.models import Incident, now


def incident(settings: Settings, number: int, severity: str, state: str = "open") -> None:
    with transaction(settings) as session:
        row = {"id": f"d-i{number}", "domain": "d", "number": number, "title": "t", "severity": severity, "state": state, "runbook": "r"}
        session.add(Incident(**row))


def test_what_is_read(settings: Settings) -> None:
    assert loop_gauges.LEASE == (SITE, NAME)
    assert loop_gauges.read(settings) == (None, {})
    Lease(settings).take(now())
    incident(settings, 1, "page")
    incident(settings, 2, "page", "acked")
    incident(settings, 3, "note", "closed")
    seen, open_now = loop_gauges.read(settings)
    assert seen is not None and now() - datetime.fromtimestamp(seen).astimezone() < timedelta(minutes=1)
    assert open_now == {("d", "page"): 2}


async def test_an_incident_that_is_over_goes_to_zero(settings: Settings) -> None:
    metrics = Metrics(settings)
    incident(settings, 1, "page")
    loop_gauges.EVERY_SECONDS = 0.01
    task = asyncio.create_task(loop_gauges.follow(settings, metrics))
    line = b'ratchet_incidents{domain="d",severity="page"} '

    async def shows(value: bytes) -> None:
        while line + value not in metrics.render():
            await asyncio.sleep(0.01)

    try:
        await asyncio.wait_for(shows(b"1.0"), 10)
        with transaction(settings) as session:
            session.get_one(Incident, "d-i1").state = "closed"
        await asyncio.wait_for(shows(b"0.0"), 10)
    finally:
        loop_gauges.EVERY_SECONDS = 5.0
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        metrics.close()
