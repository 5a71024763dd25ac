"""Slow, endless and too many clients, on real sockets against a real uvicorn; and the honest ones that must live on."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import uvicorn
from free_ports import free_port

from pipelines.serving.http_limits import LimitedProtocol

pytestmark = pytest.mark.slow

counted: Counter[str] = Counter()
HEAD = b"POST / HTTP/1.1\r\nhost: x\r\n"


class Quick(LimitedProtocol):
    """The same limits in tenths of a second."""

    head_seconds, body_seconds, stall_seconds = 0.6, 0.6, 0.6
    body_rate = 100_000.0
    most_connections = 8
    count = staticmethod(lambda reason: counted.update([reason]))


async def app(scope: dict[str, Any], receive: Callable[[], Any], send: Callable[[Any], Any]) -> None:
    """Echoes the size of the body; `/long` writes for longer than every limit, `/much` more than a socket holds."""
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size, more = size + len(message["body"]), message["more_body"]
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    if scope["path"] == "/long":
        for _ in range(20):
            await send({"type": "http.response.body", "body": b"word ", "more_body": True})
            await asyncio.sleep(0.1)
    if scope["path"] == "/much":
        for _ in range(400):
            await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
    await send({"type": "http.response.body", "body": str(size).encode()})


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    port = free_port()
    config = uvicorn.Config(app, port=port, http=Quick, loop="uvloop", ws="none", log_level="critical", timeout_keep_alive=2)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield port
    server.should_exit = True
    thread.join(10)


@pytest.fixture(autouse=True)
def _fresh() -> None:
    counted.clear()


def connected(port: int) -> socket.socket:
    made = socket.create_connection(("127.0.0.1", port))
    made.settimeout(20)
    return made


def rest(client: socket.socket) -> bytes:
    """What comes until the other side closes."""
    found = b""
    try:
        while piece := client.recv(65536):
            found += piece
    except ConnectionResetError:
        pass
    return found


def one(client: socket.socket) -> bytes:
    """One whole reply of a kept-alive connection."""
    found = b""
    while not found.endswith(b"0\r\n\r\n"):
        piece = client.recv(65536)
        assert piece, found
        found += piece
    return found


def drip(client: socket.socket, first: bytes, piece: bytes) -> bytes:
    """Send a piece every tenth of a second until the other side has had enough; the reply."""
    try:
        client.sendall(first)
        for _ in range(200):
            client.sendall(piece)
            time.sleep(0.1)
    except OSError:
        return rest(client)
    raise AssertionError("it was let go on for ever")


@pytest.mark.parametrize(
    ("first", "piece"),
    [(HEAD, b"x-a: b\r\n"), (HEAD + b"x-long: ", b"y"), (b"", b"\r\n"), (b"P", b"")],
    ids=["header by header", "letter by letter", "empty lines", "one letter"],
)
def test_a_head_that_never_ends_is_closed(port: int, first: bytes, piece: bytes) -> None:
    with connected(port) as client:
        if piece:
            drip(client, first, piece)
        else:
            client.sendall(first)
            assert rest(client).startswith(b"HTTP/1.1 408 ")
    assert counted == {"head_too_slow": 1}


def test_a_connection_that_says_nothing_is_closed(port: int) -> None:
    with connected(port) as client:
        assert b'"code":"request_timeout"' in rest(client)
    assert counted == {"head_too_slow": 1}


@pytest.mark.parametrize("piece", [b"z", b""], ids=["dripped", "stalled"])
def test_a_body_that_never_ends_is_closed(port: int, piece: bytes) -> None:
    with connected(port) as client:
        if piece:
            drip(client, HEAD + b"content-length: 1000\r\n\r\n", piece)
        else:
            client.sendall(HEAD + b"content-length: 1000\r\n\r\nabc")
            assert rest(client).startswith(b"HTTP/1.1 408 ")
    assert counted == {"body_too_slow": 1}


def test_a_second_request_that_drips_is_closed_too(port: int) -> None:
    with connected(port) as client:
        client.sendall(HEAD + b"content-length: 3\r\n\r\nabc")
        assert one(client).endswith(b"1\r\n3\r\n0\r\n\r\n")
        drip(client, b"\r\n", b"\r\n")
    assert counted == {"head_too_slow": 1}


def test_a_head_too_large_is_refused_whole_or_in_pieces(port: int) -> None:
    with connected(port) as client:
        client.sendall(HEAD + b"x-a: " + b"y" * 40_000 + b"\r\ncontent-length: 0\r\n\r\n")
        assert b" 431 " in rest(client)
    with connected(port) as client:
        try:
            client.sendall(HEAD + b"x-a: ")
            for _ in range(1000):
                client.sendall(b"y" * 1000)
                time.sleep(0.001)
        except OSError:
            pass
        rest(client)
    assert counted == {"head_too_large": 2}


def test_one_connection_too_many_is_told_so_and_the_others_live(port: int) -> None:
    held = [connected(port) for _ in range(8)]
    try:
        for client in held:
            client.sendall(HEAD + b"content-length: 0\r\n\r\n")
            one(client)
        with connected(port) as further:
            assert b" 503 " in rest(further)
        held[0].sendall(HEAD + b"content-length: 1\r\n\r\n.")
        assert b"200 OK" in one(held[0])
    finally:
        for client in held:
            client.close()
    assert counted == {"connections": 1}


def test_a_client_that_takes_nothing_is_cut_off(port: int) -> None:
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", port))
        client.sendall(b"GET /much HTTP/1.1\r\nhost: x\r\n\r\n")
        deadline = time.monotonic() + 20
        while not counted and time.monotonic() < deadline:
            time.sleep(0.05)
    assert counted == {"reader_too_slow": 1}


def test_a_kept_alive_connection_and_a_long_answer_live_on(port: int) -> None:
    with connected(port) as client:
        for _ in range(3):
            client.sendall(HEAD + b"content-length: 2\r\n\r\nab")
            assert b"200 OK" in one(client)
            time.sleep(0.8)  # longer than a head may take, shorter than the keep-alive
        client.sendall(b"GET /long HTTP/1.1\r\nhost: x\r\n\r\n")
        assert one(client).count(b"word ") == 20
    assert not counted


def test_a_large_body_and_pipelined_requests_come_through(port: int) -> None:
    with connected(port) as client:
        size = 3_000_000
        client.sendall(HEAD + b"content-length: %d\r\n\r\n" % size + b"x" * size + HEAD + b"content-length: 1\r\n\r\n.")
        replies = one(client)
        while replies.count(b"200 OK") < 2:
            replies += one(client)
        assert str(size).encode() in replies
    assert not counted
