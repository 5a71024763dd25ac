"""Traces: to a real OTLP receiver, under the caller's trace, without a word of a question; and nothing at all when off."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator

import pytest
from otlp_receiver import Received, receiver

from pipelines.config import PROJECT
from pipelines.serving import telemetry
from pipelines.serving.telemetry import outgoing, request_span, span

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"


@pytest.fixture
def received(monkeypatch: pytest.MonkeyPatch) -> Iterator[Received]:
    with receiver() as made:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", made.url)
        assert telemetry.start() and telemetry.start(), "a second start changes nothing"
        yield made
        telemetry.stop()


def attributes(found: object) -> dict[str, object]:
    return {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in found.attributes}  # type: ignore[attr-defined]


def test_spans_lie_in_one_another_under_the_callers_trace(received: Received) -> None:
    headers = [(b"host", b"x"), (b"traceparent", f"00-{TRACE}-{PARENT}-01".encode())]

    async def ask() -> dict[str, str]:
        with request_span("chat", headers, domain="law") as request:
            with span("retrieve", passages=3):
                await asyncio.sleep(0)
            with span("triton", engine="llm_ab12", instance="127.0.0.1:8000"):
                sent = outgoing()
            request.set(status=200, cached=False)
        return sent

    sent = asyncio.run(ask())
    telemetry.stop()
    chat, retrieve, triton = (received.named(name) for name in ("chat", "retrieve", "triton"))
    assert {found.trace_id.hex() for found in (chat, retrieve, triton)} == {TRACE}
    assert chat.parent_span_id.hex() == PARENT and chat.kind == 2, "SPAN_KIND_SERVER"
    assert retrieve.parent_span_id == triton.parent_span_id == chat.span_id
    assert sent == {"traceparent": f"00-{TRACE}-{triton.span_id.hex()}-01"}, "Triton goes on under the span that asked it"
    assert attributes(chat) == {"ratchet.domain": "law", "ratchet.status": 200, "ratchet.cached": False}
    assert received.services == {"ratchet-gateway"}


def test_no_text_and_no_message_of_an_error_goes_out(received: Received) -> None:
    secret = "What does Mrs Example of 12 High Street owe?"
    with pytest.raises(ValueError), span("render", question=secret, count=1, empty=None, long="x" * 81) as found:
        found.set(answer=secret)
        raise ValueError(secret)
    telemetry.stop()
    assert attributes(received.named("render")) == {"ratchet.count": 1, "error.type": "ValueError"}
    assert (received.named("render").status.code, received.named("render").status.message) == (2, "ValueError")
    assert b"Example" not in received.raw and b"High Street" not in received.raw and b"Traceback" not in received.raw


def test_a_cancelled_stream_is_no_error(received: Received) -> None:
    async def stream() -> None:
        with span("stream"):
            await asyncio.sleep(60)

    async def leave() -> None:
        task = asyncio.create_task(stream())
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(leave())
    telemetry.stop()
    assert received.named("stream").status.code == 0 and attributes(received.named("stream")) == {"error.type": "CancelledError"}


@pytest.mark.parametrize("bad", [b"00-zz-1-01", b"", b"\xff\xfe", b"00-" + b"0" * 32 + b"-" + b"0" * 16 + b"-01", b"x" * 9000])
def test_a_malformed_traceparent_begins_a_new_trace(received: Received, bad: bytes) -> None:
    with request_span("chat", [(b"traceparent", bad)]):
        pass
    telemetry.stop()
    assert received.named("chat").parent_span_id == b"" and any(received.named("chat").trace_id)


def test_a_span_apart_is_a_child_and_never_current(received: Received) -> None:
    async def pieces() -> AsyncIterator[int]:
        with telemetry.span_apart("triton"):
            yield 1
            yield 2

    async def ask() -> None:
        with span("chat"):
            async for _ in pieces():
                with span("piece"):
                    pass

    asyncio.run(ask())
    telemetry.stop()
    chat, triton = received.named("chat"), received.named("triton")
    assert triton.parent_span_id == chat.span_id
    assert {found.parent_span_id for found in received.spans if found.name == "piece"} == {chat.span_id}


def test_baggage_is_not_carried_on(received: Received) -> None:
    with request_span("chat", [(b"baggage", b"patient=Example")]):
        assert "baggage" not in outgoing()
    telemetry.stop()
    assert b"Example" not in received.raw


def test_off_it_does_nothing_and_imports_nothing() -> None:
    code = """
import sys
from pipelines.serving import telemetry
assert not telemetry.start()
with telemetry.request_span("chat", [(b"traceparent", b"x")]) as request, telemetry.span("retrieve", passages=3):
    request.set(status=200)
assert telemetry.outgoing() == {}
telemetry.stop()
assert not [name for name in sys.modules if name.startswith("opentelemetry")]
"""
    env = {"PYTHONPATH": str(PROJECT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, done.stderr


def test_an_endpoint_that_is_not_there_holds_nobody_up(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    from free_ports import free_port

    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"http://127.0.0.1:{free_port()}/v1/traces")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    assert telemetry.start()
    with span("chat"):
        pass
    telemetry.stop()
    assert span("chat") is span("another"), "off again"
