"""OpenTelemetry traces: gateway, retrieval, Triton. Off unless OTEL_EXPORTER_OTLP_ENDPOINT (or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT) is set.

Off, a span costs a third of a microsecond and nothing of OpenTelemetry is imported. On, spans go in batches over OTLP/HTTP to that
endpoint and nowhere else; every variable of OpenTelemetry's own (sampler, headers, service name) holds. An attribute is a number, or one
short word: text of a question or an answer cannot be one, and an error is named by its kind alone.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
WORD = re.compile(r"[A-Za-z0-9_.:/@+-]{1,80}")
Value = str | int | float | bool | None


class _Nothing:
    """A span where nobody listens; one for all."""

    __slots__ = ()

    def __enter__(self) -> _Nothing:
        return self

    def __exit__(self, *_error: object) -> None:
        return None

    def set(self, **_attributes: Value) -> None:
        """Nobody listens."""


class Span:
    """A span under way."""

    __slots__ = ("_apart", "_attributes", "_current", "_kind", "_name", "_parent", "_span")

    def __init__(self, name: str, attributes: Mapping[str, Value], parent: Any = None, kind: Any = None, *, apart: bool = False) -> None:
        self._name, self._attributes, self._parent, self._kind, self._apart = name, attributes, parent, kind, apart

    def __enter__(self) -> Span:
        from opentelemetry.trace import SpanKind, use_span

        self._span = _state.tracer.start_span(
            self._name, context=self._parent, kind=self._kind or SpanKind.INTERNAL, attributes=_words(self._attributes)
        )
        if self._apart:
            return self
        # Neither the error's words nor its traceback: they may quote a question.
        self._current = use_span(self._span, end_on_exit=True, record_exception=False, set_status_on_exception=False)
        self._current.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is not None:
            from opentelemetry.trace import StatusCode

            self._span.set_attribute("error.type", kind.__name__)
            if issubclass(kind, Exception):  # a cancelled task, or a closed generator, is no fault
                self._span.set_status(StatusCode.ERROR, kind.__name__)
        if self._apart:
            self._span.end()
        else:
            self._current.__exit__(None, None, None)

    def set(self, **attributes: Value) -> None:
        """What is known only later."""
        self._span.set_attributes(_words(attributes))


class _State:
    tracer: Any = None
    provider: Any = None
    propagator: Any = None


_state = _State()
_NOTHING = _Nothing()


def start(service: str = "ratchet-gateway") -> bool:
    """Begin to trace, where an endpoint is set; once per process, after it was spawned. Returns whether spans are kept."""
    if _state.tracer is not None:
        return True
    if not any(os.environ.get(name) for name in ENDPOINTS):
        return False
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    resource = Resource.create({} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": service})
    _state.provider = TracerProvider(resource=resource)
    _state.provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    # Not baggage: what a caller puts there would travel on to Triton.
    _state.propagator = TraceContextTextMapPropagator()
    _state.tracer = _state.provider.get_tracer("ratchet")
    return True


def stop() -> None:
    """Send what is left, and end. Waits for the endpoint, at most as long as OTEL_BSP_EXPORT_TIMEOUT says: call it in a thread."""
    provider, _state.tracer, _state.provider = _state.provider, None, None
    if provider is not None:
        provider.shutdown()


def span(name: str, **attributes: Value) -> Span | _Nothing:
    """`with span("retrieve", passages=3):` inside whatever span is current. Attributes that are neither numbers nor words are left out."""
    if _state.tracer is None:
        return _NOTHING
    return Span(name, attributes)


def span_apart(name: str, **attributes: Value) -> Span | _Nothing:
    """A span under the current one that does not become current: for a generator, whose caller goes on between its pieces."""
    if _state.tracer is None:
        return _NOTHING
    return Span(name, attributes, apart=True)


def request_span(name: str, headers: Iterable[tuple[bytes, bytes]], **attributes: Value) -> Span | _Nothing:
    """The span of a request that came in, under the caller's own trace where `traceparent` names one (W3C Trace Context).

    `headers` are an ASGI scope's. A malformed `traceparent` begins a new trace, as the standard wants.
    """
    if _state.tracer is None:
        return _NOTHING
    from opentelemetry.trace import SpanKind

    wanted = (b"traceparent", b"tracestate")
    carrier = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers if name in wanted}
    return Span(name, attributes, _state.propagator.extract(carrier), SpanKind.SERVER)


def outgoing() -> dict[str, str]:
    """Headers that carry the current span to the next service: `traceparent`. Empty where nobody listens."""
    if _state.tracer is None:
        return {}
    carrier: dict[str, str] = {}
    _state.propagator.inject(carrier)
    return carrier


def _words(attributes: Mapping[str, Value]) -> dict[str, str | int | float | bool]:
    found: dict[str, str | int | float | bool] = {}
    for name, value in attributes.items():
        if isinstance(value, (bool, int, float)) or (isinstance(value, str) and WORD.fullmatch(value)):
            found[f"ratchet.{name}"] = value
    return found
