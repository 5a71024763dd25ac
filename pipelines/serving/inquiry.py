"""One request for an answer, what came of it, and the line that the traffic log gets of both."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from pipelines.serving.answer import Answer, Parts
from pipelines.serving.guards.verdict import Verdict
from pipelines.serving.identifiers import Masked
from pipelines.serving.keys import Key


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
            "cache": outcome.cache,
            "route": outcome.route,
        }
    return record
