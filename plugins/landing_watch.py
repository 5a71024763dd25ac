"""Wakes a domain's `ingest` when sealed folders wait that no run has claimed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from time import monotonic
from typing import Any

from airflow.triggers.base import BaseEventTrigger, TriggerEvent

from pipelines.config import load_settings
from pipelines.errors import RatchetError

NUDGE_AGAIN = 20.0
"""Seconds. Airflow may fold or strand an event, so an event is only a wake-up and is repeated while something waits."""


class LandingWatch(BaseEventTrigger):
    """One watcher per domain. It keeps no watermark: the ledger says what is unclaimed, so a killed triggerer loses nothing."""

    def __init__(self, domain: str, poll_seconds: float = 1.0) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.domain, self.poll_seconds = domain, poll_seconds

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments; the domain in them makes each trigger watch one asset."""
        return "landing_watch.LandingWatch", {"domain": self.domain, "poll_seconds": self.poll_seconds}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """An event when more waits than before, and again every `NUDGE_AGAIN` seconds while anything waits."""
        before, nudged = 0, -NUDGE_AGAIN
        while True:
            try:
                waiting = await asyncio.to_thread(unclaimed, self.domain)
            except (RatchetError, OSError) as error:
                # A database or disk that is away for a moment must not end the watch.
                self.log.warning("cannot look into the landing zone of %s: %s", self.domain, error)
                waiting = before
            if waiting > before or (waiting and monotonic() - nudged >= NUDGE_AGAIN):
                nudged = monotonic()
                yield TriggerEvent({"pending": waiting})  # type: ignore[no-untyped-call]
            before = waiting
            await asyncio.sleep(self.poll_seconds)


def unclaimed(domain: str) -> int:
    """How many sealed folders of a domain wait."""
    from pipelines.steps import ingest

    return ingest.unclaimed(load_settings(), domain)
