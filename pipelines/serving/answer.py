"""The one path from a question to a checked answer: the gateway and the gate both take it, so what was judged is what answers.

An answer is a span of the paragraph it cites, letter for letter apart from white space, and that paragraph speaks of the years that the
question names. Whatever else the model says, Ratchet abstains and shows the nearest passage instead.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from pipelines.config import Settings
from pipelines.errors import RatchetError
from pipelines.retrieval.spans import flatten, occurs, years

if TYPE_CHECKING:
    from pipelines.retrieval.index import Index, Passage
    from pipelines.serving.client import Generated
    from pipelines.state.models import Candidate
    from pipelines.training.prompt import Prompt

Reason = Literal["no_passage", "not_stated", "bad_citation", "not_in_passage", "other_year"]
Generate = Callable[[Sequence[str], str, int, bool], "list[Generated]"]
"""(prompts, adapter, max_tokens, chat) -> one result per prompt."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What one candidate answers with. `adapter` is its folder's name under the artifact store's `adapter/`, empty for the bare base."""

    index: Index
    prompt: Prompt
    adapter: str
    passages: int
    max_tokens: int
    release: str
    engine: str = ""
    chat: bool = False
    """The prompt is a turn of the base's chat template."""

    def with_adapter(self, adapter: str) -> Parts:
        """The same parts with another adapter."""
        return replace(self, adapter=adapter)


@dataclass(frozen=True, slots=True)
class LookUp:
    """The passages found for a question, nearest first, and the prompt made of them."""

    question: str
    passages: tuple[Passage, ...]
    prompt: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What is said, and what it rests on. `answer` and `cited` are None when abstained; `reason` then says why."""

    text: str
    answer: str | None
    cited: Passage | None
    passages: tuple[Passage, ...]
    abstained: bool
    reason: Reason | None
    confidence: float
    tokens_in: int
    tokens_out: int
    seconds: float


def open_parts(settings: Settings, candidate: Candidate) -> Parts:
    """Open a candidate's parts, each checked against the hash it was gated with. RatchetError when one is gone or altered."""
    from pipelines.registry import artifacts
    from pipelines.registry.parts import engine_name, in_turns
    from pipelines.retrieval.index import Index
    from pipelines.training.prompt import Prompt

    prompt = Prompt.load(candidate.prompt, settings)
    if prompt.sha256 != candidate.prompt_sha256:
        raise RatchetError(
            f"the prompt {candidate.prompt} is not the one {candidate.id} was made with",
            where=str(settings.configs / "prompts"),
            todo="restore it, and give a changed prompt a new version number",
        )
    return Parts(
        index=Index(artifacts.path_of(settings, candidate.index_id)),
        prompt=prompt,
        adapter=artifacts.path_of(settings, candidate.adapter_id).name if candidate.adapter_id else "",
        passages=int(candidate.policy["passages"]),
        max_tokens=int(candidate.policy["max_new_tokens"]),
        release=candidate.id,
        engine=engine_name(candidate.base_sha256),
        chat=in_turns(candidate.policy),
    )


def answer(question: str, as_of: str, parts: Parts, generate: Generate) -> Answer:
    """Answer by the text in force on `as_of` (ISO date). Errors are those of the index and of `generate`."""
    began = time.perf_counter()
    found = look_up(question, as_of, parts)
    generated = generate([found.prompt], parts.adapter, parts.max_tokens, parts.chat)[0] if found.passages else None
    return conclude(found, generated, as_of, parts, time.perf_counter() - began)


def look_up(question: str, as_of: str, parts: Parts) -> LookUp:
    """Retrieve and render; blocking."""
    return shown(question, tuple(parts.index.search(question, as_of=as_of, k=parts.passages)), parts.prompt)


def shown(question: str, passages: tuple[Passage, ...], prompt: Prompt) -> LookUp:
    """The prompt of a question and the passages found for it; empty where there are none, for then nothing is asked."""
    return LookUp(question, passages, prompt.render([passage.text for passage in passages], question) if passages else "")


def conclude(found: LookUp, generated: Generated | None, as_of: str, parts: Parts, seconds: float) -> Answer:
    """Check what was generated against the passages; `generated` is None when there was nothing to ask about."""
    span, cited, reason = _checked(found, generated, parts.prompt)
    if span is not None and cited is not None:
        text = f"{span} [{cited.paragraph}]"
    elif found.passages:
        nearest = found.passages[0]
        text = (
            f"{parts.release} holds no checked answer to this. "
            f"The nearest passage is {nearest.paragraph} ({nearest.title}): {flatten(nearest.text)}"
        )
    else:
        text = f"{parts.release} holds no text in force on {as_of} that this could be answered from."
    return Answer(
        text=text,
        answer=span,
        cited=cited,
        passages=found.passages,
        abstained=reason is not None,
        reason=reason,
        confidence=generated.confidence if generated else 0.0,
        tokens_in=generated.tokens_in if generated else 0,
        tokens_out=generated.tokens_out if generated else 0,
        seconds=seconds,
    )


def _checked(found: LookUp, generated: Generated | None, prompt: Prompt) -> tuple[str, Passage, None] | tuple[None, None, Reason]:
    passages = found.passages
    if generated is None:
        return None, None, "no_passage"
    parsed = prompt.parse(generated.text)
    if parsed.answer is None or parsed.cited is None:
        return None, None, "not_stated"
    if not 1 <= parsed.cited <= len(passages):
        return None, None, "bad_citation"
    cited = passages[parsed.cited - 1]
    span = flatten(parsed.answer)
    if not occurs(span, cited.text):
        # A span that stands in one passage only rests on that one, whichever number the model wrote behind it.
        holders = [passage for passage in passages if occurs(span, passage.text)]
        if len(holders) != 1:
            return None, None, "not_in_passage"
        cited = holders[0]
    if not years(found.question) <= years(f"{cited.title} {cited.text}"):
        # The paragraph of another year states a true figure that answers another question.
        return None, None, "other_year"
    return span, cited, None
