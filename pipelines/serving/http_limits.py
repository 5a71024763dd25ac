"""What uvicorn leaves open: a client that sends its request, or takes its answer, so slowly that it holds a connection (slow-loris).

`uvicorn.run(..., http=LimitedProtocol)`. The rules are those of Apache's mod_reqtimeout (`header=10 body=20,MinRate=500`): a head has a
time to be whole, a body has a time that grows with what was received. A kept-alive connection and a long answer are not touched.
"""

from __future__ import annotations

import asyncio
import math
from asyncio.events import TimerHandle
from collections.abc import Awaitable, Callable
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_ERROR = b'{"error":{"message":"%s","type":"%s","param":null,"code":"%s"}}'
_TYPE = b"invalid_request_error"
REFUSALS = {
    "head_too_slow": (b"408 Request Timeout", _ERROR % (b"the request's head took too long", _TYPE, b"request_timeout")),
    "body_too_slow": (b"408 Request Timeout", _ERROR % (b"the request's body took too long", _TYPE, b"request_timeout")),
    "head_too_large": (b"431 Request Header Fields Too Large", _ERROR % (b"the request's head is too large", _TYPE, b"headers_too_large")),
    "connections": (b"503 Service Unavailable", _ERROR % (b"too many connections", b"server_error", b"unavailable")),
}


class LimitedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with limits. A subclass may set others; a class, not a factory, because uvicorn's workers are spawned with it."""

    head_seconds = 10.0
    """From the connection, or from a request's first byte, until its head is whole."""
    body_seconds = 20.0
    """Until a body is whole, and one second more for every `body_rate` bytes received."""
    body_rate = 500.0
    stall_seconds = 20.0
    """Without one byte of a body; and without a client taking what was written for it."""
    head_bytes = 32 * 1024
    most_connections = 1000
    """Of one process. Further ones are told 503 and closed."""

    @staticmethod
    def count(reason: str) -> None:
        """Told the reason of every refusal: a key of REFUSALS, or `reader_too_slow`. See `count_with`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._watch: TimerHandle | None = None
        self._in_head, self._head_size, self._head_counted = False, 0, 0
        self._head_until = self._body_until = self._stalls_at = self._taken_by = math.inf

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Refuse at once what is too much, else begin to watch."""
        super().connection_made(transport)
        if len(self.connections) > self.most_connections:
            self._refuse("connections")
            return
        self._head_until = self.loop.time() + self.head_seconds
        self._look_again(self.head_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop watching."""
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feed the parser, and note that something came."""
        if self.transport.is_closing():
            return  # refused: what comes in the same breath is not read any more
        if self._body_until != math.inf:
            self._body_until += len(data) / self.body_rate
            self._stalls_at = self.loop.time() + self.stall_seconds
        elif self._head_until == math.inf and (self.cycle is None or self.cycle.response_complete):
            # Also for bytes that begin no request, such as empty lines: uvicorn has just taken its keep-alive time-out off.
            self._head_until = self.loop.time() + self.head_seconds
        super().data_received(data)
        if self._in_head:
            # The parser keeps a header to itself until it is whole, so what is not whole is counted as it comes; not the piece in which
            # the head began, which may hold the end of the request before.
            self._head_size = 0 if self._head_size < 0 else self._head_size + len(data)
            if self._head_size > self.head_bytes:
                self._refuse("head_too_large")

    def on_message_begin(self) -> None:
        """A request's first byte."""
        super().on_message_begin()
        self._in_head, self._head_size, self._head_counted = True, -1, 0
        if self._head_until == math.inf:
            self._head_until = self.loop.time() + self.head_seconds

    def on_url(self, url: bytes) -> None:
        """A part of the address."""
        self._head_counted += len(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One whole header; four bytes are its colon, space and line end."""
        self._head_counted += len(name) + len(value) + 4
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is whole: from here on the body has its time."""
        now = self.loop.time()
        self._in_head, self._head_until = False, math.inf
        self._body_until, self._stalls_at = now + self.body_seconds, now + self.stall_seconds
        if self._head_counted <= self.head_bytes:
            super().on_headers_complete()
            return
        self.count("head_too_large")
        app, self.app = self.app, _too_large
        try:
            super().on_headers_complete()
        finally:
            self.app = app

    def on_message_complete(self) -> None:
        """The request is whole: the time is ours now."""
        self._body_until = self._stalls_at = math.inf
        super().on_message_complete()

    def pause_writing(self) -> None:
        """The client takes nothing: it has a while to go on."""
        self._taken_by = self.loop.time() + self.stall_seconds
        super().pause_writing()

    def resume_writing(self) -> None:
        """It took something."""
        self._taken_by = math.inf
        super().resume_writing()

    def _look_again(self, seconds: float) -> None:
        # One timer for a connection's whole life, not one for every request: a deadline that moved on only makes it look again.
        self._watch = self.loop.call_later(seconds, self._look)

    def _look(self) -> None:
        if self.transport.is_closing():
            return
        now = self.loop.time()
        if self.flow.read_paused:
            # We stopped reading, so it is not the client that is slow.
            self._head_until, self._body_until, self._stalls_at = (
                until if until == math.inf else max(until, now + self.head_seconds)
                for until in (self._head_until, self._body_until, self._stalls_at)
            )
        if now >= self._taken_by:
            self.count("reader_too_slow")
            self.transport.abort()
        elif now >= self._head_until:
            self._refuse("head_too_slow")
        elif now >= min(self._body_until, self._stalls_at):
            self._refuse("body_too_slow")
        else:
            longest = min(self.head_seconds, self.body_seconds, self.stall_seconds)
            due = min(self._head_until, self._body_until, self._stalls_at, self._taken_by) - now
            self._look_again(min(max(due, 0.01), longest))

    def _refuse(self, reason: str) -> None:
        """Say why, where no answer has begun, and close. What the client does not take is thrown away rather than kept."""
        self.count(reason)
        answering = self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete
        if answering or self.transport.get_write_buffer_size():
            self.transport.abort()
            return
        status, body = REFUSALS[reason]
        head = b"HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % (status, len(body))
        self.transport.write(head + body)
        self.transport.close()


def count_with(counter: Callable[[str], None]) -> None:
    """Have this process's refusals counted."""
    LimitedProtocol.count = staticmethod(counter)  # type: ignore[method-assign, assignment]


async def _too_large(_scope: Any, _receive: Any, send: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
    """The application for a request whose head came whole but is too large."""
    body = REFUSALS["head_too_large"][1]
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 431, "headers": headers})
    await send({"type": "http.response.body", "body": body})
