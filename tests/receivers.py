"""Receivers of alerts on loopback: an HTTP server and an SMTP server, each real, each as slow or as broken as a test wants."""

from __future__ import annotations

import json
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Hook:
    """What came, and how to answer: a status, after so many seconds."""

    port: int
    got: list[dict[str, Any]] = field(default_factory=list)
    status: int = 200
    waits: float = 0.0
    then: Callable[[], None] | None = None
    """Called once a message was read, before it is answered."""

    def url(self, path: str = "hook") -> str:
        return f"json://127.0.0.1:{self.port}/{path}"

    @property
    def titles(self) -> list[str]:
        return [one["title"] for one in self.got]


@contextmanager
def _serving(server: ThreadingHTTPServer | socketserver.ThreadingTCPServer) -> Iterator[None]:
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def hook() -> Iterator[Hook]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            text = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if made.status < 300:
                made.got.append(text)
            if made.then is not None:
                made.then()
            time.sleep(made.waits)
            self.send_response(made.status)
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made = Hook(server.server_address[1])
    with _serving(server):
        yield made


@dataclass
class Mailbox:
    """Mails as they were handed over, each whole."""

    port: int
    mails: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"mailto://127.0.0.1:{self.port}?smtp=127.0.0.1&mode=insecure&from=ratchet@example.org&to=duty@example.org"


@contextmanager
def mailbox() -> Iterator[Mailbox]:
    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.say("220 here")
            while line := self.rfile.readline():
                word = line[:4].upper()
                if word == b"DATA":
                    self.say("354 go on")
                    lines = []
                    while (part := self.rfile.readline()) not in (b".\r\n", b""):
                        lines.append(part.decode())
                    made.mails.append("".join(lines))
                self.say("221 bye" if word == b"QUIT" else "250 well")
                if word == b"QUIT":
                    return

        def say(self, text: str) -> None:
            self.wfile.write(text.encode() + b"\r\n")

    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
    made = Mailbox(server.server_address[1])
    with _serving(server):
        yield made
