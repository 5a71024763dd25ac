"""The gateway: OpenAI's endpoints over the live releases. `python -m pipelines.serving.gateway`

A domain's name is a model that follows its pointer; `regulatory@r3` (or `regulatory/r3`) is that release for good. Who asks is known, and
within their limits, before anything else is looked at; what happens then is one page: `pipeline.py`.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import hashlib
import logging
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any, TypeVar

from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse
from starlette.requests import ClientDisconnect

from pipelines.config import Settings, load_settings
from pipelines.errors import BadInput, NotAllowed, NotFound, RatchetError
from pipelines.serving import feedback_api, http_limits, loop_gauges, openapi, rollout, shapes, telemetry, upload
from pipelines.serving.access import Access, TooMany
from pipelines.serving.cache.answers import AnswerCache
from pipelines.serving.fleet import Fleet
from pipelines.serving.guards import documents, inbound, outbound
from pipelines.serving.identifiers import Identifiers
from pipelines.serving.inquiry import Inquiry, Outcome
from pipelines.serving.keys import Key
from pipelines.serving.metrics import CONTENT_TYPE, Metrics, share
from pipelines.serving.pipeline import Pipeline
from pipelines.serving.releases import Releases
from pipelines.serving_config import Guards
from pipelines.traffic.log import TrafficLog

BODY_BYTES = 256 * 1024
QUICK_SECONDS = 0.2
"""Most answers are there by then; only of the others it is watched whether somebody still waits for them."""
EVENT_STREAM = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}

log = logging.getLogger("ratchet.gateway")
T = TypeVar("T")


class Gateway:
    """What the routes share."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.metrics = Metrics(settings)
        self.fleet = Fleet(settings, self.metrics)
        http_limits.count_with(self.metrics.connection_refused)
        self.releases = Releases(settings, self.fleet, self.metrics)
        self.access = Access(settings)
        self.cache = AnswerCache(settings)
        self.traffic = TrafficLog(settings)
        self.kept = TrafficLog(settings, durable=False, kind="samples")
        self.identifiers = Identifiers(settings)
        self.pipeline = Pipeline(self.fleet, self.releases, self.identifiers, self.cache, self.traffic, self.kept, self.metrics)

    async def chat(self, request: Request) -> Response:
        """OpenAI's chat completions."""
        with telemetry.request_span("chat", request.scope["headers"]):
            return await self._answer(request, shapes.ChatRequest, "chat")

    async def complete(self, request: Request) -> Response:
        """OpenAI's older completions: the prompt is the question."""
        with telemetry.request_span("complete", request.scope["headers"]):
            return await self._answer(request, shapes.CompletionRequest, "text")

    async def _answer(self, request: Request, model: type[shapes.Asked], kind: shapes.Kind) -> Response:
        began = time.perf_counter()
        key = await self.access.caller(request)
        await self.access.admit(key)
        asked = shapes.parse(model, await shapes.body(request, BODY_BYTES), "see docs/api.md")
        domain, release = asked.release()
        self._require(key, domain, pinned=release is not None)
        inquiry = Inquiry(
            request_id=os.urandom(16).hex(),
            key=key,
            domain=domain,
            release=release,
            question=asked.question(),
            as_of=asked.day(self.settings.day()),
            conversation=_conversation(request, key, asked),
            characters=asked.characters(),
            began=began,
            store=asked.store,
        )
        await self._hold_back(key, domain)
        if asked.stream and self.pipeline.streams(domain):
            return await self._live(inquiry, asked, kind)
        outcome = await _while_wanted(request, self.pipeline.answer(inquiry))
        await self.access.spend(key, outcome.spent)
        said, facts, headers = _said(inquiry, outcome), _facts(inquiry, outcome), _headers(inquiry, outcome)
        if not asked.stream:
            return shapes.reply(200, shapes.completion(said, kind, inquiry.request_id, asked.model, facts), headers)
        events = shapes.piece(said.text, kind, inquiry.request_id, asked.model, first=True)
        events += shapes.ending(said, kind, inquiry.request_id, asked.model, facts, usage=_usage_wanted(asked))
        return Response(events, media_type="text/event-stream", headers=headers | EVENT_STREAM)

    async def _hold_back(self, key: Key, domain: str) -> None:
        """TooMany while the tenant is throttled in this domain and asks more than that."""
        route = self.releases.routes.get(domain)
        limit = route.held.limit(key.tenant) if route is not None and route.held.throttles else None
        if limit is None:
            return
        try:
            await self.access.budgets.hold_back(domain, key.tenant, limit)
        except TooMany:
            self.metrics.count("ratchet_throttled", domain)
            raise

    async def _live(self, inquiry: Inquiry, asked: shapes.Asking, kind: shapes.Kind) -> Response:
        """A stream whose text goes out as it is written. What fails before the first letter fails as an ordinary error."""
        pieces = self.pipeline.stream(inquiry)
        try:
            opening = await anext(pieces)
        except BaseException:
            await pieces.aclose()
            raise

        async def events() -> AsyncIterator[bytes]:
            async with aclosing(pieces):
                written, outcome = 0, None
                try:
                    piece, first = opening, True
                    while not isinstance(piece, Outcome):
                        written += 1
                        yield shapes.piece(piece, kind, inquiry.request_id, asked.model, first=first)
                        piece, first = await anext(pieces), False
                    outcome = piece
                    said, facts = _said(inquiry, piece), _facts(inquiry, piece)
                    yield shapes.ending(said, kind, inquiry.request_id, asked.model, facts, usage=_usage_wanted(asked))
                except RatchetError as error:
                    yield shapes.broken_off(error)
                finally:
                    # Whoever hangs up pays for the pieces that were sent.
                    await self.access.spend(inquiry.key, outcome.spent if outcome is not None else written)

        return StreamingResponse(events(), media_type="text/event-stream", headers={"X-Request-Id": inquiry.request_id} | EVENT_STREAM)

    async def embed(self, request: Request) -> Response:
        """OpenAI's embeddings, by the embedder of the domain's live index. The texts are not kept."""
        with telemetry.request_span("embed", request.scope["headers"]):
            return await self._embed(request)

    async def _embed(self, request: Request) -> Response:
        key = await self.access.caller(request)
        await self.access.admit(key)
        asked = shapes.parse(shapes.EmbeddingRequest, await shapes.body(request, BODY_BYTES), "see docs/api.md")
        domain, _, number = asked.model.replace("@", "/", 1).partition("/")
        self._require(key, domain, pinned=bool(number))
        route = self.releases.route(domain)
        if number:
            parts, _ = await self.releases.named(f"{domain}/{number}", any_state=key.candidates)
        else:
            parts, _ = self.releases.pick(route, "")
        texts = asked.texts()
        if asked.dimensions not in (None, parts.index.dimensions):
            raise BadInput(f"the vectors have {parts.index.dimensions} dimensions", where="dimensions", todo="leave it out")
        vectors = await self.releases.vectors(texts, parts)
        tokens = sum(len(text.split()) for text in texts)
        await self.access.spend(key, tokens)
        headers = {"X-Ratchet-Release": parts.release}
        return shapes.reply(200, shapes.embeddings(vectors, tokens, asked.model, asked.encoding_format), headers)

    def _require(self, key: Key, domain: str, *, pinned: bool) -> None:
        if not key.may(domain):
            self.access.refused(key, "domain", domain)
            raise NotAllowed(f"the key of {key.name} may not ask this model", where="model", todo="ask the platform engineer")
        if pinned and not (key.pins or key.candidates):
            self.access.refused(key, "pin", domain)
            raise NotAllowed(f"the key of {key.name} may not name a release", where="model", todo="ask for the domain itself")

    async def models(self, request: Request) -> Response:
        """The domains this key may ask, and their live releases."""
        key = await self.access.caller(request)
        return shapes.reply(200, {"object": "list", "data": self._models(key)})

    async def model(self, request: Request) -> Response:
        """One of `models`."""
        key = await self.access.caller(request)
        wanted = request.path_params["name"].replace("@", "/", 1)
        for found in self._models(key):
            if found["id"] == wanted:
                return shapes.reply(200, found)
        raise shapes.NoModel(f"there is no model {wanted[:80]!r}", todo="GET /v1/models lists those you may use")

    def _models(self, key: Key) -> list[dict[str, Any]]:
        rows = []
        for route in self.releases.routes.values():
            if route.live is not None and key.may(route.domain):
                names = (route.domain, route.live.release) if key.pins or key.candidates else (route.domain,)
                rows += [{"id": name, "object": "model", "created": int(route.since), "owned_by": "ratchet"} for name in names]
        return rows

    async def alive(self, _request: Request) -> Response:
        """200 while the process runs."""
        return shapes.reply(200, {"status": "ok"})

    async def ready(self, _request: Request) -> Response:
        """200 when every live release can be answered with; says which are live, and what is wrong, without any text."""
        triton = await self.fleet.ready()
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

    async def show_metrics(self, _request: Request) -> Response:
        """Prometheus' text format."""
        self.metrics.set("ratchet_traffic_backlog", self.traffic.waiting)
        return Response(await asyncio.to_thread(self.metrics.render), media_type=CONTENT_TYPE)

    async def schema(self, _request: Request) -> Response:
        """What docs/api.md says, for programs."""
        return shapes.reply(200, openapi.document())

    async def watch_rollouts(self) -> None:
        """Take a bad canary back while nobody else looks: Airflow may be down. Until cancelled."""
        while True:
            for line in await asyncio.to_thread(rollout.watch_once, self.settings):
                log.warning("%s", line)
            await asyncio.sleep(1.0)

    async def warm(self) -> None:
        """Build what the first question would wait for."""
        await asyncio.to_thread(_warm_guards)
        await asyncio.sleep(1.0)
        with suppress(RatchetError):
            await self.identifiers.warm({name: route.config.privacy for name, route in self.releases.routes.items() if route.config})


def create_app(settings: Settings) -> FastAPI:
    """The application; following the pointers begins with its start."""
    # The document is our own: the framework's would know nothing of bodies that are parsed by hand, and its page needs scripts of others.
    app = FastAPI(title="Ratchet", lifespan=_lifespan, openapi_url=None)
    gateway = app.state.gateway = Gateway(settings)
    app.add_route("/v1/chat/completions", gateway.chat, methods=["POST"])
    app.add_route("/v1/completions", gateway.complete, methods=["POST"])
    app.add_route("/v1/embeddings", gateway.embed, methods=["POST"])
    app.add_route("/v1/models", gateway.models, methods=["GET"])
    app.add_route("/v1/models/{name:path}", gateway.model, methods=["GET"])
    for path in ("/healthz", "/health"):
        app.add_route(path, gateway.alive, methods=["GET"])
    app.add_route("/readyz", gateway.ready, methods=["GET"])
    app.add_route("/metrics", gateway.show_metrics, methods=["GET"])
    app.add_route("/openapi.json", gateway.schema, methods=["GET"])
    upload.mount(app, settings, gateway.access)
    feedback_api.mount(app, settings, gateway.access, gateway.identifiers, gateway.metrics)

    @app.exception_handler(RatchetError)
    async def _expected(_request: Request, error: Exception) -> Response:
        assert isinstance(error, RatchetError)  # noqa: S101 - what the handler is registered for
        if isinstance(error, TooMany):
            gateway.metrics.count("ratchet_limited", error.budget)
        status, body = shapes.fault(error)
        return shapes.reply(status, body, shapes.retry(error, status))

    @app.exception_handler(ClientDisconnect)
    async def _gone(_request: Request, _error: Exception) -> Response:
        return Response(status_code=499)  # nobody reads it

    @app.exception_handler(404)
    @app.exception_handler(405)
    async def _no_such_path(request: Request, _error: Exception) -> Response:
        todo = "there are /v1/chat/completions, /v1/completions, /v1/embeddings, /v1/models, /v1/feedback, and /v1/arrivals for files"
        return shapes.reply(*shapes.fault(NotFound(f"there is no {request.method} {request.url.path[:200]}", todo=todo)))

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
    telemetry.start()
    # Not awaited: opening a release may take seconds, and the process is alive before it can answer.
    watches = (
        gateway.releases.follow,
        gateway.releases.keep_engines,
        gateway.fleet.supervise,
        gateway.access.follow,
        gateway.watch_rollouts,
        functools.partial(loop_gauges.follow, gateway.settings, gateway.metrics),
        gateway.warm,
        functools.partial(upload.keep_clean, gateway.settings),
    )
    tasks = [asyncio.create_task(_kept_up(watch)) for watch in watches]
    # What is loaded now lives as long as the process: the collector need not look at it again and again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await gateway.pipeline.close()
        await gateway.fleet.close()
        await gateway.releases.close()
        await gateway.access.close()
        await gateway.cache.close()
        gateway.identifiers.close()
        await asyncio.to_thread(gateway.traffic.close)
        await asyncio.to_thread(gateway.kept.close)
        await asyncio.to_thread(telemetry.stop)
        gateway.metrics.close()


async def _kept_up(watch: Callable[[], Awaitable[None]]) -> None:
    """A watch that begins again after a fault: one that ended at its first would watch nothing, and nobody would know."""
    while True:
        try:
            return await watch()
        except Exception as error:
            log.error("%s was interrupted: %s", getattr(watch, "__qualname__", "a watch"), type(error).__name__)
            await asyncio.sleep(1.0)


async def _while_wanted(request: Request, work: Awaitable[T]) -> T:
    """What `work` gives; ended when its caller has gone. ClientDisconnect then."""
    loop, mine = asyncio.get_running_loop(), asyncio.current_task()
    watch: asyncio.Task[None] | None = None
    gone = False

    async def until_gone() -> None:
        nonlocal gone
        while (await request.receive())["type"] != "http.disconnect":
            pass
        gone = True
        if mine is not None:
            mine.cancel()

    def begin() -> None:
        nonlocal watch
        watch = loop.create_task(until_gone())

    # A task of its own for every answer, and the waiting for it, took a tenth of the gateway's time.
    timer = loop.call_later(QUICK_SECONDS, begin)
    try:
        return await work
    except asyncio.CancelledError:
        if not gone or mine is None:
            raise
        mine.uncancel()  # it was we who cancelled, and that is done
        raise ClientDisconnect from None
    finally:
        timer.cancel()
        if watch is not None:
            watch.cancel()


def _warm_guards() -> None:
    text, policy = "[NAME-1] asks: what is 1 and 2?", Guards()
    inbound.screen(text, len(text), policy)
    documents.withheld([text], policy)
    outbound.check("3", [text], text, policy, private=True)


def _conversation(request: Request, key: Key, asked: shapes.ChatRequest | shapes.CompletionRequest) -> str:
    """A hash that names the conversation: as its client calls it, else by how it began."""
    named = request.headers.get("x-conversation-id", "")[:256] or (asked.metadata or {}).get("conversation_id") or asked.opening()
    return hashlib.blake2b("\0".join((key.tenant, key.name, asked.user or "", named)).encode(), digest_size=8).hexdigest()


def _said(inquiry: Inquiry, outcome: Outcome) -> shapes.Said:
    answer = outcome.answer
    text = inquiry.masked.restored(answer.text)
    return shapes.Said(text, "content_filter" if outcome.filtered else "stop", answer.tokens_in, answer.tokens_out)


def _facts(inquiry: Inquiry, outcome: Outcome) -> dict[str, Any]:
    return shapes.facts_of(outcome.answer, outcome.parts.release, inquiry.as_of, inquiry.request_id, outcome.canary) | {
        "min_logprob": round(outcome.min_logprob, 4),
        "cache": outcome.cache,
        "route": outcome.route,
        "guards": [{"rule": one.rule, "action": one.action, "where": one.where} for one in inquiry.verdicts],
    }


def _headers(inquiry: Inquiry, outcome: Outcome) -> dict[str, str]:
    return {"X-Ratchet-Release": outcome.parts.release, "X-Request-Id": inquiry.request_id}


def _usage_wanted(asked: shapes.Asking) -> bool:
    return asked.stream_options is not None and asked.stream_options.include_usage


def main() -> None:
    """Serve until stopped."""
    import uvicorn

    settings = load_settings()
    share(settings)
    uvicorn.run(
        "pipelines.serving.gateway:app_of_environment",
        factory=True,
        workers=settings.gateway_workers,
        host=settings.host,
        port=settings.ports.gateway,
        loop="uvloop",
        http="pipelines.serving.http_limits:LimitedProtocol",
        access_log=False,
        log_level="warning",
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=30,
    )


def app_of_environment() -> FastAPI:
    """What each worker process runs."""
    return create_app(load_settings())


if __name__ == "__main__":
    main()
