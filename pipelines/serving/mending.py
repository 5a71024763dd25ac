"""Brings crashed engines back (unload and load), one at a time on this host, and raises the alarm."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pipelines import locks
from pipelines.config import Settings
from pipelines.errors import RatchetError
from pipelines.serving import places
from pipelines.serving.client import Server
from pipelines.serving.exchange import EngineCrashed
from pipelines.serving.places import Place

if TYPE_CHECKING:
    from pipelines.serving.metrics import Metrics

TRIES = 3
"""Mendings that failed in a row before an engine counts as lost; it is tried on."""
log = logging.getLogger("ratchet.fleet")


class Mender:
    """Of one process. `tries`: by (instance, engine), mendings that failed in a row; `under_way`: their tasks."""

    def __init__(self, settings: Settings, metrics: Metrics | None) -> None:
        self._settings, self._metrics = settings, metrics
        self.under_way: dict[Any, asyncio.Task[None]] = {}
        self.tries: dict[tuple[str, str], int] = {}
        self._one = asyncio.Lock()

    def begin(self, place: Place, engine: str) -> asyncio.Task[None]:
        """The task that mends it: the one that runs, or a new one."""
        return begin(self.under_way, (place.name, engine), lambda: self.mend(place, engine))

    async def mend(self, place: Place, engine: str) -> None:
        """One at a time, so that not every instance unloads at once; with a back-off after a failure. Never raises a RatchetError."""
        mark = (place.name, engine)
        tries = self.tries.get(mark, 0)
        if tries:
            await asyncio.sleep(min(places.FIRST_BACK_OFF * 2 ** (tries - 1), places.LONGEST_BACK_OFF))
        began = time.monotonic()
        try:
            async with self._one:
                mended = await self._alone(place, lambda: _mend_unless_well(place.server, engine))
        except (RatchetError, TimeoutError, OSError) as error:
            self.tries[mark] = tries + 1
            log.error("%s on %s could not be mended (try %d): %s", engine, place.name, tries + 1, _short(error))
            if tries + 1 == TRIES:
                await self._alarm("engine.lost", place, engine, {"tries": TRIES, "error": _short(error)})
            return
        self.tries.pop(mark, None)
        place.broken.pop(engine, None)
        place.answered(engine)
        if mended:
            await self._alarm("engine.mended", place, engine, {"seconds": round(time.monotonic() - began, 2), "tries": tries + 1})

    async def _alone(self, place: Place, work: Callable[[], Awaitable[bool]]) -> bool:
        """`work`, while no other process of this host mends the same instance. On several hosts two may, in the same moment: the second
        finds it well, or unloads it once more, which costs a repeat."""
        path = self._settings.var / "run" / f"mend-{place.name.replace(':', '-')}.lock"
        await asyncio.to_thread(path.parent.mkdir, parents=True, exist_ok=True)
        while True:
            with locks.alone_now(path) as held:
                if held:
                    return await work()
            await asyncio.sleep(random.uniform(0.05, 0.15))  # noqa: S311 - not a secret

    async def _alarm(self, action: str, place: Place, engine: str, detail: dict[str, Any]) -> None:
        log.error("%s: %s on %s", action, engine, place.name)
        if self._metrics is not None:
            self._metrics.count("ratchet_engine_mended", place.name, action.partition(".")[2])
        try:
            await asyncio.to_thread(_audit, self._settings, action, f"{place.name}/{engine}", detail)
        except Exception as error:  # the database may be what is down too; mending does not wait for it
            log.error("%s could not be audited: %s", action, type(error).__name__)


def begin(tasks: dict[Any, asyncio.Task[None]], mark: Any, make: Callable[[], Any]) -> asyncio.Task[None]:
    """The task of that mark: the one that runs, or a new one."""
    if mark not in tasks:
        tasks[mark] = task = asyncio.create_task(make())
        task.add_done_callback(lambda _: tasks.pop(mark, None))
    return tasks[mark]


async def _mend_unless_well(server: Server, engine: str) -> bool:
    """Whether it had to be mended: another process may have done it."""
    with suppress(EngineCrashed):
        async with asyncio.timeout(places.PROBE_SECONDS):
            await server.probe(engine)
        return False
    await server.mend(engine)
    async with asyncio.timeout(places.PROBE_SECONDS):
        await server.probe(engine)
    return True


def _short(error: BaseException) -> str:
    return error.what if isinstance(error, RatchetError) else type(error).__name__


def _audit(settings: Settings, action: str, subject: str, detail: dict[str, Any]) -> None:
    from pipelines.governance import audit
    from pipelines.state.database import transaction

    with transaction(settings) as session:
        audit.record(session, actor="gateway", action=action, subject=subject, detail=detail)
