"""The one path from a question to a checked answer: the gateway and the gate both take it, so what was judged is what answers.

An answer is a span of the paragraph it cites, letter for letter apart from white space, and that paragraph speaks of the years that the
question names. Whatever else the model says, Ratchet abstains and shows the nearest passage instead.
"""

from __future__ import annotations

import time
from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from pipelines.config import Settings
from pipelines.errors import RatchetError
from pipelines.retrieval.spans import flatten, occurs, years

if TYPE_CHECKING:
    from pipelines.retrieval.index import Index, Passage
    from pipelines.serving.exchange import Ask, Generated
    from pipelines.state.models import Artifact, Candidate
    from pipelines.training.prompt import Prompt

Reason = Literal[
    "no_passage", "not_stated", "bad_citation", "not_in_passage", "other_year", "low_confidence", "passages_withheld", "answer_withheld"
]
"""Why there is no answer. The last two are a guard's doing."""
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
    min_confidence: float = 0.0
    """Below it an answer is withheld."""
    index_id: str = ""
    adapter_sha256: str = ""
    """What the engine must find in the adapter's folder; empty: it is not looked at."""
    canaries: frozenset[str] = frozenset()
    """Secrets planted in what the adapter learned from: no answer may hold one."""

    def ask(self, prompt: str, max_tokens: int | None = None) -> Ask:
        """What the engine is asked."""
        from pipelines.serving.exchange import Ask

        return Ask(prompt, self.adapter, max_tokens or self.max_tokens, self.chat, self.adapter_sha256)

    def with_adapter(self, adapter: str) -> Parts:
        """The same parts with another adapter, whose files are not looked at."""
        return replace(self, adapter=adapter, adapter_sha256="")


@dataclass(frozen=True, slots=True)
class LookUp:
    """The passages found for a question, nearest first, and the prompt made of them."""

    question: str
    passages: tuple[Passage, ...]
    prompt: str
    withheld: int = 0
    """How many more were found, and kept back by a guard."""


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


def open_parts(settings: Settings, candidate: Candidate, indexes: MutableMapping[str, Index] | None = None) -> Parts:
    """Open a candidate's parts, each checked against the hash it was gated with. RatchetError when one is gone or altered.

    `indexes`: those that are open, by id; releases that share one share it in memory too.
    """
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
    index = None if indexes is None else indexes.get(candidate.index_id)
    if index is None:
        index = Index(artifacts.path_of(settings, candidate.index_id))
        if indexes is not None:
            indexes[candidate.index_id] = index
    adapter = artifacts.get(settings, candidate.adapter_id) if candidate.adapter_id else None
    return Parts(
        index=index,
        prompt=prompt,
        adapter=artifacts.path_of(settings, adapter.id).name if adapter is not None else "",
        passages=int(candidate.policy["passages"]),
        max_tokens=int(candidate.policy["max_new_tokens"]),
        release=candidate.id,
        engine=engine_name(candidate.base_sha256),
        chat=in_turns(candidate.policy),
        min_confidence=float(candidate.policy.get("min_confidence", 0.0)),
        index_id=candidate.index_id,
        adapter_sha256=adapter.sha256 if adapter is not None else "",
        canaries=_canaries(settings, adapter) if adapter is not None else frozenset(),
    )


def _canaries(settings: Settings, adapter: Artifact) -> frozenset[str]:
    from pipelines.registry import artifacts
    from pipelines.training import canaries

    examples = artifacts.examples_of(settings, adapter)
    return frozenset(canary.secret for canary in canaries.load(examples)) if examples is not None else frozenset()


def answer(question: str, as_of: str, parts: Parts, generate: Generate) -> Answer:
    """Answer by the text in force on `as_of` (ISO date). Errors are those of the index and of `generate`."""
    began = time.perf_counter()
    found = look_up(question, as_of, parts)
    generated = generate([found.prompt], parts.adapter, parts.max_tokens, parts.chat)[0] if found.passages else None
    return conclude(found, generated, as_of, parts, time.perf_counter() - began)


def look_up(question: str, as_of: str, parts: Parts, roles: frozenset[str] | None = None) -> LookUp:
    """Retrieve what a caller with these roles may see, and render; blocking."""
    return shown(question, tuple(parts.index.search(question, as_of=as_of, k=parts.passages, roles=roles)), parts.prompt)


def shown(question: str, passages: tuple[Passage, ...], prompt: Prompt) -> LookUp:
    """The prompt of a question and the passages found for it; empty where there are none, for then nothing is asked."""
    return LookUp(question, passages, prompt.render([passage.text for passage in passages], question) if passages else "")


def conclude(found: LookUp, generated: Generated | None, as_of: str, parts: Parts, seconds: float) -> Answer:
    """Check what was generated against the passages; `generated` is None when there was nothing to ask about."""
    span, cited, reason = _checked(found, generated, parts)
    if span is not None and cited is not None:
        text = f"{span} [{cited.paragraph}]"
    elif found.passages:
        nearest = found.passages[0]
        text = (
            f"{parts.release} holds no checked answer to this. "
            f"The nearest passage is {nearest.paragraph} ({nearest.title}): {flatten(nearest.text)}"
        )
    elif found.withheld:
        text = f"{parts.release} holds no passage on this that may be shown."
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


def withheld(answer: Answer, parts: Parts) -> Answer:
    """The same without its answer: a guard found something in it. The passage is not shown either, for that is where it came from."""
    return replace(
        answer,
        text=f"{parts.release} holds an answer that may not be shown.",
        answer=None,
        cited=None,
        abstained=True,
        reason="answer_withheld",
    )


def _checked(found: LookUp, generated: Generated | None, parts: Parts) -> tuple[str, Passage, None] | tuple[None, None, Reason]:
    passages = found.passages
    if generated is None:
        return None, None, "passages_withheld" if found.withheld else "no_passage"
    parsed = parts.prompt.parse(generated.text)
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
    if generated.confidence < parts.min_confidence:
        return None, None, "low_confidence"
    return span, cited, None
