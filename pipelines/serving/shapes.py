"""OpenAI's shapes: the requests we read, the answers and errors we write."""

from __future__ import annotations

import base64
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, Literal, TypeVar

import orjson
from fastapi import Request, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import ClientDisconnect

from pipelines.errors import BadInput, Conflict, NotAllowed, NotFound, RatchetError, Unavailable
from pipelines.serving.answer import Answer
from pipelines.serving.keys import TooMany

Model = TypeVar("Model", bound=BaseModel)
_NOTHING: dict[str, str] = {}
Kind = Literal["chat", "text"]
"""Of a completion: of a chat, or OpenAI's older one of a text."""


@dataclass(frozen=True, slots=True)
class Said:
    """What a caller is told, and what it took."""

    text: str
    finish: Literal["stop", "content_filter"]
    tokens_in: int
    tokens_out: int


class TextPart(BaseModel):
    """A part of a message; only text can be answered."""

    type: Literal["text"]
    text: str


class Message(BaseModel):
    """One turn of the conversation."""

    model_config = ConfigDict(extra="ignore")

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[TextPart] | None = None

    def plain(self) -> str:
        """The message's text."""
        if isinstance(self.content, list):
            return "\n".join(part.text for part in self.content)
        return self.content or ""


class StreamOptions(BaseModel):
    """How a stream ends."""

    model_config = ConfigDict(extra="ignore")

    include_usage: bool = False


class Asking(BaseModel):
    """What every request for an answer may say; further fields of OpenAI's (temperature ...) have no effect: decoding is greedy."""

    model_config = ConfigDict(extra="ignore")

    model: str = Field(min_length=1, max_length=80, description="a domain, or an exact release: `clinical@r17`")
    stream: bool = False
    stream_options: StreamOptions | None = None
    n: Literal[1] | None = None
    as_of: str | None = Field(None, pattern=r"^\d{4}-\d{2}-\d{2}$", description="answer by the text in force on this day; default today")
    user: str | None = Field(None, max_length=256)
    store: bool | None = Field(None, description="OpenAI's: whether the masked answer may be kept for review; default: the domain's rule")
    metadata: dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]] | None = Field(
        None, max_length=16, description="`conversation_id` keeps a conversation on one release while a canary runs"
    )

    def day(self, today: str) -> str:
        """`as_of`, or today. BadInput for a day that does not exist."""
        if self.as_of is None:
            return today
        try:
            return date.fromisoformat(self.as_of).isoformat()
        except ValueError:
            raise BadInput("not a day of the calendar", where="as_of", todo="write it as YYYY-MM-DD") from None

    def release(self) -> tuple[str, str | None]:
        """(domain, exact release or None): `clinical@r17` and `clinical/r17` name the same."""
        domain, mark, number = self.model.replace("@", "/", 1).partition("/")
        return domain, f"{domain}/{number}" if mark else None


class ChatRequest(Asking):
    """What we use of a chat completion's request."""

    messages: list[Message] = Field(min_length=1, max_length=200)

    def question(self) -> str:
        """The last message of the user. BadInput when there is none."""
        said = next((message.plain().strip() for message in reversed(self.messages) if message.role == "user"), "")
        if not said:
            raise BadInput("no message of role `user` holds text", where="messages", todo="ask something")
        return said

    def characters(self) -> int:
        """Of all messages together."""
        return sum(len(message.plain()) for message in self.messages)

    def opening(self) -> str:
        """What began the conversation: clients send all of it every time, so its first question names it."""
        return next((message.plain() for message in self.messages if message.role == "user"), "")


class CompletionRequest(Asking):
    """What we use of a (legacy) completion's request: the prompt is the question."""

    prompt: str | Annotated[list[str], Field(min_length=1, max_length=1)]

    def question(self) -> str:
        """The prompt. BadInput when it holds no text."""
        said = (self.prompt if isinstance(self.prompt, str) else self.prompt[0]).strip()
        if not said:
            raise BadInput("the prompt holds no text", where="prompt", todo="ask something")
        return said

    def characters(self) -> int:
        """Of the prompt."""
        return len(self.prompt if isinstance(self.prompt, str) else self.prompt[0])

    def opening(self) -> str:
        """The prompt: there is no conversation."""
        return self.question()


Asked = TypeVar("Asked", ChatRequest, CompletionRequest)


class EmbeddingRequest(BaseModel):
    """What we use of an embedding's request: vectors of the domain's own embedder."""

    model_config = ConfigDict(extra="ignore")

    model: str = Field(min_length=1, max_length=80)
    input: (
        Annotated[str, Field(min_length=1, max_length=8_000)]
        | Annotated[list[Annotated[str, Field(min_length=1, max_length=8_000)]], Field(min_length=1, max_length=128)]
    )
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None

    def texts(self) -> list[str]:
        """The texts to embed."""
        return [self.input] if isinstance(self.input, str) else self.input


async def body(request: Request, limit: int, *, empty_ok: bool = False) -> bytes:
    """The whole body. TooLarge beyond `limit` bytes, without reading on."""
    too_large = TooLarge(f"the body is larger than {limit // 1024} KiB", where="body")
    if int(request.headers.get("content-length") or 0) > limit:
        raise too_large
    parts: list[bytes] = []
    size = 0
    # How long it may take is the server's to say: `http_limits`.
    try:
        async for part in request.stream():
            size += len(part)
            if size > limit:
                raise too_large
            parts.append(part)
    except ClientDisconnect:
        raise BadInput("the body broke off", where="body", todo="send it again") from None
    if not size and not empty_ok:
        raise BadInput("the body is empty", where="body", todo="send JSON")
    return b"".join(parts)


def parse(model: type[Model], body: bytes, todo: str) -> Model:
    """Parse and check a body. BadInput names the field and the fault and never quotes the value."""
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        fault = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in fault["loc"])
        raise BadInput(str(fault["msg"]), where=where or "body", todo=todo) from None


def reply(status: int, value: object, headers: dict[str, str] | None = None) -> Response:
    """An answer in JSON."""
    return Response(orjson.dumps(value), status, headers, media_type="application/json")


def completion(said: Said, kind: Kind, request_id: str, model: str, facts: dict[str, Any]) -> dict[str, Any]:
    """A `chat.completion` or `text_completion` with our `ratchet` object beside the standard fields."""
    choice: dict[str, Any] = {"index": 0, "logprobs": None, "finish_reason": said.finish}
    choice |= {"message": {"role": "assistant", "content": said.text, "refusal": None}} if kind == "chat" else {"text": said.text}
    head = _head("chat.completion" if kind == "chat" else "text_completion", request_id, model)
    return {**head, "choices": [choice], "usage": _usage(said), "ratchet": facts}


def piece(text: str, kind: Kind, request_id: str, model: str, *, first: bool = False) -> bytes:
    """One server-sent event with a piece of the answer."""
    delta = {"role": "assistant", "content": text} if first else {"content": text}
    choice: dict[str, Any] = {"index": 0, "logprobs": None, "finish_reason": None}
    choice |= {"delta": delta} if kind == "chat" else {"text": text}
    return _event({**_chunk_head(kind, request_id, model), "choices": [choice]})


def ending(said: Said, kind: Kind, request_id: str, model: str, facts: dict[str, Any], *, usage: bool) -> bytes:
    """The last events: why it ended, the `ratchet` object, the usage where it was asked for, and the mark of the end."""
    head = _chunk_head(kind, request_id, model)
    choice: dict[str, Any] = {"index": 0, "logprobs": None, "finish_reason": said.finish}
    choice |= {"delta": _NOTHING} if kind == "chat" else {"text": ""}
    last = _event({**head, "choices": [choice], "ratchet": facts})
    # OpenAI sends the usage in a chunk of its own, without choices, and only where it was asked for.
    return last + (_event({**head, "choices": [], "usage": _usage(said)}) if usage else b"") + b"data: [DONE]\n\n"


def broken_off(error: RatchetError) -> bytes:
    """The end of a stream that failed after its beginning."""
    return _event(fault(error)[1]) + b"data: [DONE]\n\n"


def _event(value: object) -> bytes:
    return b"data: " + orjson.dumps(value) + b"\n\n"


def embeddings(vectors: Sequence[Any], tokens: int, model: str, encoding: str) -> dict[str, Any]:
    """OpenAI's list of embeddings; `vectors` are float32 arrays."""
    rows = [
        {
            "object": "embedding",
            "index": number,
            "embedding": base64.b64encode(vector.astype("<f4").tobytes()).decode() if encoding == "base64" else vector.tolist(),
        }
        for number, vector in enumerate(vectors)
    ]
    return {"object": "list", "data": rows, "model": model, "usage": {"prompt_tokens": tokens, "total_tokens": tokens}}


def facts_of(answer: Answer, release: str, as_of: str, request_id: str, canary: bool) -> dict[str, Any]:
    """The `ratchet` object: where the answer comes from."""
    sources = [
        {
            "key": passage.key,
            "paragraph": passage.paragraph,
            "title": passage.title,
            "text": passage.text,
            "valid_from": passage.valid_from,
            "valid_to": passage.valid_to,
            "version": passage.version,
            "content": passage.content,
            "start": passage.start,
            "end": passage.end,
            "cited": passage is answer.cited,
        }
        for passage in answer.passages
    ]
    return {
        "release": release,
        "domain": release.split("/")[0],
        "as_of": as_of,
        "request_id": request_id,
        "canary": canary,
        "abstained": answer.abstained,
        "reason": answer.reason,
        "confidence": round(answer.confidence, 4),
        "sources": sources,
    }


def fault(error: RatchetError) -> tuple[int, dict[str, Any]]:
    """(HTTP status, body) of an error, in OpenAI's shape."""
    status, kind, code = 500, "server_error", "internal_error"
    for cls, found in (
        (Filtered, (400, "invalid_request_error", "content_filter")),
        (TooMany, (429, "rate_limit_error", "rate_limit_exceeded")),
        (NoKey, (401, "invalid_request_error", "invalid_api_key")),
        (TooLarge, (413, "invalid_request_error", "request_too_large")),
        (NotAllowed, (403, "permission_error", "not_allowed")),
        (NoModel, (404, "invalid_request_error", "model_not_found")),
        (NotFound, (404, "invalid_request_error", "not_found")),
        (BadInput, (400, "invalid_request_error", "invalid_value")),
        (Conflict, (409, "invalid_request_error", "conflict")),
        (Unavailable, (503, "server_error", "unavailable")),
    ):
        if isinstance(error, cls):
            status, kind, code = found
            break
    message = f"{error.what} ({error.todo})" if error.todo else error.what
    return status, {"error": {"message": message, "type": kind, "param": error.where or None if status < 500 else None, "code": code}}


def retry(error: RatchetError, status: int) -> dict[str, str] | None:
    """When to try again, as a header."""
    after = getattr(error, "retry_after", None)
    if after is not None:
        return {"Retry-After": str(max(1, math.ceil(after)))}
    return {"Retry-After": "2"} if status == 503 else None


class NoKey(NotAllowed):
    """No key, or one that is not ours."""


class NoModel(NotFound):
    """A model that does not exist, or not for this caller."""


class TooLarge(BadInput):
    """The body is longer than we read."""


class Filtered(BadInput):
    """A guard refused the question."""


def _head(kind: str, request_id: str, model: str) -> dict[str, Any]:
    mark = "cmpl" if kind == "text_completion" else "chatcmpl"
    return {"id": f"{mark}-{request_id}", "object": kind, "created": int(time.time()), "model": model, "system_fingerprint": None}


def _chunk_head(kind: Kind, request_id: str, model: str) -> dict[str, Any]:
    return _head("chat.completion.chunk" if kind == "chat" else "text_completion", request_id, model)


def _usage(said: Said) -> dict[str, int]:
    total = said.tokens_in + said.tokens_out
    return {"prompt_tokens": said.tokens_in, "completion_tokens": said.tokens_out, "total_tokens": total}
