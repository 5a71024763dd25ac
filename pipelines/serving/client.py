"""Talks to Triton: load, probe, generate, stream. The gateway uses the asynchronous half, steps the other.

Engines are loaded over gRPC, which keeps HTTP free for answers. A whole answer comes over HTTP (aiohttp), which takes a third of the
client's time that gRPC does; a streamed one over gRPC, where closing the stream cancels the work. A crashed Python stub still looks
healthy to Triton (model, server and index all say READY), and never answers what it had begun: while requests are under way the engine is
asked, now and then, for something that costs it nothing.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from functools import cached_property
from typing import Any, TypeVar

from pipelines.config import Settings, TritonInstance
from pipelines.errors import RatchetError, Unavailable
from pipelines.serving import telemetry, triton
from pipelines.serving.exchange import Ask, EngineCrashed, Generated, address, fields, from_message, tensors, translate

PROBE = "[1] The office opens at 9.\nQuestion: When does the office open?\nAnswer:"
LOAD_SECONDS = 300.0
LOOK_SECONDS = 0.5
"""Pause between two looks at an engine that requests wait for."""
LIVE_SECONDS = 3.0
LIVE_MISSES = 2
"""A server that does not say in so many seconds that it is alive, so many times in a row, is hung; once may be a busy host."""
UNKNOWN = "unknown model"
"""In what Triton says of an engine that it does not hold."""
TOGETHER = 64
"""Requests that a step sends at once: more than an engine's slots, less than its queue."""
T = TypeVar("T")
log = logging.getLogger("ratchet.fleet")


class Engine:
    """One engine of a Triton, called from ordinary code (not from within an event loop). Each call opens its own connections, so threads
    may share it. `instance`: none is this site's own Triton."""

    def __init__(self, settings: Settings, name: str, instance: TritonInstance | None = None) -> None:
        self.settings, self.name, self.instance = settings, name, instance

    def ready(self) -> bool:
        """Whether Triton calls it ready; False also when Triton is down. Says nothing about a crashed stub."""
        try:
            return bool(self._call(lambda client: client.is_model_ready(self.name)))
        except Unavailable:
            return False

    def ensure_loaded(self) -> None:
        """Write its files where they are missing or stale, and load it; quick when nothing changed."""
        triton.prepare_known(self.settings, self.name)
        self.load()

    def load(self) -> None:
        """Load; Unavailable with Triton's reason when it fails. A no-op in Triton when nothing changed on disk."""
        self._order(lambda client: client.load_model(self.name, client_timeout=LOAD_SECONDS))

    def unload(self) -> None:
        """Unload and wait until it is gone."""
        self._order(lambda client: client.unload_model(self.name, client_timeout=triton.SECONDS + 5.0))
        deadline = time.monotonic() + 30
        while self.ready():
            if time.monotonic() > deadline:
                raise Unavailable(f"{self.name} does not unload", todo="restart Triton")
            time.sleep(0.02)

    def generate(
        self, prompts: Sequence[str], adapter: str = "", max_tokens: int = 48, chat: bool = False, adapter_sha256: str = ""
    ) -> list[Generated]:
        """One result per prompt, all asked at once. BadInput: a prompt is too long; EngineCrashed; Unavailable: down, busy or too slow;
        RatchetError: the adapter cannot be used. Of several errors the first prompt's is raised, when all have ended."""
        return asyncio.run(self._all([Ask(prompt, adapter, max_tokens, chat, adapter_sha256) for prompt in prompts]))

    def probe(self, adapter: str = "", chat: bool = False, adapter_sha256: str = "") -> float:
        """Seconds of a real inference with that adapter, warmed. A crashed engine is mended once."""
        try:
            self.generate([PROBE], adapter, 4, chat, adapter_sha256)
        except EngineCrashed:
            self.mend()
            self.generate([PROBE], adapter, 4, chat, adapter_sha256)
        began = time.perf_counter()
        self.generate([PROBE], adapter, 4, chat, adapter_sha256)
        return time.perf_counter() - began

    def mend(self) -> None:
        """Unload and load: a plain load does nothing for a crashed engine."""
        self.unload()
        self.load()

    async def _all(self, asks: Sequence[Ask]) -> list[Generated]:
        server, slots = Server(self.settings, self.instance), asyncio.Semaphore(TOGETHER)

        async def one(ask: Ask) -> Generated:
            async with slots:
                return await server.generate(self.name, ask)

        try:
            found = await asyncio.gather(*(one(ask) for ask in asks), return_exceptions=True)
        finally:
            await server.close()
        for each in found:
            if isinstance(each, BaseException):
                raise each
        return [each for each in found if isinstance(each, Generated)]

    def _call(self, use: Callable[[Any], T]) -> T:
        from tritonclient.http import InferenceServerClient

        where = address(self.settings, self.instance).http
        return _used(InferenceServerClient(where, connection_timeout=5, network_timeout=triton.SECONDS + 5.0), where, use)

    def _order(self, use: Callable[[Any], None]) -> None:
        """Over gRPC: while Triton loads a model that it was asked for over HTTP, the open connections of its HTTP server wait, all of
        them (measured on 2.51), and with them every answer of every other engine."""
        from tritonclient.grpc import InferenceServerClient

        where = address(self.settings, self.instance).grpc
        _used(InferenceServerClient(where), where, use)


def _used(client: Any, where: str, use: Callable[[Any], T]) -> T:
    try:
        return use(client)
    except Exception as error:
        raise translate(error, where) from error
    finally:
        client.close()


class Server:
    """A Triton as the gateway sees it: a pool of connections, many requests at once. `instance`: none is this site's own.

    Nothing here is repeated or mended by itself: `fleet.Fleet` decides that."""

    def __init__(self, settings: Settings, instance: TritonInstance | None = None) -> None:
        self.settings, self.instance = settings, instance
        self.where = address(settings, instance)
        self._locks: dict[str, asyncio.Lock] = {}
        self._flying: dict[str, set[_Flight]] = {}
        self._watching: dict[str, asyncio.Task[None]] = {}

    @cached_property
    def _http(self) -> Any:
        """Opened at its first use: a pool of connections belongs to the running loop."""
        import aiohttp

        # The deadline of a request is ours (`_generate`); a connection that stands ready for longer may have been closed by the server.
        limits = aiohttp.ClientTimeout(total=None, sock_connect=2.0)
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=30.0)
        return aiohttp.ClientSession(f"http://{self.where.http}", connector=connector, timeout=limits, trust_env=False)

    @cached_property
    def _grpc(self) -> Any:
        from tritonclient.grpc.aio import InferenceServerClient

        return InferenceServerClient(self.where.grpc)

    async def close(self) -> None:
        """Close the connections."""
        for task in self._watching.values():
            task.cancel()
        if "_http" in self.__dict__:
            await self._http.close()
        if "_grpc" in self.__dict__:
            await self._grpc.close()

    async def ready(self) -> bool:
        """Whether the server answers at all."""
        try:
            async with asyncio.timeout(2), self._http.get("/v2/health/live") as response:
                return bool(response.status == 200)
        except Exception:
            return False

    async def ensure_loaded(self, engine: str) -> None:
        """Load the engine unless Triton calls it ready. Errors as `Engine.load`."""
        async with self._locks.setdefault(engine, asyncio.Lock()):
            try:
                async with asyncio.timeout(2), self._http.get(f"/v2/models/{engine}/ready") as response:
                    if response.status == 200:
                        return
            except Exception as error:
                raise translate(error, self.where.http) from error
            await asyncio.to_thread(Engine(self.settings, engine, self.instance).ensure_loaded)

    async def probe(self, engine: str) -> float:
        """Seconds of a real inference of the base. Errors as `generate`."""
        began = time.perf_counter()
        await self.generate(engine, Ask(PROBE, max_tokens=4))
        return time.perf_counter() - began

    async def mend(self, engine: str) -> None:
        """Unload and load."""
        async with self._locks.setdefault(engine, asyncio.Lock()):
            await asyncio.to_thread(Engine(self.settings, engine, self.instance).mend)

    async def generate(self, engine: str, ask: Ask) -> Generated:
        """The whole answer. BadInput: the prompt is too long; EngineCrashed; Unavailable: down, busy, hung or too slow; RatchetError: the
        adapter cannot be used."""
        flight = _Flight(self, engine)
        try:
            async with flight:
                return await self._generate(engine, ask)
        finally:
            flight.over()

    async def stream(self, engine: str, ask: Ask) -> AsyncIterator[str | Generated]:
        """Pieces of text as they are written, then the whole answer. Closing the generator cancels the work in Triton. Errors as
        `generate`; they may come after pieces did."""

        async def requests() -> AsyncIterator[dict[str, Any]]:
            yield {"model_name": engine, "inputs": tensors({**fields(ask), "STREAM": True})}

        answers: Any = None
        flight = _Flight(self, engine)
        try:
            answers = self._grpc.stream_infer(requests(), headers=telemetry.outgoing() or None)
            while True:
                # Around each wait, not around the yields: a timeout must not run in its caller's code.
                async with flight:
                    result, error = await anext(answers)
                    if error is not None:
                        raise error
                text = result.as_numpy("TEXT").reshape(-1)[0].decode("utf-8", "replace")
                if not result.as_numpy("FINAL").reshape(-1)[0]:
                    yield text
                    continue
                numbers = [result.as_numpy(name).reshape(-1)[0] for name in ("TOKENS_IN", "TOKENS_OUT", "CONFIDENCE", "MIN_LOGPROB")]
                yield Generated(text, int(numbers[0]), int(numbers[1]), float(numbers[2]), float(numbers[3]))
                return
        except GeneratorExit:
            raise
        except Exception as error:
            raise translate(error, self.where.grpc) from error
        finally:
            flight.over()
            if answers is not None:
                answers.cancel()

    async def _generate(self, engine: str, ask: Ask) -> Generated:
        import orjson

        async with self._http.post(
            f"/v2/models/{engine}/generate",
            data=orjson.dumps(fields(ask)),
            headers={"Content-Type": "application/json", **telemetry.outgoing()},
        ) as response:
            raw = await response.read()
        try:
            said = orjson.loads(raw)
            if response.status == 200:
                return Generated(
                    str(said["TEXT"]),
                    int(said["TOKENS_IN"]),
                    int(said["TOKENS_OUT"]),
                    float(said["CONFIDENCE"]),
                    float(said["MIN_LOGPROB"]),
                )
            message = str(said["error"])
        except (ValueError, KeyError, TypeError) as error:
            raise Unavailable("Triton's answer cannot be read", where=self.where.http, todo="see the log of Triton") from error
        raise from_message(message, self.where.http)

    def _begun(self, flight: _Flight) -> None:
        self._flying.setdefault(flight.engine, set()).add(flight)
        if flight.engine not in self._watching or self._watching[flight.engine].done():
            self._watching[flight.engine] = asyncio.create_task(self._look(flight.engine))

    def _crashed(self, engine: str, fault: EngineCrashed) -> None:
        """Nothing that was begun is answered any more, and soon somebody loads the engine anew: ended now, or never found again."""
        for flight in list(self._flying.get(engine, ())):
            flight.end(fault)

    async def _look(self, engine: str) -> None:
        """While requests are under way: whether server and engine still live. Those that wait in vain are ended."""
        missed = 0
        while True:
            known = set(self._flying.get(engine, ()))
            await asyncio.sleep(LOOK_SECONDS)
            if not self._flying.get(engine):
                return
            old = known & self._flying[engine]
            if not old:
                continue
            try:
                fault, missed = await self._fault(engine), 0
            except TimeoutError as error:
                missed += 1
                log.warning("%s does not say whether it lives (%d in a row)", self.where.http, missed)
                fault = translate(error, self.where.http) if missed >= LIVE_MISSES else None
            if isinstance(fault, EngineCrashed):
                self._crashed(engine, fault)
            elif fault is not None:
                for flight in old & self._flying[engine]:
                    flight.end(fault)

    async def _fault(self, engine: str) -> RatchetError | None:
        """What is wrong. TimeoutError: the server does not say whether it lives."""
        try:
            async with asyncio.timeout(LIVE_SECONDS), self._http.get("/v2/health/live") as response:
                await response.read()
        except TimeoutError:
            raise
        except Exception as error:
            return translate(error, self.where.http)
        try:
            # Refused by the engine before it costs anything; a crashed one cannot say so. One whose slots are all taken lets it wait.
            async with asyncio.timeout(LIVE_SECONDS):
                await self._generate(engine, Ask("", max_tokens=0))
        except EngineCrashed as error:
            return error
        except Unavailable as error:
            # Engines are unloaded only to mend them: another process found the crash, and what ours had begun is as lost.
            return EngineCrashed("the engine is being loaded anew", where=self.where.http) if UNKNOWN in error.what else None
        except Exception:
            return None
        return None


class _Flight:
    """A request under way, from its first byte to `over`: a deadline around each of its waits, within which it may be ended for another
    reason. As a class: cheaper than a generator in the hot path."""

    __slots__ = ("engine", "fault", "limit", "server", "timeout")

    def __init__(self, server: Server, engine: str) -> None:
        self.server, self.engine = server, engine
        self.limit = asyncio.get_running_loop().time() + 2 * triton.seconds_of(server.settings, engine) + 5.0
        self.fault: RatchetError | None = None
        self.timeout: asyncio.Timeout | None = None
        server._begun(self)

    def over(self) -> None:
        """It is answered, or given up."""
        self.server._flying[self.engine].discard(self)

    def end(self, fault: RatchetError) -> None:
        """Its wait, or the next one, raises `fault`."""
        self.fault = fault
        if self.timeout is not None:
            self.timeout.reschedule(asyncio.get_running_loop().time())

    async def __aenter__(self) -> None:
        if self.fault is not None:
            raise self.fault
        self.timeout = asyncio.timeout_at(self.limit)
        await self.timeout.__aenter__()

    async def __aexit__(self, kind: Any, error: Any, trace: Any) -> None:
        timeout, self.timeout = self.timeout, None
        try:
            if timeout is not None:
                await timeout.__aexit__(kind, error, trace)
        except TimeoutError as late:
            raise self.fault or translate(late, self.server.where.http) from late
        if isinstance(error, Exception) and not isinstance(error, StopAsyncIteration):
            found = translate(error, self.server.where.http)
            if isinstance(found, EngineCrashed):
                self.server._crashed(self.engine, found)
            raise found from error


def wait_ready(settings: Settings, seconds: float = 20.0, alive: Callable[[], bool] = lambda: True) -> None:
    """Wait until the server answers. `alive` tells whether our process still runs: with its ports taken it exits, and an older server
    on them would answer in its place. Unavailable when it does not come up."""
    from tritonclient.http import InferenceServerClient

    deadline = time.monotonic() + seconds
    while alive() and time.monotonic() < deadline:
        client = InferenceServerClient(address(settings).http, connection_timeout=1, network_timeout=2)
        try:
            if client.is_server_live() and alive():
                return
        except Exception:
            time.sleep(0.02)
        finally:
            client.close()
    raise Unavailable("Triton did not come up", where=settings.url("triton_http"), todo=f"read {settings.logs / 'triton.log'}")
