"""What answers now, in memory: follows the pointers and opens a release's parts before it switches, so that a release fails no request."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from sqlalchemy import select

from pipelines.config import DomainConfig, Settings, domain_names, load_domain
from pipelines.errors import RatchetError, Unavailable
from pipelines.manifest import sha256
from pipelines.registry import candidates
from pipelines.serving import client, restraints
from pipelines.serving.answer import LookUp, Parts, look_up, open_parts, shown
from pipelines.serving.fleet import Fleet
from pipelines.serving.guards import documents
from pipelines.serving.guards.verdict import Verdict
from pipelines.serving.metrics import Metrics
from pipelines.serving.restraints import Held
from pipelines.serving.routing import provider
from pipelines.serving.routing import small as small_base
from pipelines.serving.routing.provider import Outside
from pipelines.serving.routing.small import Small
from pipelines.serving.shapes import NoModel
from pipelines.serving_config import Guards
from pipelines.state.database import reading
from pipelines.state.models import Candidate, Pointer

if TYPE_CHECKING:
    from pipelines.retrieval.index import Index

EVERY_SECONDS = 0.5
RETRY_SECONDS = 2.0
BY_NAME = 4
"""How many releases asked for by number stay open beside those that a pointer names."""


@dataclass(slots=True)
class Route:
    """One domain's present answering: the pointer as it was read, and the parts that stand behind it."""

    domain: str
    config: DomainConfig | None = None
    """As the file was when it could last be read. None where it never could: nothing is answered then."""
    mark: str = ""
    """Hash of what of that file may change an answer."""
    small: Small | None = None
    outside: Outside | None = None
    wanted: str | None = None
    live: Parts | None = None
    canary: Parts | None = None
    canary_share: float = 0.0
    shadow_share: float = 0.0
    epoch: int = 0
    """What was cached under an earlier one is not found any more."""
    held: Held = field(default_factory=Held)
    """What is held back for a while."""
    since: float = 0.0
    faults: dict[str, str] = field(default_factory=dict)
    """Release -> why it cannot be opened; and what else is wrong with the domain's file."""
    notes: dict[str, str] = field(default_factory=dict)

    @property
    def public(self) -> bool:
        """Whether its text may be kept as it is. What is not known to be public is treated as private."""
        return self.config is not None and self.config.privacy.profile == "public"

    @property
    def usable_small(self) -> Small | None:
        """The smaller base, unless it is switched off."""
        return None if "small" in self.held.off else self.small

    @property
    def usable_outside(self) -> Outside | None:
        """The provider, unless it is switched off."""
        return None if "provider" in self.held.off else self.outside

    def chosen(self, conversation: str) -> tuple[Parts | None, bool]:
        """(parts, whether they are the canary's). A conversation stays where it is while the share rises."""
        if self.canary is not None and drawn(self.canary.release, conversation) < self.canary_share:
            return self.canary, True
        return self.live, False

    def shadowed(self, request_id: str) -> Parts | None:
        """The candidate that is to answer this request too, for nobody to see."""
        return self.canary if self.canary is not None and drawn("shadow", request_id) < self.shadow_share else None


def drawn(what: str, name: str) -> float:
    """A number from 0 to below 1, always the same for both: other candidates draw other conversations."""
    return int.from_bytes(hashlib.blake2b(f"{what}\0{name}".encode(), digest_size=4).digest()) / 2**32


class Releases:
    """Routes per domain, and the parts that are open."""

    def __init__(self, settings: Settings, server: Fleet, metrics: Metrics) -> None:
        self.settings, self.server, self.metrics = settings, server, metrics
        self.routes: dict[str, Route] = {}
        self.fault: str | None = "the pointers were not read yet"
        self.switches = 0
        self._open: OrderedDict[str, Parts] = OrderedDict()
        self._retry_at: dict[str, float] = {}
        self._opening: dict[str, asyncio.Lock] = {}
        self._held: set[str] = set()
        self._following: dict[str, asyncio.Task[None]] = {}
        self._indexes: WeakValueDictionary[str, Index] = WeakValueDictionary()
        self._configs: dict[str, tuple[tuple[int, int], DomainConfig]] = {}
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
            rows, held = await asyncio.to_thread(self._pointers)
        except Exception as error:
            self.fault = f"the pointers cannot be read: {_reason(error)}"
            return
        self.fault = None
        self.metrics.pointers_read()
        self._held = {name for row in rows for name in (row.live_id, row.canary_id, row.previous_id) if name}
        for row in rows:
            if (route := self.routes.get(row.domain)) is not None:
                route.held = held.get(row.domain, Held())
            if row.domain not in self._following or self._following[row.domain].done():
                self._following[row.domain] = asyncio.create_task(self._follow_one(row))
        if self._following:
            await asyncio.wait(self._following.values(), timeout=EVERY_SECONDS)
        self._forget()

    async def keep_engines(self) -> None:
        """Load engines that a restarted Triton does not hold any more; until cancelled."""
        while True:
            small = {route.small.engine for route in self.routes.values() if route.small is not None}
            for engine in small | {parts.engine for parts in self._open.values()}:
                with suppress(RatchetError):
                    await self.server.ensure_loaded(engine)
            await asyncio.sleep(RETRY_SECONDS)

    def route(self, domain: str) -> Route:
        """The domain's. NoModel for no such domain, Unavailable for one that never had a pointer, or whose file cannot be read."""
        route = self.routes.get(domain)
        if route is None:
            if domain not in domain_names(self.settings):
                raise NoModel(f"there is no model {domain!r}", todo="GET /v1/models lists those you may use")
            raise _no_release(domain)
        if route.config is None:
            raise Unavailable("this domain is not in order", todo="tell the platform engineer")
        return route

    def pick(self, route: Route, conversation: str) -> tuple[Parts, bool]:
        """(parts, whether they are the canary's) for one conversation. Unavailable without a live release that is open."""
        if route.live is None and route.wanted is None:
            raise _no_release(route.domain)
        parts, canary = route.chosen(conversation)
        return (parts, canary) if parts is not None else (self.live(route.domain), False)

    def live(self, domain: str) -> Parts:
        """The live parts. Unavailable when they could not be opened."""
        route = self.routes[domain]
        if route.live is None:
            raise Unavailable(f"{route.wanted} cannot answer yet: {route.faults.get(route.wanted or '', 'it is being opened')}")
        return route.live

    async def require(self, release: str, *, any_state: bool) -> None:
        """NoModel unless this exact release is, or was, live, or `any_state` allows any candidate."""
        row = await asyncio.to_thread(self._row, release)
        if row is None or not (any_state or row.state in ("live", "retired")):
            raise NoModel(f"there is no model {release[:80]!r}", todo="GET /v1/models lists those you may use")

    async def named(self, release: str, *, any_state: bool) -> tuple[Parts, bool]:
        """The parts of an exact release. NoModel as `require`."""
        await self.require(release, any_state=any_state)
        route = self.routes.get(release.split("/")[0])
        parts = await self._opened(release)
        return parts, route is not None and route.canary is parts

    async def look_up(self, question: str, as_of: str, parts: Parts, roles: frozenset[str], guards: Guards) -> tuple[LookUp, list[Verdict]]:
        """`answer.look_up` in a thread, without the passages that give the model orders."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, _screened, question, as_of, parts, roles, guards)

    async def vectors(self, texts: list[str], parts: Parts) -> Any:
        """float32 array (texts, dimensions) by the embedder of the release's index, in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, parts.index.vectors, texts)

    async def close(self) -> None:
        """Stop following, and the threads."""
        for task in self._following.values():
            task.cancel()
        await asyncio.gather(*self._following.values(), return_exceptions=True)
        for route in self.routes.values():
            if route.outside is not None:
                await route.outside.close()
        self._pool.shutdown(wait=False, cancel_futures=True)

    # --- following ----------------------------------------------------------------------------------------------------

    async def _follow_one(self, row: Pointer) -> None:
        route = self.routes.setdefault(row.domain, Route(row.domain))
        if (config := self._config(row.domain)) is not None and config is not route.config:
            await self._take_over(route, config)
        route.wanted, route.epoch = row.live_id, row.epoch
        faults: dict[str, str] = {}
        live = await self._try(row.live_id, faults)
        canary = await self._try(row.canary_id, faults)
        if row.previous_id:
            # A rollback must find it open, but nothing waits for it now.
            await self._try(row.previous_id, {})
        if live is not None and live is not route.live:
            route.live, route.since = live, time.time()
            self.switches += 1
            self.metrics.set("ratchet_release_switches", self.switches)
        elif row.live_id is None:
            route.live = None
        route.canary, route.canary_share, route.shadow_share = canary, row.canary_share, row.shadow_share
        route.faults = faults | route.notes

    async def _take_over(self, route: Route, config: DomainConfig) -> None:
        """A domain file that changed. What is wrong with its routing is told, and the domain's own engine answers alone."""
        route.notes = {}
        small, outside = None, None
        try:
            small = await asyncio.to_thread(small_base.prepare, self.settings, config.serving.routing, config.serving.engine)
            if small is not None:
                await self.server.ensure_loaded(small.engine)
        except RatchetError as error:
            small, route.notes["serving.routing.small"] = None, _reason(error)
        try:
            outside = provider.of(self.settings, config)
        except RatchetError as error:
            route.notes["serving.routing.provider"] = _reason(error)
        if route.outside is not None:
            await route.outside.close()
        route.small, route.outside = small, outside
        route.config, route.mark = config, sha256([config.serving.model_dump(mode="json"), config.privacy.model_dump(mode="json")])

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
            parts = await asyncio.to_thread(open_parts, self.settings, row, self._indexes)
            await self.server.ensure_loaded(parts.engine)
            await self.server.generate(parts.engine, parts.ask(client.PROBE, 4), conversation=release)
            await self.look_up("When is this in force?", "2000-01-01", parts, frozenset(), Guards())
            self._open[release] = parts
            return parts

    def _forget(self) -> None:
        """Close what no pointer names, apart from the few that were asked for last."""
        spare = [release for release in self._open if release not in self._held]
        for release in spare[: max(0, len(spare) - BY_NAME)]:
            del self._open[release]
            self._opening.pop(release, None)

    def _pointers(self) -> tuple[list[Pointer], dict[str, Held]]:
        with reading(self.settings) as session:
            return list(session.scalars(select(Pointer))), restraints.in_force(session)

    def _row(self, release: str) -> Candidate | None:
        with reading(self.settings) as session:
            return session.get(Candidate, release)

    def _config(self, domain: str) -> DomainConfig | None:
        """The domain's file, read again when it changed; None while it is broken."""
        path = self.settings.configs / "domains" / f"{domain}.yaml"
        try:
            stat = path.stat()
            mark = (stat.st_mtime_ns, stat.st_size)
            if self._configs.get(domain, (None, None))[0] != mark:
                self._configs[domain] = mark, load_domain(domain, self.settings)
        except (RatchetError, OSError):
            return None
        return self._configs[domain][1]


def _screened(question: str, as_of: str, parts: Parts, roles: frozenset[str], guards: Guards) -> tuple[LookUp, list[Verdict]]:
    found = look_up(question, as_of, parts, roles)
    verdicts = documents.withheld([passage.text for passage in found.passages], guards)
    refused = {place for place, verdict in verdicts.items() if verdict.action == "refuse"}
    if refused:
        kept = tuple(passage for place, passage in enumerate(found.passages) if place not in refused)
        found = replace(shown(question, kept, parts.prompt), withheld=len(refused))
    return found, list(verdicts.values())


def _no_release(domain: str) -> Unavailable:
    todo = f"deliver an arrival and approve its candidate; `ratchet live {domain}` shows the state"
    return Unavailable(f"{domain} has no live release", todo=todo)


def _reason(error: Exception) -> str:
    """One line. An unexpected error's own words stay out: they may quote what was asked."""
    return str(error) if isinstance(error, RatchetError) else type(error).__name__
