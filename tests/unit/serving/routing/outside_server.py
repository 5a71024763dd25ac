"""A provider on loopback that does what a test tells it to, and keeps what it was asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


def completion(text: str, logprobs: list[float] | None = None, **more: Any) -> dict[str, Any]:
    """A chat completion as OpenAI writes it."""
    choice: dict[str, Any] = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    if logprobs is not None:
        choice["logprobs"] = {"content": [{"token": "x", "logprob": value, "bytes": None, "top_logprobs": []} for value in logprobs]}
    usage = {"prompt_tokens": 20, "completion_tokens": 4, "total_tokens": 24}
    return {"id": "c", "object": "chat.completion", "created": 1, "model": "far", "choices": [choice], "usage": usage, **more}


class Far:
    """`says`: what it answers, one after another; the last goes on for good."""

    def __init__(self) -> None:
        self.url = ""
        self.says: list[Answer] = []
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []

    def answers(self, *says: Answer) -> None:
        self.says = list(says)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(await request.json())
        self.headers.append(dict(request.headers))
        answer = self.says[0] if len(self.says) == 1 else self.says.pop(0)
        return await answer(request)


@asynccontextmanager
async def far_server() -> AsyncIterator[Far]:
    """The server, running in this loop."""
    far = Far()
    app = web.Application()
    app.router.add_post("/v1/chat/completions", far.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    far.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    try:
        yield far
    finally:
        await runner.cleanup()


def gives(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Answer:
    async def answer(_: web.Request) -> web.StreamResponse:
        if isinstance(value, bytes):
            return web.Response(body=value, status=status, headers=headers, content_type="application/json")
        return web.json_response(value, status=status, headers=headers)

    return answer


async def hangs(_: web.Request) -> web.StreamResponse:
    await asyncio.sleep(3600)
    raise AssertionError


async def trickles(request: web.Request) -> web.StreamResponse:
    """A byte at a time, for ever."""
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b" ")
        await asyncio.sleep(0.01)


async def floods(request: web.Request) -> web.StreamResponse:
    """10 MB without saying so beforehand."""
    response = web.StreamResponse()
    await response.prepare(request)
    for _ in range(160):
        await response.write(b"x" * 65_536)
    return response


async def hangs_up(request: web.Request) -> web.StreamResponse:
    """Closes the connection in the middle of its answer."""
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b'{"choices": [')
    assert request.transport is not None
    request.transport.close()
    return response
