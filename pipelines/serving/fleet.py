"""Several Triton servers behind one object with `client.Server`'s methods: who answers what, who is out, and how they come back.

* A conversation has its instance: rendezvous hashing (Thaler and Ravishankar 1998, the highest random weight wins), so that an instance
  that is lost or added moves only its own conversations.
* Three failures in a row make an instance suspect, and a real inference decides whether it is put out: what fails for one release's
  adapter must not take away an instance that answers all others. What has been idle is tried by a real inference too, because a crashed
  Python stub still looks READY. Whoever is out comes back after a back-off that doubles, when a real inference went well.
* What failed before its first text is asked once more elsewhere: decoding is greedy, so nothing is lost and nothing said twice. Repeats
  have a budget (a fifth of the requests, as in Finagle and Envoy), so that an overload is not doubled by them.
* A crashed engine is mended (`mending.py`), and the alarm is raised.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from pipelines.config import Settings, TritonInstance
from pipelines.errors import RatchetError, Unavailable
from pipelines.serving import places, telemetry
from pipelines.serving.client import Server
from pipelines.serving.exchange import Ask, EngineCrashed, Generated
from pipelines.serving.mending import Mender, begin
from pipelines.serving.places import Place, drain_file

if TYPE_CHECKING:
    from pipelines.serving.metrics import Metrics

IDLE_SECONDS = 5.0
"""Without a success, an engine of an instance is tried."""
HEALTHY_SECONDS = 60.0
"""After so long in use, the next back-off is the first again."""
MEND_SECONDS = 120.0
"""How long a request waits for its engine's first mending, where no other instance can answer."""
REPEATS, REPEATS_A_REQUEST = 100.0, 0.2
LOOK_SECONDS = 0.5
log = logging.getLogger("ratchet.fleet")


class TooSlow(Unavailable):
    """A real inference that did not come to its end in time: hung, or only busy."""


class Fleet:
    """`Server`'s methods over `settings.tritons`, or over the site's own Triton where there are none."""

    def __init__(
        self,
        settings: Settings,
        metrics: Metrics | None = None,
        serve: Callable[[Settings, TritonInstance | None], Server] = Server,
    ) -> None:
        self.settings = settings
        self._metrics = metrics
        own = settings.url("triton_http").removeprefix("http://")
        self.places = [
            Place(one.http if one else own, serve(settings, one), back_off=places.FIRST_BACK_OFF) for one in settings.tritons or (None,)
        ]
        # Kept for conversations that go on.
        self.order = lru_cache(maxsize=4096)(self._order)
        """The instances in a conversation's order of preference."""
        self._engines: dict[str, None] = {}
        self._repeats = REPEATS
        self._mender = Mender(settings, metrics)
        self._returning: dict[str, asyncio.Task[None]] = {}
        for place in self.places:
            self._show(place)

    # --- what Server does ---------------------------------------------------------------------------------------------

    async def generate(self, engine: str, ask: Ask, *, conversation: str = "", told: Callable[[str], None] | None = None) -> Generated:
        """`told` is called with the name of the instance that answered. Errors as `Server.generate`; Unavailable at once when every
        instance is out."""
        self._remember(engine)
        place = await self._pick(engine, conversation)
        try:
            found = await self._generate(place, engine, ask)
        except Unavailable as error:
            place = await self._other(engine, conversation, place, error)
            found = await self._generate(place, engine, ask)
        if told is not None:
            told(place.name)
        return found

    async def stream(
        self, engine: str, ask: Ask, *, conversation: str = "", told: Callable[[str], None] | None = None
    ) -> AsyncGenerator[str | Generated, None]:
        """As `Server.stream`. It is begun again elsewhere only while no text has come; closing it cancels the work in Triton."""
        self._remember(engine)
        place = await self._pick(engine, conversation)
        began, repeated = False, False
        while True:
            try:
                async with aclosing(self._stream(place, engine, ask)) as pieces:
                    async for piece in pieces:
                        if isinstance(piece, Generated):
                            if told is not None:
                                told(place.name)
                        elif not piece:
                            continue
                        began = True
                        yield piece
                return
            except Unavailable as error:
                if began or repeated:
                    raise
                place, repeated = await self._other(engine, conversation, place, error), True

    async def ready(self) -> bool:
        """Whether an instance that is in use answers."""
        answers = await asyncio.gather(*(place.server.ready() for place in self.places if not place.out_until))
        return any(answers)

    async def ensure_loaded(self, engine: str) -> None:
        """On every instance in use; those that are out are asked when they come back. Raises what the last one said when none has it."""
        self._remember(engine)
        used = [place for place in self.places if not place.out_until]
        if not used:
            raise self._all_out()
        errors = [error for error in await asyncio.gather(*(self._load(place, engine) for place in used)) if error is not None]
        if len(errors) == len(used):
            raise errors[-1]

    async def probe(self, engine: str) -> float:
        """Seconds of a real inference on each instance that serves it: the slowest. Errors as `Server.probe`."""
        self._remember(engine)
        used = [place for place in self.places if place.serves(engine)]
        if not used:
            raise self._all_out()
        return max(await asyncio.gather(*(place.server.probe(engine) for place in used)))

    async def mend(self, engine: str) -> None:
        """Mend it wherever it does not answer a real inference; one instance after another."""
        for place in self.places:
            if not place.out_until:
                await self._mender.mend(place, engine)

    async def close(self) -> None:
        """End what goes on, and close the connections."""
        tasks = [*self._mender.under_way.values(), *self._returning.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(place.server.close() for place in self.places), return_exceptions=True)

    # --- beyond it ----------------------------------------------------------------------------------------------------

    async def supervise(self) -> None:
        """Try what is idle, mend what crashed, take back what recovered; until cancelled."""
        while True:
            now = time.monotonic()
            for place in self.places:
                place.draining = drain_file(self.settings, place.name).exists()
                if place.out_until and now >= place.out_until:
                    begin(self._returning, place.name, lambda place=place: self._return(place))  # type: ignore[misc]
                elif not place.out_until and not place.draining:
                    for engine in list(self._engines):
                        self._look_after(place, engine, now)
            await asyncio.sleep(LOOK_SECONDS)

    def states(self) -> list[dict[str, Any]]:
        """Of each instance: its name, whether it is in use, what is wrong with its engines, and requests under way."""
        return [
            {
                "instance": place.name,
                "in_use": not (place.out_until or place.draining),
                "broken": dict(place.broken),
                "in_flight": place.in_flight,
            }
            for place in self.places
        ]

    # --- one request --------------------------------------------------------------------------------------------------

    async def _generate(self, place: Place, engine: str, ask: Ask) -> Generated:
        place.in_flight += 1
        try:
            with telemetry.span("triton", engine=engine, instance=place.name):
                found = await place.server.generate(engine, ask)
        except Unavailable as error:
            self._failed(place, engine, error)
            raise
        finally:
            place.in_flight -= 1
        place.answered(engine)
        return found

    async def _stream(self, place: Place, engine: str, ask: Ask) -> AsyncGenerator[str | Generated, None]:
        place.in_flight += 1
        try:
            with telemetry.span_apart("triton", engine=engine, instance=place.name):
                async with aclosing(_generator(place.server.stream(engine, ask))) as pieces:
                    async for piece in pieces:
                        if isinstance(piece, Generated):
                            place.answered(engine)
                        yield piece
        except Unavailable as error:
            self._failed(place, engine, error)
            raise
        finally:
            place.in_flight -= 1

    async def _pick(self, engine: str, conversation: str) -> Place:
        """The conversation's instance; waits for one that is being mended where no other serves."""
        found = self._serving(engine, conversation, None) or await self._awaited(engine, conversation)
        if found is None:
            raise self._all_out()
        return found

    def _order(self, conversation: str) -> list[Place]:
        return sorted(self.places, key=lambda place: _weight(conversation, place.name), reverse=True)

    def _serving(self, engine: str, conversation: str, failed: Place | None) -> Place | None:
        fallback = None
        for place in self.order(conversation):
            if place is not failed and place.serves(engine):
                if not place.suspect:
                    return place
                fallback = fallback or place
        return fallback

    async def _awaited(self, engine: str, conversation: str) -> Place | None:
        """An instance whose engine crashed a moment ago, mended. One that could not be mended is not waited for."""
        for place in self.order(conversation):
            if (
                not (place.out_until or place.draining)
                and place.broken.get(engine) == "crashed"
                and not self._mender.tries.get((place.name, engine))
            ):
                with suppress(TimeoutError):
                    async with asyncio.timeout(MEND_SECONDS):
                        await asyncio.shield(self._mender.begin(place, engine))
                if place.serves(engine):
                    return place
        return None

    async def _other(self, engine: str, conversation: str, failed: Place, error: Unavailable) -> Place:
        """Where a request that failed goes next. The error itself when nowhere, or when too much was repeated of late."""
        if self._repeats < 1:
            raise error
        self._repeats -= 1
        if self._metrics is not None:
            self._metrics.count("ratchet_requests_repeated", failed.name)
        found = self._serving(engine, conversation, failed) or await self._awaited(engine, conversation)
        if found is None:
            raise error
        return found

    def _remember(self, engine: str) -> None:
        if engine not in self._engines:
            self._engines[engine] = None
        if self._repeats < REPEATS:
            self._repeats += REPEATS_A_REQUEST

    def _failed(self, place: Place, engine: str, error: Unavailable) -> None:
        if isinstance(error, EngineCrashed):
            # The instance is well: only this engine of it is not.
            if place.broken.get(engine) != "crashed":
                place.broken[engine] = "crashed"
                self._mender.begin(place, engine)
            return
        place.failures += 1
        if place.suspect and not place.out_until:
            self._begin_try(place, engine)

    # --- health -------------------------------------------------------------------------------------------------------

    def _put_out(self, place: Place, why: str) -> None:
        now = time.monotonic()
        if now - place.since > HEALTHY_SECONDS:
            place.back_off = places.FIRST_BACK_OFF
        # Spread, so that many gateways do not all come back in one moment.
        place.out_until = now + place.back_off * random.uniform(0.8, 1.2)  # noqa: S311 - not a secret
        place.back_off = min(place.back_off * 2, places.LONGEST_BACK_OFF)
        log.error("instance %s is out: %s", place.name, why)
        self._count("ratchet_instance_ejected", place.name, "failures")
        self._show(place)

    async def _return(self, place: Place) -> None:
        """Load what it should hold, try it, and use it again; or wait longer."""
        faults: list[RatchetError] = []
        try:
            if not await place.server.ready():
                raise Unavailable("Triton does not answer")
            for engine in list(self._engines):
                error = await self._load(place, engine)
                if error is None:
                    await self._infer(place, engine)
                elif engine in place.broken:
                    faults.append(error)
                else:
                    raise error
            if faults and len(faults) == len(self._engines):
                raise faults[0]
        except RatchetError:
            place.out_until = time.monotonic() + place.back_off
            place.back_off = min(place.back_off * 2, places.LONGEST_BACK_OFF)
            return
        place.failures, place.out_until, place.since = 0, 0.0, time.monotonic()
        log.warning("instance %s is in use again", place.name)
        self._show(place)

    def _look_after(self, place: Place, engine: str, now: float) -> None:
        state = place.broken.get(engine)
        if state == "crashed":
            self._mender.begin(place, engine)
        elif state is None and engine not in place.loading and now - place.heard.setdefault(engine, now) >= IDLE_SECONDS:
            place.heard[engine] = now  # the next probe is due so long after this one began
            self._begin_try(place, engine)

    def _begin_try(self, place: Place, engine: str) -> None:
        begin(self._returning, f"{place.name} {engine}", lambda: self._try(place, engine))

    async def _try(self, place: Place, engine: str) -> None:
        """A real inference, which decides."""
        try:
            await self._infer(place, engine)
        except Unavailable as error:
            if isinstance(error, TooSlow) and not any(other.serves(engine) for other in self.places if other is not place):
                # On a busy host all are slow: a late answer is better than none, and the client ends what waits in vain.
                log.error("%s, and no other serves %s: %s", place.name, engine, error.what)
            elif not place.out_until:
                # One that restarted holds no engine: that is loaded, as on its return.
                self._put_out(place, error.what)
        except RatchetError as error:
            log.error("a probe of %s on %s said: %s", engine, place.name, error.what)

    async def _infer(self, place: Place, engine: str) -> None:
        """A real inference. Unavailable when it fails or takes too long; a crashed engine is mended meanwhile and no error."""
        try:
            async with asyncio.timeout(places.PROBE_SECONDS):
                await place.server.probe(engine)
        except EngineCrashed as error:
            self._failed(place, engine, error)
        except TimeoutError:
            raise TooSlow("a real inference takes too long", where=place.name) from None
        else:
            place.answered(engine)

    async def _load(self, place: Place, engine: str) -> RatchetError | None:
        place.loading.add(engine)
        try:
            await place.server.ensure_loaded(engine)
        except RatchetError as error:
            if isinstance(error, Unavailable) and not await place.server.ready():
                # Not there at all, such as an instance that the site may grow by: no request has to find that out.
                if not place.out_until:
                    self._put_out(place, error.what)
            else:
                place.broken.setdefault(engine, "not loaded")
            return error
        finally:
            place.loading.discard(engine)
            place.heard[engine] = time.monotonic()  # idle from now on
        if place.broken.get(engine) == "not loaded":
            del place.broken[engine]
        return None

    # --- small things -------------------------------------------------------------------------------------------------

    def _count(self, name: str, *labels: str) -> None:
        if self._metrics is not None:
            self._metrics.count(name, *labels)

    def _show(self, place: Place) -> None:
        if self._metrics is not None:
            self._metrics.set("ratchet_instance_up", 0 if place.out_until else 1, place.name)

    def _all_out(self) -> Unavailable:
        names = ", ".join(place.name for place in self.places)
        return Unavailable("no Triton answers", where=names, todo="docs/runbooks/triton-down.md")


def _weight(conversation: str, instance: str) -> bytes:
    return hashlib.blake2b(f"{instance}\n{conversation}".encode(), digest_size=8).digest()


def _generator(pieces: Any) -> Any:
    """What `stream` gives is an asynchronous generator, which its type does not say."""
    return pieces
