"""Talks to Triton: load, probe, generate. The gateway uses the asynchronous half, steps the other.

A crashed Python stub still looks healthy to Triton (model, server and index all say READY), so only a real inference proves an engine.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, TypeVar

from pipelines.config import Settings
from pipelines.errors import BadInput, RatchetError, Unavailable
from pipelines.serving import triton

PROBE = "[1] The office opens at 9.\nQuestion: When does the office open?\nAnswer:"
LOAD_SECONDS = 300.0
T = TypeVar("T")


class EngineCrashed(Unavailable):
    """The engine's process is gone while Triton still calls it ready; `mend` brings it back."""


@dataclass(frozen=True, slots=True)
class Generated:
    """What the engine continued a prompt with. `confidence` is the mean probability of its tokens, in [0, 1]."""

    text: str
    tokens_in: int
    tokens_out: int
    confidence: float


class Engine:
    """One engine of this site's Triton, called from ordinary code. Each call opens its own connection, so threads may share it."""

    def __init__(self, settings: Settings, name: str) -> None:
        self.settings, self.name = settings, name

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
        self._call(lambda client: client.load_model(self.name), seconds=LOAD_SECONDS)

    def unload(self) -> None:
        """Unload and wait until it is gone."""
        self._call(lambda client: client.unload_model(self.name))
        deadline = time.monotonic() + 30
        while self.ready():
            if time.monotonic() > deadline:
                raise Unavailable(f"{self.name} does not unload", todo="restart Triton")
            time.sleep(0.02)

    def generate(self, prompts: Sequence[str], adapter: str = "", max_tokens: int = 48, chat: bool = False) -> list[Generated]:
        """One result per prompt. `chat`: as a turn of the base's chat template. BadInput: a prompt is too long; EngineCrashed;
        Unavailable: down, busy or too slow; RatchetError: the adapter cannot be used."""
        from tritonclient.http import InferInput

        found: list[Generated] = []
        for start in range(0, len(prompts), triton.MAX_BATCH):
            inputs = _inputs(InferInput, prompts[start : start + triton.MAX_BATCH], adapter, max_tokens, chat)
            found += _results(self._call(partial(_infer, name=self.name, inputs=inputs)))
        return found

    def probe(self, adapter: str = "", chat: bool = False) -> float:
        """Seconds of a real inference with that adapter, warmed. A crashed engine is mended once."""
        try:
            self.generate([PROBE], adapter, 4, chat)
        except EngineCrashed:
            self.mend()
            self.generate([PROBE], adapter, 4, chat)
        began = time.perf_counter()
        self.generate([PROBE], adapter, 4, chat)
        return time.perf_counter() - began

    def mend(self) -> None:
        """Unload and load: a plain load does nothing for a crashed engine."""
        self.unload()
        self.load()

    def _call(self, use: Callable[[Any], T], seconds: float = triton.SECONDS + 5.0) -> T:
        from tritonclient.http import InferenceServerClient

        client = InferenceServerClient(_address(self.settings), connection_timeout=5, network_timeout=seconds)
        try:
            return use(client)
        except Exception as error:
            raise translate(error, self.settings) from error
        finally:
            client.close()


class Server:
    """Triton as the gateway sees it: one pool of connections, many requests at once."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._locks: dict[str, asyncio.Lock] = {}

    @cached_property
    def _client(self) -> Any:
        """Opened at its first use: the pool of connections belongs to the running loop."""
        from tritonclient.http.aio import InferenceServerClient

        return InferenceServerClient(_address(self.settings), conn_limit=64, conn_timeout=triton.SECONDS + 5)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def ready(self) -> bool:
        """Whether the server answers at all."""
        try:
            async with asyncio.timeout(2):
                return bool(await self._client.is_server_live())
        except Exception:
            return False

    async def ensure_loaded(self, name: str) -> None:
        """Load the engine unless Triton calls it ready. Errors as `Engine.load`."""
        async with self._locks.setdefault(name, asyncio.Lock()):
            try:
                async with asyncio.timeout(2):
                    if await self._client.is_model_ready(name):
                        return
            except Exception as error:
                raise translate(error, self.settings) from error
            await asyncio.to_thread(Engine(self.settings, name).ensure_loaded)

    async def generate(self, name: str, prompt: str, adapter: str, max_tokens: int, chat: bool = False) -> Generated:
        """Errors as `Engine.generate`. A crashed engine is mended, and the request repeated, once."""
        try:
            return await self._generate(name, prompt, adapter, max_tokens, chat)
        except EngineCrashed:
            async with self._locks.setdefault(name, asyncio.Lock()):
                # Whoever waited here finds it mended by the one before.
                try:
                    return await self._generate(name, prompt, adapter, max_tokens, chat)
                except EngineCrashed:
                    await asyncio.to_thread(Engine(self.settings, name).mend)
            return await self._generate(name, prompt, adapter, max_tokens, chat)

    async def _generate(self, name: str, prompt: str, adapter: str, max_tokens: int, chat: bool = False) -> Generated:
        from tritonclient.http.aio import InferInput

        try:
            async with asyncio.timeout(triton.SECONDS + 5):
                return _results(await self._client.infer(name, _inputs(InferInput, [prompt], adapter, max_tokens, chat)))[0]
        except Exception as error:
            raise translate(error, self.settings) from error


def wait_ready(settings: Settings, seconds: float = 20.0, alive: Callable[[], bool] = lambda: True) -> None:
    """Wait until the server answers. `alive` tells whether our process still runs: with its ports taken it exits, and an older server
    on them would answer in its place. Unavailable when it does not come up."""
    from tritonclient.http import InferenceServerClient

    deadline = time.monotonic() + seconds
    while alive() and time.monotonic() < deadline:
        client = InferenceServerClient(_address(settings), connection_timeout=1, network_timeout=2)
        try:
            if client.is_server_live() and alive():
                return
        except Exception:
            time.sleep(0.02)
        finally:
            client.close()
    raise Unavailable("Triton did not come up", where=settings.url("triton_http"), todo=f"read {settings.logs / 'triton.log'}")


def translate(error: Exception, settings: Settings) -> RatchetError:
    """What went wrong in our words. Never quotes a prompt: the engine's messages do not hold one."""
    from tritonclient.utils import InferenceServerException

    if isinstance(error, RatchetError):
        return error
    where = settings.url("triton_http")
    if not isinstance(error, InferenceServerException) or not error.message():
        kind = "is too slow" if isinstance(error, TimeoutError) else "does not answer"
        return Unavailable(f"Triton {kind}", where=where, todo="see `ratchet status` and the log of Triton")
    message = " ".join(str(error.message()).split())
    if "is not healthy" in message:
        return EngineCrashed("the engine's process is gone", where=where, todo="unload and load it")
    for kind, make in (("prompt: ", BadInput), ("adapter: ", RatchetError), ("timeout: ", Unavailable), ("engine: ", Unavailable)):
        if kind in message:
            return make(message.split(kind, 1)[1].rstrip("'\""), where="the engine")
    if "connect" in message.lower() or "refused" in message.lower():
        return Unavailable("Triton does not answer", where=where, todo="see `ratchet status` and the log of Triton")
    return Unavailable(f"Triton said: {message[:300]}", where=where, todo="see the log of Triton")


def _address(settings: Settings) -> str:
    return settings.url("triton_http").removeprefix("http://")


def _inputs(kind: Any, prompts: Sequence[str], adapter: str, max_tokens: int, chat: bool) -> list[Any]:
    """Tensors of shape [len(prompts), 1]. CHAT goes only where it is true: an engine loaded before there was one knows no such input."""
    import numpy

    size = len(prompts)
    columns = [
        ("PROMPT", "BYTES", numpy.array([prompt.encode() for prompt in prompts], dtype=numpy.object_)),
        ("ADAPTER", "BYTES", numpy.array([adapter.encode()] * size, dtype=numpy.object_)),
        ("MAX_TOKENS", "INT32", numpy.full(size, max_tokens, dtype=numpy.int32)),
    ]
    if chat:
        columns.append(("CHAT", "BOOL", numpy.full(size, True)))
    inputs = []
    for name, datatype, column in columns:
        one = kind(name, [size, 1], datatype)
        one.set_data_from_numpy(column.reshape(size, 1))
        inputs.append(one)
    return inputs


def _infer(client: Any, name: str, inputs: list[Any]) -> Any:
    return client.infer(name, inputs)


def _results(response: Any) -> list[Generated]:
    names = ("TEXT", "TOKENS_IN", "TOKENS_OUT", "CONFIDENCE")
    columns = [response.as_numpy(name).reshape(-1) for name in names]
    return [
        Generated(text.decode("utf-8", "replace"), int(tokens_in), int(tokens_out), float(confidence))
        for text, tokens_in, tokens_out, confidence in zip(*columns, strict=True)
    ]
