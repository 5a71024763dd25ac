"""A real HTTP server on loopback for tests: handlers by path, every request kept, bodies that can be cut short."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit


@dataclass
class Asked:
    """One request as it came."""

    method: str
    path: str
    query: list[tuple[str, str]]
    headers: dict[str, str]

    def get(self, key: str) -> str | None:
        return next((value for name, value in self.query if name == key), None)

    def all(self, key: str) -> list[str]:
        return [value for name, value in self.query if name == key]


@dataclass
class Reply:
    """What to answer. `sent` bytes of the body leave before the connection is cut."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    sent: int | None = None


Handler = Callable[[Asked], Reply]


@dataclass
class Server:
    url: str
    routes: dict[str, Handler] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)

    def on(self, path: str, *replies: Reply | Handler) -> None:
        """Answer in turn; the last one for good."""
        left = list(replies)

        def handle(asked: Asked) -> Reply:
            reply = left.pop(0) if len(left) > 1 else left[0]
            return reply if isinstance(reply, Reply) else reply(asked)

        self.routes[path] = handle

    def paths(self) -> list[str]:
        return [asked.path for asked in self.asked]


@contextmanager
def serving() -> Iterator[Server]:
    """The server for the length of the block."""
    made = Server("")

    class Answering(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            parts = urlsplit(self.path)
            asked = Asked(self.command, parts.path, parse_qsl(parts.query), {k.lower(): v for k, v in self.headers.items()})
            made.asked.append(asked)
            reply = made.routes.get(parts.path, lambda _: Reply(404))(asked)
            self.send_response(reply.status)
            for name, value in {"Content-Length": str(len(reply.body)), **reply.headers}.items():
                if value:
                    self.send_header(name, value)
            self.end_headers()
            body = reply.body if reply.sent is None else reply.body[: reply.sent]
            self.wfile.write(body)
            if reply.sent is not None:
                self.wfile.flush()
                self.close_connection = True

        do_GET = do_DELETE = do_POST = answer

        def log_message(self, *_: Any) -> None:
            return

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    httpd.daemon_threads = True
    made.url = f"http://127.0.0.1:{httpd.server_port}"
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        httpd.shutdown()
        httpd.server_close()
        thread.join()
