"""Outcomes as the cache keeps them: the key of an inquiry, and the bytes of what came of it, masked as it was made."""

from __future__ import annotations

from typing import Literal

import orjson

from pipelines.retrieval.index import Passage
from pipelines.serving.answer import Answer, Parts
from pipelines.serving.cache import key as cache_key
from pipelines.serving.cache.key import CacheKey
from pipelines.serving.inquiry import Inquiry, Outcome
from pipelines.serving.releases import Route

_PASSAGE = ("key", "title", "text", "paragraph", "valid_from", "valid_to", "score", "content", "version", "start", "end")


def key_of(inquiry: Inquiry, route: Route, parts: Parts) -> CacheKey:
    """Of everything that may change the answer."""
    return cache_key.of(
        domain=inquiry.domain,
        tenant=inquiry.key.tenant,
        roles=inquiry.key.roles_for(parts.index.access),
        release=parts.release,
        prompt_sha256=parts.prompt.sha256,
        index=parts.index_id,
        policy={"domain": route.mark},
        as_of=inquiry.as_of,
        epoch=route.epoch,
        question=inquiry.masked.text,
    )


def frozen(outcome: Outcome) -> bytes:
    """An outcome as the cache keeps it: masked as it was made."""
    answer = outcome.answer
    cited = next((place for place, passage in enumerate(answer.passages) if passage is answer.cited), None)
    # Named one by one: a copy of dataclasses, field by field and deep, took longer than all the rest of a hit.
    fields = [answer.text, answer.answer, cited, answer.reason, answer.confidence, answer.tokens_in, answer.tokens_out]
    passages = [[getattr(passage, name) for name in _PASSAGE] for passage in answer.passages]
    return orjson.dumps([fields, passages, outcome.route, outcome.min_logprob])


def thawed(value: bytes, parts: Parts, canary: bool, how: Literal["exact", "semantic"]) -> Outcome:
    """What `frozen` kept, as an outcome of the same release."""
    (text, said, cited, reason, confidence, tokens_in, tokens_out), rows, way, min_logprob = orjson.loads(value)
    passages = tuple(Passage(**dict(zip(_PASSAGE, row, strict=True))) for row in rows)
    answer = Answer(
        text=text,
        answer=said,
        cited=passages[cited] if cited is not None else None,
        passages=passages,
        abstained=reason is not None,
        reason=reason,
        confidence=confidence,
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        seconds=0.0,
    )
    return Outcome(answer, parts, canary, how, way, min_logprob)
