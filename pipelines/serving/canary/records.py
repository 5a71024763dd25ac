"""The traffic log of one domain as a rollout reads it: what is new at each look, in the order of its times."""

from __future__ import annotations

import heapq
from datetime import datetime, timedelta

from pipelines.config import Settings
from pipelines.serving.canary.signals import Record
from pipelines.traffic import segments
from pipelines.traffic.log import Tail

GRACE = timedelta(seconds=1)
"""A record is taken in when it is so old: several gateways write, and whoever looks must see one order."""


class Following:
    """The records of a domain from `since` on."""

    def __init__(self, settings: Settings, domain: str, since: datetime) -> None:
        self._tail = Tail(settings, domain, since=since)
        self._waiting: list[tuple[datetime, str, int, Record]] = []
        self._count = 0

    def new(self, now: datetime) -> list[tuple[datetime, Record]]:
        """(time, record) of what came since the last look and is older than GRACE, oldest first."""
        for record in self._tail.new():
            self._count += 1
            heapq.heappush(self._waiting, (segments.moment(record), str(record.get("request_id")), self._count, record))
        found: list[tuple[datetime, Record]] = []
        while self._waiting and self._waiting[0][0] <= now - GRACE:
            at, _, _, due = heapq.heappop(self._waiting)
            found.append((at, due))
        return found
