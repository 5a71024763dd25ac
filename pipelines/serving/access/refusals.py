"""The record of what was refused, in the audit log: the first of its kind at once, then how many a minute.

Whoever is refused can repeat it ten thousand times a second. So refusals are counted by reason and caller, few callers of a reason are told
apart, and one writer commits at most once a second: an attack adds at most `MOST` + 1 events per reason, minute and process.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache

from pipelines.config import Settings
from pipelines.governance import audit
from pipelines.state.database import transaction

SECONDS = 60.0
AT_MOST_EVERY = 1.0
MOST = 20
"""Callers told apart per reason; the rest are `others`."""
SUBJECTS = 5
OTHERS = "others"
ACTION = "access.refused"
log = logging.getLogger("ratchet.access")


@dataclass(slots=True)
class _Tally:
    began: float
    count: int = 0
    """Since it was last written."""
    written: bool = False
    subjects: list[str] = field(default_factory=list)


class Refusals:
    """Counts of one process. `note` belongs to the event loop's thread; it costs about a microsecond and never waits."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._tallies: dict[tuple[str, str], _Tally] = {}
        self._callers: Counter[str] = Counter()
        self._due = asyncio.Event()
        self._writing: asyncio.Future[None] | None = None
        self.total: Counter[str] = Counter()
        """Refusals by reason since the start, for the metrics."""

    def note(self, reason: str, who: str, subject: str = "gateway") -> None:
        """Count one. `reason` is of a fixed set, `who` a name of ours or a network, `subject` what was asked for; never a secret."""
        self.total[reason] += 1
        tally = self._tallies.get((reason, who))
        if tally is None:
            if self._callers[reason] >= MOST:
                who = OTHERS
                tally = self._tallies.get((reason, who))
            if tally is None:
                tally = self._tallies[reason, who] = _Tally(time.monotonic())
                self._callers[reason] += who != OTHERS
                self._due.set()
        tally.count += 1
        if len(tally.subjects) < SUBJECTS and subject not in tally.subjects:
            tally.subjects.append(subject)

    async def follow(self) -> None:
        """Write until cancelled."""
        whole_at = time.monotonic() + SECONDS
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._due.wait(), max(0.0, whole_at - time.monotonic()))
            self._due.clear()
            whole = time.monotonic() >= whole_at
            await self.write(whole=whole)
            if whole:
                whole_at = time.monotonic() + SECONDS
            await asyncio.sleep(AT_MOST_EVERY)

    async def write(self, *, whole: bool) -> None:
        """Write the first of each kind, and all counts where `whole`; what cannot be written now is kept for the next time."""
        due = [(place, tally) for place, tally in self._tallies.items() if whole or not tally.written]
        rows = [(*place, tally.count, tally.subjects, tally.began) for place, tally in due if tally.count]
        # Taken off before the writing: refusals go on meanwhile, and a writer that is cancelled has written all the same.
        for place, tally in due:
            if whole and not tally.count:
                del self._tallies[place]
                self._callers[place[0]] -= place[1] != OTHERS
            tally.count, tally.subjects, tally.began, tally.written = 0, [], time.monotonic(), True
        if not rows:
            return
        try:
            # Shielded: a thread cannot be cancelled, and whoever closes must know when it is done.
            self._writing = asyncio.ensure_future(asyncio.to_thread(self._record, rows))
            await asyncio.shield(self._writing)
        except Exception as error:
            log.error("refusals cannot be audited now: %s", type(error).__name__)
            for reason, who, count, subjects, began in rows:
                tally = self._tallies[reason, who]
                tally.count, tally.subjects, tally.began = tally.count + count, subjects, began

    async def close(self) -> None:
        """Write what is left."""
        if self._writing is not None:
            await asyncio.wait({self._writing})
        await self.write(whole=True)

    def _record(self, rows: list[tuple[str, str, int, list[str], float]]) -> None:
        at = time.monotonic()
        with transaction(self._settings) as session:
            for reason, who, count, subjects, began in rows:
                detail = {"reason": reason, "count": count, "seconds": round(at - began, 1)}
                if len(subjects) > 1:
                    detail["also"] = subjects[1:]
                audit.record(
                    session, actor=who[:120], action=ACTION, subject=(subjects or ["gateway"])[0][:200], allowed=False, detail=detail
                )


@lru_cache(maxsize=1024)
def network(address: str) -> str:
    """The network of a caller's address, /24 or /48: enough to find an attack, too little to be a person's. `unknown` for no address."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return "unknown"
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    return f"network:{ipaddress.ip_network((found, 24 if found.version == 4 else 48), strict=False)}"
