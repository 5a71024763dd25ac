"""The gateway: OpenAI's endpoints over the live releases. `python -m pipelines.serving.gateway`

A domain's name is a model that follows its pointer; `regulatory/r3` is that release for good.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from fastapi import FastAPI, Request, Response
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from pipelines.config import Settings, load_settings
from pipelines.errors import NotAllowed, NotFound, RatchetError
from pipelines.masking import direct
from pipelines.serving import shapes, traffic, upload
from pipelines.serving.answer import Answer, Parts, conclude
from pipelines.serving.client import Server
from pipelines.serving.keys import Key, KeyRing
from pipelines.serving.releases import Releases

BODY_BYTES = 256 * 1024
log = logging.getLogger("ratchet.gateway")


class Gateway:
    """What the routes share."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.server = Server(settings)
        self.releases = Releases(settings, self.server)
        self.keys = KeyRing(settings)
        self.traffic = traffic.TrafficLog(settings)
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Counter(
            "ratchet_requests", "Requests by outcome", ("domain", "release", "status", "canary"), registry=self.registry
        )
        self.abstained = Counter("ratchet_abstained", "Answers withheld", ("domain", "reason"), registry=self.registry)
        buckets = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
        self.latency = Histogram(
            "ratchet_request_seconds", "Time to the whole answer", ("domain",), buckets=buckets, registry=self.registry
        )
        age = Gauge("ratchet_pointer_age_seconds", "Since the pointers were last read", registry=self.registry)
        age.set_function(lambda: time.monotonic() - self.releases.read_at)
        switches = Gauge("ratchet_release_switches", "Releases gone live since the start", registry=self.registry)
        switches.set_function(lambda: self.releases.switches)

    async def authenticate(self, request: Request) -> Key:
        """The caller's key. NoKey without a good one."""
        scheme, _, secret = request.headers.get("authorization", "").partition(" ")
        key = self.keys.find(secret.strip()) if scheme.lower() == "bearer" and secret.strip() else None
        if key is None:
            raise shapes.NoKey("no valid API key was given", todo="send `Authorization: Bearer <key>`; the platform engineer issues keys")
        return key

    async def chat(self, request: Request) -> Response:
        """One question. Every outcome after the caller and the domain are known leaves a line in the traffic log."""
        began = time.perf_counter()
        key = await self.authenticate(request)
        asked = shapes.parse(shapes.ChatRequest, await shapes.body(request, BODY_BYTES), "see OpenAI's chat completions")
        domain = asked.model.split("/")[0]
        if not key.may(domain):
            raise NotAllowed(f"the key of {key.name} may not ask this model", where="model", todo="ask the platform engineer")
        request_id = uuid.uuid4().hex
        parts, canary, status = None, False, 200
        try:
            question, as_of = asked.question(), asked.day(self.settings.day())
            parts, canary = await self._parts(asked.model, key, request_id)
            try:
                answer = await self._answer(question, as_of, parts, began)
            except RatchetError as error:
                if not canary or asked.model != domain:
                    raise
                # The canary pays for its fault with a line of its own; the caller is answered by what is live.
                status, _ = shapes.fault(error)
                self._note(domain, request_id, key, parts, True, status, began, None, None, asked.as_of)
                parts, canary, status = self.releases.live(domain), False, 200
                answer = await self._answer(question, as_of, parts, began)
        except RatchetError as error:
            status, _ = shapes.fault(error)
            if not isinstance(error, NotFound):
                self._note(domain, request_id, key, parts, canary, status, began, None, None, asked.as_of)
            raise
        self._note(domain, request_id, key, parts, canary, status, began, answer, question, as_of)
        facts = shapes.facts_of(answer, parts.release, as_of, request_id, canary)
        headers = {"X-Ratchet-Release": parts.release, "X-Request-Id": request_id}
        if asked.stream:
            events = b"".join(shapes.chunks(answer, request_id, asked.model, facts))
            return Response(events, media_type="text/event-stream", headers={**headers, "Cache-Control": "no-cache"})
        return shapes.reply(200, shapes.completion(answer, request_id, asked.model, facts), headers)

    async def _parts(self, model: str, key: Key, request_id: str) -> tuple[Parts, bool]:
        if "/" in model:
            return await self.releases.named(model, any_state=key.candidates)
        return self.releases.pick(model, request_id)

    async def _answer(self, question: str, as_of: str, parts: Parts, began: float) -> Answer:
        found = await self.releases.look_up(question, as_of, parts)
        generated = None
        if found.passages:
            generated = await self.server.generate(parts.engine, found.prompt, parts.adapter, parts.max_tokens, parts.chat)
        return conclude(found, generated, as_of, parts, time.perf_counter() - began)

    def _note(
        self,
        domain: str,
        request_id: str,
        key: Key,
        parts: Parts | None,
        canary: bool,
        status: int,
        began: float,
        answer: Answer | None,
        question: str | None,
        as_of: str | None,
    ) -> None:
        """Count the request and append it to the traffic log."""
        seconds = time.perf_counter() - began
        release = parts.release if parts else None
        self.requests.labels(domain, release or "none", str(status), str(canary).lower()).inc()
        self.latency.labels(domain).observe(seconds)
        if answer is not None and answer.abstained:
            self.abstained.labels(domain, answer.reason).inc()
        record: dict[str, Any] = {
            "request_id": request_id,
            "release": release,
            "canary": canary,
            "status": status,
            "role": key.name,
            "as_of": as_of,
            "latency_ms": round(seconds * 1000, 2),
        }
        if answer is not None:
            record |= {
                "tokens_in": answer.tokens_in,
                "tokens_out": answer.tokens_out,
                "confidence": round(answer.confidence, 4),
                "abstained": answer.abstained,
                "reason": answer.reason,
                "sources": [passage.key for passage in answer.passages],
                "cited": answer.cited.key if answer.cited else None,
            }
        if question is not None and self.releases.is_public(domain):
            record["question_masked"] = direct.mask(question)
        self.traffic.write(domain, record)

    async def models(self, request: Request) -> Response:
        """The domains this key may ask, and their live releases."""
        key = await self.authenticate(request)
        return shapes.reply(200, {"object": "list", "data": self._models(key)})

    async def model(self, request: Request) -> Response:
        """One of `models`."""
        key = await self.authenticate(request)
        wanted = request.path_params["name"]
        for found in self._models(key):
            if found["id"] == wanted:
                return shapes.reply(200, found)
        raise shapes.NoModel(f"there is no model {wanted!r}", todo="GET /v1/models lists those you may use")

    def _models(self, key: Key) -> list[dict[str, Any]]:
        rows = []
        for route in self.releases.routes.values():
            if route.live is not None and key.may(route.domain):
                for name in (route.domain, route.live.release):
                    rows.append({"id": name, "object": "model", "created": int(route.since), "owned_by": "ratchet"})
        return rows

    async def alive(self, _request: Request) -> Response:
        """200 while the process runs."""
        return shapes.reply(200, {"status": "ok"})

    async def ready(self, _request: Request) -> Response:
        """200 when every live release can be answered with; says which are live, and what is wrong, without any text."""
        triton = await self.server.ready()
        routes = self.releases.routes.values()
        good = triton and self.releases.fault is None and all(route.live is not None or route.wanted is None for route in routes)
        body = {
            "ready": good,
            "triton": triton,
            "database": self.releases.fault or "read",
            "domains": {
                route.domain: {
                    "live": route.live.release if route.live else None,
                    "wanted": route.wanted,
                    "canary": route.canary.release if route.canary else None,
                    "faults": route.faults,
                }
                for route in routes
            },
        }
        return shapes.reply(200 if good else 503, body)

    async def metrics(self, _request: Request) -> Response:
        """Prometheus' text format."""
        return Response(generate_latest(self.registry), media_type="text/plain; version=0.0.4; charset=utf-8")


def create_app(settings: Settings) -> FastAPI:
    """The application; following the pointers begins with its start."""
    # A schema page would need third-party scripts, and OpenAI's own documentation describes the endpoints.
    app = FastAPI(title="Ratchet", lifespan=_lifespan, openapi_url=None)
    gateway = app.state.gateway = Gateway(settings)
    app.add_route("/v1/chat/completions", gateway.chat, methods=["POST"])
    app.add_route("/v1/models", gateway.models, methods=["GET"])
    app.add_route("/v1/models/{name:path}", gateway.model, methods=["GET"])
    for path in ("/healthz", "/health"):
        app.add_route(path, gateway.alive, methods=["GET"])
    app.add_route("/readyz", gateway.ready, methods=["GET"])
    app.add_route("/metrics", gateway.metrics, methods=["GET"])
    upload.mount(app, settings, gateway.authenticate)

    @app.exception_handler(RatchetError)
    async def _expected(_request: Request, error: Exception) -> Response:
        assert isinstance(error, RatchetError)  # noqa: S101 - what the handler is registered for
        status, body = shapes.fault(error)
        return shapes.reply(status, body, {"Retry-After": "2"} if status == 503 else None)

    @app.exception_handler(404)
    @app.exception_handler(405)
    async def _no_such_path(request: Request, _error: Exception) -> Response:
        todo = "there are POST /v1/chat/completions, GET /v1/models and, for uploads, /v1/arrivals: see docs/collect.md"
        return shapes.reply(*shapes.fault(NotFound(f"there is no {request.method} {request.url.path}", todo=todo)))

    @app.exception_handler(Exception)
    async def _unexpected(_request: Request, error: Exception) -> Response:
        # Only where it happened: the error's own words may quote the question.
        frame = error.__traceback__
        while frame is not None and frame.tb_next is not None:
            frame = frame.tb_next
        place = f"{frame.tb_frame.f_code.co_filename}:{frame.tb_lineno}" if frame else "unknown"
        log.error("unexpected %s at %s", type(error).__name__, place)
        return shapes.reply(*shapes.fault(RatchetError("an unexpected error; it was logged")))

    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    gateway: Gateway = app.state.gateway
    # Not awaited: opening a release may take seconds, and the process is alive before it can answer.
    watches = (gateway.releases.follow(), gateway.releases.keep_engines(), upload.keep_clean(gateway.settings))
    tasks = [asyncio.create_task(watch) for watch in watches]
    # What is loaded now lives as long as the process: the collector need not look at it again and again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await gateway.server.close()
        await gateway.releases.close()
        gateway.traffic.close()


def main() -> None:
    """Serve until stopped."""
    import uvicorn

    settings = load_settings()
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.ports.gateway,
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=5,
    )


if __name__ == "__main__":
    main()
