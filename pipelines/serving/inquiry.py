"""One request for an answer, what came of it, the line that the traffic log gets of both, and what is kept for review."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from pipelines.serving.answer import Answer, Parts
from pipelines.serving.guards.verdict import Verdict
from pipelines.serving.identifiers import Masked
from pipelines.serving.keys import Key
from pipelines.traffic.samples import Sample, Shown


@dataclass(slots=True)
class Inquiry:
    """One request for an answer."""

    request_id: str
    key: Key
    domain: str
    release: str | None
    """An exact release, where one was asked for."""
    question: str
    as_of: str
    conversation: str
    """A hash: what the caller calls it may say who they are."""
    characters: int
    """Of all messages."""
    began: float
    store: bool | None = None
    """Whether the caller lets the answer be kept for review; None: the request does not say."""
    masked: Masked = field(default_factory=lambda: Masked(""))
    verdicts: list[Verdict] = field(default_factory=list)
    first: float | None = None
    """Seconds until the first letter went out."""
    instance: str | None = None
    """The Triton that answered."""

    def told(self, instance: str) -> None:
        """Which Triton answered."""
        self.instance = instance


@dataclass(frozen=True, slots=True)
class Outcome:
    """An answer, and where it came from."""

    answer: Answer
    parts: Parts
    canary: bool
    cache: Literal["exact", "semantic"] | None = None
    route: str = "own"
    min_logprob: float = 0.0
    taken_back: bool = False
    """What was streamed of it is no beginning of the checked answer."""

    @property
    def spent(self) -> int:
        """Tokens that were worked for; a cached answer costs none."""
        return 0 if self.cache else self.answer.tokens_in + self.answer.tokens_out

    @property
    def filtered(self) -> bool:
        """Whether something was kept back, or taken back."""
        return self.taken_back or self.answer.reason in ("answer_withheld", "passages_withheld")


def record_of(
    inquiry: Inquiry, parts: Parts | None, canary: bool, status: int, seconds: float, outcome: Outcome | None, shadow: bool
) -> dict[str, Any]:
    """One line of the traffic log: docs/traffic.md says what each field is."""
    record: dict[str, Any] = {
        "request_id": inquiry.request_id,
        "conversation": inquiry.conversation,
        "release": parts.release if parts else None,
        "prompt": parts.prompt.name if parts else None,
        "canary": canary,
        "shadow": shadow,
        "status": status,
        "key": inquiry.key.name,
        "tenant": inquiry.key.tenant,
        "as_of": inquiry.as_of,
        "latency_ms": round(seconds * 1000, 2),
        "first_ms": round(inquiry.first * 1000, 2) if inquiry.first is not None else None,
        "engine": parts.engine if parts else None,
        "instance": inquiry.instance,
        "guards": [{"rule": one.rule, "action": one.action, "score": one.score, "where": one.where} for one in inquiry.verdicts],
    }
    if outcome is not None:
        answer = outcome.answer
        record |= {
            "tokens_in": answer.tokens_in,
            "tokens_out": answer.tokens_out,
            "confidence": round(answer.confidence, 4),
            "min_logprob": round(outcome.min_logprob, 4),
            "abstained": answer.abstained,
            "reason": answer.reason,
            "sources": [passage.key for passage in answer.passages],
            "cited": answer.cited.key if answer.cited else None,
            "top_score": round(answer.passages[0].score, 4) if answer.passages else None,
            "cache": outcome.cache,
            "route": outcome.route,
        }
    return record


def sample_of(inquiry: Inquiry, outcome: Outcome) -> Sample:
    """Question and answer as they are kept for review: masked, the caller's own words not put back."""
    answer = outcome.answer
    shown = tuple(
        Shown.model_construct(key=one.key, content=one.content, paragraph=one.paragraph, title=one.title, text=one.text)
        for one in answer.passages
    )
    return Sample.model_construct(
        at=datetime.now(UTC),
        request_id=inquiry.request_id,
        question=inquiry.masked.text,
        answer=answer.text,
        span=answer.answer,
        as_of=inquiry.as_of,
        passages=shown,
        cited=answer.cited.key if answer.cited else None,
        release=outcome.parts.release,
        tenant=inquiry.key.tenant,
        key=inquiry.key.name,
        conversation=inquiry.conversation,
        confidence=round(answer.confidence, 4),
        abstained=answer.abstained,
        reason=answer.reason,
        cache=outcome.cache,
    )
