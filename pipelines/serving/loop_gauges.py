"""What of the closed loop shows in the gateway's metrics: when the watcher last looked, and which incidents are open.

The watcher has no port of its own: that it is dead could otherwise be told by nobody but itself.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from sqlalchemy import func, select

from pipelines.config import Settings
from pipelines.errors import RatchetError
from pipelines.serving.metrics import Metrics
from pipelines.state.database import reading
from pipelines.state.models import Incident, MonitorMark

EVERY_SECONDS = 5.0
LEASE = ("*", "lease")
"""The mark that a watcher renews in every round: `monitoring.lease`."""


async def follow(settings: Settings, metrics: Metrics) -> None:
    """Read them again and again, until cancelled. A database that is away leaves them as they were."""
    known: set[tuple[str, str]] = set()
    while True:
        with suppress(RatchetError):
            seen, incidents = await asyncio.to_thread(read, settings)
            if seen is not None:
                metrics.set("ratchet_watcher_seen_timestamp_seconds", seen)
            for labels in known | incidents.keys():
                metrics.set("ratchet_incidents", incidents.get(labels, 0), *labels)
            known |= incidents.keys()
        await asyncio.sleep(EVERY_SECONDS)


def read(settings: Settings) -> tuple[float | None, dict[tuple[str, str], int]]:
    """(seconds since 1970 of the watcher's last round, None before its first; open incidents by domain and severity)."""
    with reading(settings) as session:
        mark = session.get(MonitorMark, LEASE)
        counted = select(Incident.domain, Incident.severity, func.count()).where(Incident.state != "closed")
        rows = session.execute(counted.group_by(Incident.domain, Incident.severity)).all()
    return mark.at.timestamp() if mark is not None else None, {(domain, severity): count for domain, severity, count in rows}
