"""The gateway's OpenAPI 3.1 document: what it takes and what it answers, for programs. `api_page.py` makes docs/api.md of it.

Requests come from the models that parse them (`shapes`, `feedback_api`, `upload`), so a new field is described by being there. What the
gateway answers is written here; a test compares it with what a real gateway answers.
"""

from __future__ import annotations

from functools import cache
from typing import Any, get_args

from pipelines.serving import feedback_api, shapes, upload
from pipelines.serving.answer import Reason

Json = dict[str, Any]

REF = "#/components/schemas/{model}"
TEXT: Json = {"type": "string"}
NUMBER: Json = {"type": "number"}
WHOLE: Json = {"type": "integer", "minimum": 0}
TRUTH: Json = {"type": "boolean"}
MAYBE: Json = {"type": ["string", "null"]}

ERRORS: dict[int, tuple[str, str]] = {
    400: ("invalid_value, content_filter", "The request is malformed, or a guard refused the question; `param` names the place"),
    401: ("invalid_api_key", "No key or token, or one that is unknown, expired or revoked"),
    403: ("not_allowed", "The key may not do this: another domain, a named release, an upload"),
    404: ("model_not_found, not_found", "There is no such model, for this caller"),
    408: ("request_timeout", "The head or the body took too long to come"),
    409: ("conflict", "The present state forbids it"),
    413: ("request_too_large", "The body is larger than is read"),
    429: ("rate_limit_exceeded", "Over the key's requests a minute or tokens a day; `Retry-After` says when it may go on"),
    431: ("headers_too_large", "The head is larger than 32 KiB"),
    503: ("unavailable", "No live release, no engine, or no record could be written; `Retry-After` says when to try again"),
}
"""Status -> (codes, when)."""
ASKING = (400, 401, 403, 404, 408, 413, 429, 431, 503)

HEADERS: Json = {
    "X-Ratchet-Release": {"description": "The release that answered", "schema": {"type": "string", "examples": ["regulatory/r3"]}},
    "X-Request-Id": {"description": "Finds the request in the traffic log and in traces", "schema": TEXT},
}
RETRY: Json = {"Retry-After": {"description": "Seconds", "schema": {"type": "string", "pattern": r"^\d+$"}}}
PARAMETERS: list[Json] = [
    {
        "name": "X-Conversation-Id",
        "in": "header",
        "description": "Keeps a conversation on one release while a canary runs, as `metadata.conversation_id` does. Default: how it began",
        "schema": {"type": "string", "maxLength": 256},
    },
    {
        "name": "traceparent",
        "in": "header",
        "description": "W3C Trace Context: the request's spans lie under it, where the site traces",
        "schema": TEXT,
    },
]


def document() -> Json:
    """The whole document, as JSON's types. Not to be altered: it is kept."""
    return _document()


@cache
def _document() -> Json:
    schemas = _schemas()
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Ratchet gateway",
            "version": "1",
            "summary": "OpenAI's endpoints over releases of regulated text",
            "description": "Model names are domains. A name follows the domain's live release; `domain@rN` is that release for good.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"key": []}],
        "tags": [
            {"name": "answers", "description": "OpenAI's endpoints"},
            {"name": "feedback", "description": "What callers say of answers: docs/feedback.md"},
            {"name": "uploads", "description": "Delivering documents: docs/collect.md"},
            {"name": "operations", "description": "For load balancers and Prometheus; without a key, and so not for the public"},
        ],
        "paths": _paths(),
        "components": {
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An API key (`ratchet keys issue`), or a person's JWT where the site has OIDC: docs/access.md",
                }
            },
            "schemas": schemas,
        },
    }


def _paths() -> Json:
    chat = _said(
        "Ask a question, with the conversation before it",
        "ChatRequest",
        "ChatCompletion",
        "The last message of the user is the question. `stream: true` answers in server-sent events, as OpenAI does: a `ratchet` object "
        "comes with the last chunk. Text is sent as it is written only where the domain says `stream: live`.",
        stream="ChatCompletionChunk",
    )
    complete = _said(
        "Ask a question", "CompletionRequest", "Completion", "OpenAI's older endpoint: the prompt is the question.", stream="Completion"
    )
    embed = _said("Embed texts", "EmbeddingRequest", "Embeddings", "By the embedder of the domain's live index. The texts are not kept.")
    name = {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}, "description": "As `GET /v1/models` lists it"}
    domain = {"name": "domain", "in": "path", "required": True, "schema": TEXT}
    upload_id = {
        "name": "upload_id",
        "in": "path",
        "required": True,
        "description": "Drawn by the sender, one per delivery",
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"},
    }
    return {
        "/v1/chat/completions": {"post": chat},
        "/v1/completions": {"post": complete},
        "/v1/embeddings": {"post": embed},
        "/v1/models": {"get": _asked("answers", "Models this key may ask", _replies("Models", 401, 431))},
        "/v1/models/{name}": {"get": _asked("answers", "One model", _replies("Model", 401, 404, 431), parameters=[name])},
        "/v1/feedback": {
            "post": _asked(
                "feedback",
                "Say whether an answer was right",
                {
                    "201": _content("Received", "FeedbackReceived"),
                    "202": _content("Kept in quarantine: it counts for nothing, and `why` says so", "FeedbackReceived"),
                    **_errors(400, 401, 403, 404, 408, 413, 429, 431, 503),
                },
                description="A later judgement of the same key on the same answer replaces the one before; the same again changes nothing. "
                "An answer of another tenant is as unknown as one that was never given.",
                requestBody={"required": True, "content": {"application/json": {"schema": ref("Judgement")}}},
            )
        },
        "/v1/arrivals/{domain}/{upload_id}/{filename}": {
            "put": _asked(
                "uploads",
                "Upload one file of a delivery",
                {"201": _content("The file is kept", "UploadedFile"), **_errors(400, 401, 403, 404, 408, 409, 413, 431, 503)},
                parameters=[
                    domain,
                    upload_id,
                    {"name": "filename", "in": "path", "required": True, "schema": TEXT},
                    {
                        "name": "X-Content-SHA256",
                        "in": "header",
                        "description": "Of the file, in hex; or `Content-Digest: sha-256=:<base64>:` (RFC 9530)",
                        "schema": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
                    },
                ],
                requestBody={
                    "required": True,
                    "content": {"application/octet-stream": {"schema": {"type": "string", "minLength": 1}}},
                },
            )
        },
        "/v1/arrivals/{domain}/{upload_id}": {
            "post": _asked(
                "uploads",
                "Seal a delivery",
                {
                    "201": _content("Sealed now", "Sealed"),
                    "200": _content("Sealed before; the same words", "Sealed"),
                    **_errors(400, 401, 403, 404, 408, 409, 413, 431, 503),
                },
                parameters=[domain, upload_id],
                requestBody={"required": False, "content": {"application/json": {"schema": ref("Sealing")}}},
            )
        },
        "/healthz": {"get": _open("The process runs", {"200": _content("It does", "Alive")})},
        "/health": {"get": _open("The same, by the name that some load balancers use", {"200": _content("It does", "Alive")})},
        "/readyz": {
            "get": _open(
                "Whether every live release can be answered with",
                {"200": _content("It can", "Readiness"), "503": _content("It cannot; the body says what is wrong", "Readiness")},
            )
        },
        "/metrics": {
            "get": _open(
                "Prometheus' metrics, of every process", {"200": {"description": "Text", "content": {"text/plain": {"schema": TEXT}}}}
            )
        },
        "/openapi.json": {
            "get": _open(
                "This document", {"200": {"description": "OpenAPI", "content": {"application/json": {"schema": {"type": "object"}}}}}
            )
        },
    }


def _said(summary: str, request: str, reply: str, description: str, stream: str = "") -> Json:
    replies = _replies(reply, *ASKING)
    replies["200"]["headers"] = HEADERS
    if stream:
        # Of one event: OpenAPI has no words for a stream of them before 3.2, and tools read it so.
        replies["200"]["content"]["text/event-stream"] = {"schema": _object(data=TEXT)}
        replies["200"]["description"] += f". As a stream: `data:` lines, each a {stream}, the last `[DONE]`"
    body = {"required": True, "content": {"application/json": {"schema": ref(request)}}}
    return _asked("answers", summary, replies, description=description, requestBody=body, parameters=PARAMETERS)


def _asked(tag: str, summary: str, responses: Json, **more: Any) -> Json:
    return {"tags": [tag], "summary": summary, **more, "responses": responses}


def _open(summary: str, responses: Json) -> Json:
    return {"tags": ["operations"], "summary": summary, "security": [], "responses": responses | _errors(431)}


def _replies(schema: str, *errors: int) -> Json:
    return {"200": _content("Done", schema), **_errors(*errors)}


def _content(description: str, schema: str) -> Json:
    return {"description": description, "content": {"application/json": {"schema": ref(schema)}}}


def _errors(*statuses: int) -> Json:
    found: Json = {}
    for status in statuses:
        codes, when = ERRORS[status]
        found[str(status)] = _content(f"{when} (`{codes.replace(', ', '`, `')}`)", "Error")
        if status in (429, 503):
            found[str(status)]["headers"] = RETRY
    return found


def ref(name: str) -> Json:
    """A schema by its name."""
    return {"$ref": REF.format(model=name)}


def _schemas() -> Json:
    found: Json = {}
    for model in (shapes.ChatRequest, shapes.CompletionRequest, shapes.EmbeddingRequest, feedback_api.Judgement, upload.Sealing):
        schema = model.model_json_schema(ref_template=REF)
        found |= schema.pop("$defs", {})
        found[model.__name__] = schema
    usage = _object(prompt_tokens=WHOLE, completion_tokens=WHOLE, total_tokens=WHOLE)
    created = {"type": "integer", "description": "Unix seconds"}
    head = {"id": TEXT, "created": created, "model": TEXT, "system_fingerprint": MAYBE}
    finish = {"enum": ["stop", "content_filter"]}
    message = _object(role={"const": "assistant"}, content=TEXT, refusal=MAYBE)
    facts = ref("Facts")
    found |= {
        "ChatCompletion": _object(
            **head,
            object={"const": "chat.completion"},
            choices=_list(_object(index=WHOLE, message=message, logprobs={"type": "null"}, finish_reason=finish)),
            usage=usage,
            ratchet=facts,
        ),
        "ChatCompletionChunk": _object(
            ("ratchet", "usage"),
            **head,
            object={"const": "chat.completion.chunk"},
            choices=_list(
                _object(
                    index=WHOLE, delta=_object(("role", "content"), role=TEXT, content=TEXT), finish_reason={"type": ["string", "null"]}
                )
            ),
            ratchet=facts,
            usage=usage,
        ),
        "Completion": _object(
            **head,
            object={"const": "text_completion"},
            choices=_list(_object(index=WHOLE, text=TEXT, logprobs={"type": "null"}, finish_reason=finish)),
            usage=usage,
            ratchet=facts,
        ),
        "Facts": _object(
            release={"type": "string", "description": "Which release answered"},
            domain=TEXT,
            as_of={"type": "string", "format": "date", "description": "The day whose text in force was used"},
            request_id=TEXT,
            canary={"type": "boolean", "description": "Whether a release on trial answered"},
            abstained={"type": "boolean", "description": "No checked answer: the nearest passage is shown instead"},
            reason={"enum": [None, *get_args(Reason)], "description": "Why it abstained"},
            confidence={"type": "number", "minimum": 0, "maximum": 1, "description": "exp of the mean log-probability of a token"},
            min_logprob={"type": "number", "description": "Natural logarithm of the least likely token's probability"},
            cache={"enum": [None, "exact", "semantic"], "description": "Whether it was answered before"},
            route={"enum": ["own", "small", "provider"], "description": "Whose answer it is"},
            guards=_list(_object(rule=TEXT, action={"enum": ["report", "refuse"]}, where=TEXT)),
            sources=_list(ref("Source")),
        ),
        "Source": _object(
            key={"type": "string", "description": "Of the document"},
            paragraph=TEXT,
            title=TEXT,
            text=TEXT,
            valid_from=TEXT,
            valid_to=TEXT,
            version={"type": "string", "description": "Dataset version"},
            content={"type": "string", "description": "Hash of the document's text"},
            start={"type": "integer", "description": "Where the passage begins in it, in characters"},
            end=WHOLE,
            cited={"type": "boolean", "description": "Whether the answer rests on it"},
        ),
        "Embeddings": _object(
            object={"const": "list"},
            data=_list(
                _object(
                    object={"const": "embedding"},
                    index=WHOLE,
                    embedding={"oneOf": [{"type": "array", "items": NUMBER}, {"type": "string", "contentEncoding": "base64"}]},
                )
            ),
            model=TEXT,
            usage=_object(prompt_tokens=WHOLE, total_tokens=WHOLE),
        ),
        "Model": _object(id=TEXT, object={"const": "model"}, created=created, owned_by={"const": "ratchet"}),
        "Models": _object(object={"const": "list"}, data=_list(ref("Model"))),
        "FeedbackReceived": _object(
            id={"type": "string", "description": "Of the judgement"},
            state={"enum": ["received", "quarantined"]},
            why={"type": ["string", "null"], "description": "Why it is in quarantine"},
            review={
                "type": ["string", "null"],
                "description": "The item of the review queue that the complaint came to; null for a thumb up, and for an answer that was "
                "not kept: then it is counted only",
            },
        ),
        "UploadedFile": _object(name=TEXT, bytes=WHOLE, sha256={"type": "string", "pattern": "^[0-9a-f]{64}$"}),
        "Sealed": {"type": "object", "required": ["domain", "folder"], "properties": {"domain": TEXT, "folder": MAYBE}},
        "Alive": _object(status={"const": "ok"}),
        "Readiness": {
            "type": "object",
            "required": ["ready", "triton", "database", "domains"],
            "properties": {
                "ready": TRUTH,
                "triton": TRUTH,
                "database": TEXT,
                "domains": {
                    "type": "object",
                    "additionalProperties": {
                        "type": "object",
                        "required": ["live", "wanted", "canary", "faults"],
                        "properties": {"live": MAYBE, "wanted": MAYBE, "canary": MAYBE, "faults": {"type": "object"}},
                    },
                },
            },
        },
        "Error": _object(
            error=_object(
                message=TEXT,
                type={"enum": ["invalid_request_error", "permission_error", "rate_limit_error", "server_error"]},
                param={"type": ["string", "null"], "description": "Which part of the request is meant"},
                code=TEXT,
            )
        ),
    }
    return dict(sorted(found.items()))


def _object(optional: tuple[str, ...] = (), /, **properties: Json) -> Json:
    required = [name for name in properties if name not in optional]
    return {"type": "object", **({"required": required} if required else {}), "properties": properties}


def _list(items: Json) -> Json:
    return {"type": "array", "items": items}
