"""What answers now, in memory: follows the pointers and opens a release's parts before it switches, so that a release fails no request."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field

from sqlalchemy import select

from pipelines.config import Settings, domain_names, load_domain
from pipelines.errors import RatchetError, Unavailable
from pipelines.registry import candidates
from pipelines.serving import client
from pipelines.serving.answer import LookUp, Parts, look_up, open_parts
from pipelines.serving.shapes import NoModel
from pipelines.state.database import reading
from pipelines.state.models import Candidate, Pointer

EVERY_SECONDS = 0.5
RETRY_SECONDS = 2.0
BY_NAME = 4
"""How many releases asked for by number stay open beside those that a pointer names."""


@dataclass(slots=True)
class Route:
    """One domain's present answering: the pointer as it was read, and the parts that stand behind it."""

    domain: str
    public: bool = False
    """False also for a domain whose file cannot be read: what is not known to be public is treated as private."""
    wanted: str | None = None
    live: Parts | None = None
    canary: Parts | None = None
    canary_share: float = 0.0
    since: float = 0.0
    faults: dict[str, str] = field(default_factory=dict)
    """Release -> why it cannot be opened."""


class Releases:
    """Routes per domain, and the parts that are open."""

    def __init__(self, settings: Settings, server: client.Server) -> None:
        self.settings, self.server = settings, server
        self.routes: dict[str, Route] = {}
        self.fault: str | None = "the pointers were not read yet"
        self.read_at = 0.0
        self.switches = 0
        self._open: OrderedDict[str, Parts] = OrderedDict()
        self._retry_at: dict[str, float] = {}
        self._opening: dict[str, asyncio.Lock] = {}
        self._held: set[str] = set()
        self._following: dict[str, asyncio.Task[None]] = {}
        # Retrieval is short and CPU-bound: more threads than cores would only take turns.
        self._pool = ThreadPoolExecutor(max_workers=2, thread_name_prefix="retrieval")

    async def follow(self) -> None:
        """Read the pointers twice a second until cancelled."""
        while True:
            await self.refresh()
            await asyncio.sleep(EVERY_SECONDS)

    async def refresh(self) -> None:
        """Read the pointers once and switch what can be switched. Never raises: what is open goes on answering.

        Every domain follows by itself, so that one's slow index does not hold up another's release.
        """
        try:
            rows = await asyncio.to_thread(self._pointers)
        except Exception as error:
            self.fault = f"the pointers cannot be read: {_reason(error)}"
            return
        self.fault, self.read_at = None, time.monotonic()
        self._held = {name for row in rows for name in (row.live_id, row.canary_id, row.previous_id) if name}
        for row in rows:
            if row.domain not in self._following or self._following[row.domain].done():
                self._following[row.domain] = asyncio.create_task(self._follow_one(row))
        if self._following:
            await asyncio.wait(self._following.values(), timeout=EVERY_SECONDS)
        self._forget()

    async def keep_engines(self) -> None:
        """Load engines that a restarted Triton does not hold any more; until cancelled."""
        while True:
            for engine in {parts.engine for parts in self._open.values()}:
                with suppress(RatchetError):
                    await self.server.ensure_loaded(engine)
            await asyncio.sleep(RETRY_SECONDS)

    def pick(self, domain: str, request_id: str) -> tuple[Parts, bool]:
        """(parts, whether they are the canary's) for one request; its random id (hex) decides.

        NoModel for no such domain, Unavailable without a live release.
        """
        route = self.routes.get(domain)
        if route is None or (route.live is None and route.wanted is None):
            if route is None and domain not in domain_names(self.settings):
                raise NoModel(f"there is no model {domain!r}", todo="GET /v1/models lists those you may use")
            todo = f"deliver an arrival and approve its candidate; `ratchet live {domain}` shows the state"
            raise Unavailable(f"{domain} has no live release", todo=todo)
        if route.canary is not None and int(request_id[:8], 16) < route.canary_share * 2**32:
            return route.canary, True
        return self.live(domain), False

    def live(self, domain: str) -> Parts:
        """The live parts. Unavailable when they could not be opened."""
        route = self.routes[domain]
        if route.live is None:
            raise Unavailable(f"{route.wanted} cannot answer yet: {route.faults.get(route.wanted or '', 'it is being opened')}")
        return route.live

    async def named(self, release: str, *, any_state: bool) -> tuple[Parts, bool]:
        """The parts of an exact release. NoModel unless it is, or was, live, or `any_state` allows any candidate."""
        route = self.routes.get(release.split("/")[0])
        row = await asyncio.to_thread(self._row, release)
        if row is None or not (any_state or row.state in ("live", "retired")):
            raise NoModel(f"there is no model {release!r}", todo="GET /v1/models lists those you may use")
        parts = await self._opened(release)
        return parts, route is not None and route.canary is parts

    async def look_up(self, question: str, as_of: str, parts: Parts) -> LookUp:
        """`answer.look_up` in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, look_up, question, as_of, parts)

    def is_public(self, domain: str) -> bool:
        """Whether questions of this domain may be kept, masked."""
        route = self.routes.get(domain)
        return route is not None and route.public

    async def close(self) -> None:
        """Stop following, and the threads."""
        for task in self._following.values():
            task.cancel()
        await asyncio.gather(*self._following.values(), return_exceptions=True)
        self._pool.shutdown(wait=False, cancel_futures=True)

    # --- following ----------------------------------------------------------------------------------------------------

    async def _follow_one(self, row: Pointer) -> None:
        route = self.routes.setdefault(row.domain, Route(row.domain))
        route.public = self._public(row.domain)
        route.wanted = row.live_id
        faults: dict[str, str] = {}
        live = await self._try(row.live_id, faults)
        canary = await self._try(row.canary_id, faults)
        if row.previous_id:
            # A rollback must find it open, but nothing waits for it now.
            await self._try(row.previous_id, {})
        if live is not None and live is not route.live:
            route.live, route.since = live, time.time()
            self.switches += 1
        elif row.live_id is None:
            route.live = None
        route.canary, route.canary_share = canary, row.canary_share
        route.faults = faults

    async def _try(self, release: str | None, faults: dict[str, str]) -> Parts | None:
        """The parts, or None and a fault; one that failed is tried again after a while."""
        if release is None:
            return None
        if release not in self._open and time.monotonic() < self._retry_at.get(release, 0.0):
            faults[release] = next((r.faults[release] for r in self.routes.values() if release in r.faults), "it is being opened")
            return None
        try:
            return await self._opened(release)
        except Exception as error:
            faults[release] = _reason(error)
            self._retry_at[release] = time.monotonic() + RETRY_SECONDS
            return None

    async def _opened(self, release: str) -> Parts:
        """Open, load the engine, and warm both with a real question: nobody's first request pays for it."""
        async with self._opening.setdefault(release, asyncio.Lock()):
            if release in self._open:
                self._open.move_to_end(release)
                return self._open[release]
            row = await asyncio.to_thread(candidates.get, self.settings, release)
            parts = await asyncio.to_thread(open_parts, self.settings, row)
            await self.server.ensure_loaded(parts.engine)
            await self.server.generate(parts.engine, client.PROBE, parts.adapter, 4, parts.chat)
            await self.look_up("When is this in force?", "2000-01-01", parts)
            self._open[release] = parts
            return parts

    def _forget(self) -> None:
        """Close what no pointer names, apart from the few that were asked for last."""
        spare = [release for release in self._open if release not in self._held]
        for release in spare[: max(0, len(spare) - BY_NAME)]:
            del self._open[release]
            self._opening.pop(release, None)

    def _pointers(self) -> list[Pointer]:
        with reading(self.settings) as session:
            return list(session.scalars(select(Pointer)))

    def _row(self, release: str) -> Candidate | None:
        with reading(self.settings) as session:
            return session.get(Candidate, release)

    def _public(self, domain: str) -> bool:
        try:
            return load_domain(domain, self.settings).privacy.profile == "public"
        except RatchetError:
            return False


def _reason(error: Exception) -> str:
    """One line. An unexpected error's own words stay out: they may quote what was asked."""
    return str(error) if isinstance(error, RatchetError) else type(error).__name__
