"""OpenAI's shapes: the requests we read, the answers and errors we write."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import date
from typing import Any, Literal, TypeVar

import orjson
from fastapi import Request, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipelines.errors import BadInput, Conflict, NotAllowed, NotFound, RatchetError, Unavailable
from pipelines.serving.answer import Answer

QUESTION_CHARACTERS = 2000

Model = TypeVar("Model", bound=BaseModel)


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


class ChatRequest(BaseModel):
    """What we use of a chat completion's request; further fields of OpenAI's (temperature ...) have no effect."""

    model_config = ConfigDict(extra="ignore")

    model: str = Field(min_length=1, max_length=80)
    messages: list[Message] = Field(min_length=1, max_length=200)
    stream: bool = False
    n: Literal[1] | None = None
    as_of: str | None = Field(None, pattern=r"^\d{4}-\d{2}-\d{2}$")

    def question(self) -> str:
        """The last message of the user. BadInput when there is none, or it is too long."""
        said = next((message.plain().strip() for message in reversed(self.messages) if message.role == "user"), "")
        if not said:
            raise BadInput("no message of role `user` holds text", where="messages")
        if len(said) > QUESTION_CHARACTERS:
            raise BadInput(f"the question has {len(said)} characters, more than {QUESTION_CHARACTERS}", where="messages")
        return said

    def day(self, today: str) -> str:
        """`as_of`, or today. BadInput for a day that does not exist."""
        if self.as_of is None:
            return today
        try:
            return date.fromisoformat(self.as_of).isoformat()
        except ValueError:
            raise BadInput("not a day of the calendar", where="as_of", todo="write it as YYYY-MM-DD") from None


async def body(request: Request, limit: int, *, empty_ok: bool = False) -> bytes:
    """The whole body. TooLarge beyond `limit` bytes, without reading on."""
    too_large = TooLarge(f"the body is larger than {limit // 1024} KiB", where="body")
    if int(request.headers.get("content-length") or 0) > limit:
        raise too_large
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise too_large
        parts.append(part)
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


def completion(answer: Answer, request_id: str, model: str, facts: dict[str, Any]) -> dict[str, Any]:
    """A `chat.completion` with our `ratchet` object beside the standard fields."""
    return {
        **_head("chat.completion", request_id, model),
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": answer.text, "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": _usage(answer),
        "ratchet": facts,
    }


def chunks(answer: Answer, request_id: str, model: str, facts: dict[str, Any]) -> Iterator[bytes]:
    """The same as server-sent events. An answer is checked as a whole before its first letter goes out, so it comes in one piece."""
    head = _head("chat.completion.chunk", request_id, model)
    first = {"index": 0, "delta": {"role": "assistant", "content": answer.text}, "logprobs": None, "finish_reason": None}
    last = {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}
    yield b"data: " + orjson.dumps({**head, "choices": [first]}) + b"\n\n"
    yield b"data: " + orjson.dumps({**head, "choices": [last], "usage": _usage(answer), "ratchet": facts}) + b"\n\n"
    yield b"data: [DONE]\n\n"


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


class NoKey(NotAllowed):
    """No key, or one that is not ours."""


class NoModel(NotFound):
    """A model that does not exist, or not for this caller."""


class TooLarge(BadInput):
    """The body is longer than we read."""


def _head(kind: str, request_id: str, model: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{request_id}", "object": kind, "created": int(time.time()), "model": model, "system_fingerprint": None}


def _usage(answer: Answer) -> dict[str, int]:
    total = answer.tokens_in + answer.tokens_out
    return {"prompt_tokens": answer.tokens_in, "completion_tokens": answer.tokens_out, "total_tokens": total}
