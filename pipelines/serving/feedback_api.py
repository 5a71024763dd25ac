"""What callers say of answers: `POST /v1/feedback`, by whoever may ask the domain, about answers that their own tenant was given.

{"id": "chatcmpl-...", "model": "regulatory", "rating": "down", "reason": "wrong", "correction": "...", "comment": "..."}
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated, Literal

from fastapi import FastAPI, Request, Response
from pydantic import Field, field_validator
from starlette.requests import ClientDisconnect

from pipelines.config import DomainConfig, Settings, load_domain
from pipelines.errors import BadInput, ConfigError, MaskingFailed, NotAllowed, NotFound, RatchetError, Unavailable
from pipelines.feedback import inbound
from pipelines.feedback.inbound import Answered, Received, Why
from pipelines.serving import shapes
from pipelines.serving.access import Access
from pipelines.serving.guards import identifiers as leaks
from pipelines.serving.guards import inbound as guard
from pipelines.serving.guards.verdict import BROKEN
from pipelines.serving.identifiers import Identifiers
from pipelines.serving.keys import Key
from pipelines.serving.metrics import Metrics
from pipelines.state.models import now
from pipelines.strict import Strict

PATH = "/v1/feedback"
BODY_BYTES = 64 * 1024
CORRECTION, COMMENT = 4_000, 2_000
SEND = 'send {"id": "chatcmpl-...", "model": "...", "rating": "up" or "down"}; see docs/api.md'
STILL_THERE = "still there"
"""In the masking room's words for a text that it could not clean; it has others for not having run."""


class Judgement(Strict):
    """The body of a POST."""

    id: str = Field(
        pattern=r"^(?:chatcmpl-|cmpl-)?[A-Za-z0-9._-]{1,64}$", description="of the answer: `id` of a completion, or `ratchet.request_id`"
    )
    model: str = Field(min_length=1, max_length=80, description="the answer's domain; `regulatory@r3` means the same")
    rating: Literal["up", "down"]
    reason: Why | None = None
    correction: Annotated[str, Field(min_length=1, max_length=CORRECTION)] | None = Field(
        None, description="how it is right, best in the words of the source; people review it before anything is learned from it"
    )
    comment: Annotated[str, Field(min_length=1, max_length=COMMENT)] | None = Field(None, description="for the reviewers")

    @field_validator("correction", "comment")
    @classmethod
    def _says_something(cls, value: str | None) -> str | None:
        if value is not None and not value.strip():
            raise ValueError("it holds no text")
        return value

    @property
    def request_id(self) -> str:
        """The id without what OpenAI's shapes put before it."""
        return self.id.removeprefix("chatcmpl-").removeprefix("cmpl-")

    @property
    def domain(self) -> str:
        """The domain that answered."""
        return self.model.replace("@", "/", 1).partition("/")[0]


def mount(app: FastAPI, settings: Settings, access: Access, identifiers: Identifiers, metrics: Metrics) -> None:
    """Add the route to the gateway's application."""
    app.add_route(PATH, _Route(settings, access, identifiers, metrics).post, methods=["POST"])


class _Route:
    def __init__(self, settings: Settings, access: Access, identifiers: Identifiers, metrics: Metrics) -> None:
        self._settings, self._access, self._identifiers, self._metrics = settings, access, identifiers, metrics

    async def post(self, request: Request) -> Response:
        try:
            return await self._post(request)
        except RatchetError as error:
            found = error
        except ClientDisconnect:
            found = BadInput("the body broke off", where="body", todo="send it again")
        status, body = shapes.fault(found)
        return shapes.reply(status, body, shapes.retry(found, status))

    async def _post(self, request: Request) -> Response:
        key = await self._access.caller(request)
        await self._access.admit(key)
        said = shapes.parse(Judgement, await shapes.body(request, BODY_BYTES), SEND)
        if not key.may(said.domain):
            self._access.refused(key, "domain", said.domain)
            raise NotAllowed(f"the key of {key.name} may not ask this model", where="model", todo="ask the platform engineer")
        domain = await asyncio.to_thread(self._config, said.domain)
        answer = await self._answer(key, domain, said)
        try:
            correction, comment = await self._clean(domain, answer, said.correction), await self._clean(domain, answer, said.comment)
        except _Identifying:
            received = await self._receive(key, domain, answer, said, refused=inbound.IDENTIFIERS)
            todo = "leave names, numbers and addresses of people out, and send it again"
            raise BadInput(f"{received.why}, and was not taken", where="correction", todo=todo) from None
        held = await asyncio.to_thread(_held, domain, [one for one in (correction, comment) if one])
        received = await self._receive(key, domain, answer, said, correction=correction, comment=comment, held=held)
        self._metrics.count("ratchet_feedback", domain.domain, said.rating, received.state)
        body = {"id": received.id, "state": received.state, "why": received.why, "review": received.review}
        return shapes.reply(201 if received.state == "received" else 202, body, {"X-Request-Id": answer.request_id})

    async def _answer(self, key: Key, domain: DomainConfig, said: Judgement) -> Answered:
        """The answer that is judged. NotFound in the same words for one that was never given and for another tenant's, which is audited."""
        found = await asyncio.to_thread(inbound.answered, self._settings, domain.domain, said.request_id)
        if found is not None and found.tenant == key.tenant:
            return found
        if found is not None:
            self._access.refused(key, "feedback on another tenant's answer", domain.domain)
        todo = "send the `id` of an answer that you were given, with its domain as `model`"
        raise NotFound("no such answer is known", where="id", todo=todo)

    async def _clean(self, domain: DomainConfig, answer: Answered, text: str | None) -> str | None:
        """The text without identifiers. _Identifying when some would be left."""
        if text is None:
            return None
        try:
            masked = (await self._identifiers.mask(text.strip(), domain.privacy)).text
        except MaskingFailed as error:
            if STILL_THERE in error.what:
                raise _Identifying from None
            raise Unavailable("masking does not run now", todo="try again later") from None
        shown = [one.text for one in answer.sample.passages] if answer.sample is not None else []
        if await asyncio.to_thread(leaks.leaked, masked, shown, private=domain.privacy.profile != "public"):
            raise _Identifying
        return masked

    async def _receive(
        self,
        key: Key,
        domain: DomainConfig,
        answer: Answered,
        said: Judgement,
        *,
        correction: str | None = None,
        comment: str | None = None,
        held: str | None = None,
        refused: str | None = None,
    ) -> Received:
        return await asyncio.to_thread(
            inbound.receive,
            self._settings,
            domain,
            answer,
            key=key.actor,
            tenant=key.tenant,
            rating=1 if said.rating == "up" else -1,
            reason=said.reason,
            correction=correction,
            comment=comment,
            held=held,
            refused=refused,
            now=now(),
        )

    def _config(self, name: str) -> DomainConfig:
        try:
            return load_domain(name, self._settings)
        except NotFound:
            raise NotFound("there is no such model", where="model", todo="GET /v1/models lists those you may use") from None
        except ConfigError:
            # What is wrong with it, and where the file lies, is the site's own affair.
            raise Unavailable("this domain is not in order", todo="tell the platform engineer") from None


class _Identifying(Exception):
    """A text that holds identifiers after masking."""


def _held(domain: DomainConfig, texts: Sequence[str]) -> str | None:
    """Why these words are kept from the review queue; None where they are not.

    Orders to the model count here whatever the domain makes of them in a question: what is said here is meant to be learned from.
    """
    policy = domain.serving.guards.model_copy(update={"injection": "refuse", "report_only": False, "question_characters": CORRECTION * 2})
    for text in texts:
        for verdict in guard.screen(text, len(text), policy):
            if verdict.rule in ("injection", BROKEN):
                return f"it reads as an order to the model (rule `{verdict.rule}`)"
            if verdict.action == "refuse":
                return f"the rule `{verdict.rule}` holds it"
    return None
