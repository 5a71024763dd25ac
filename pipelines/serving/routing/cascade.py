"""Who answers: the smaller base where its answer stands, else the domain's own engine, and where that fails an outside provider.

A cascade as in L. Chen, M. Zaharia and J. Zou, "FrugalGPT", arXiv:2305.05176, 2023, section 3: the cheap model writes, a score says whether
its answer stands. The score here is two-fold: the answer holds against the passages (`answer.conclude`), which no confidence replaces,
and its mean token probability reaches a threshold learned from the gate's own cases (`learn`). The rules and that decision are plain
functions of the question, the passages and what was written, so the gate measures exactly what serves (`measured`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Literal

from pipelines.errors import BadInput, RatchetError, Unavailable
from pipelines.retrieval.spans import years
from pipelines.serving.answer import LookUp, Parts, conclude
from pipelines.serving.exchange import Ask, Generated
from pipelines.serving.routing.small import Small
from pipelines.serving_config import Routing

Route = Literal["small", "own", "provider"]
AskEngine = Callable[[str, Ask], Awaitable[Generated]]
"""(engine, what) -> what it wrote: `Server.generate`."""
AskProvider = Callable[[str, int], Awaitable[Generated]]
"""(masked prompt, max_tokens) -> what it wrote: `Provided.generate`."""

log = logging.getLogger("ratchet.routing")


async def generate(
    found: LookUp,
    parts: Parts,
    routing: Routing,
    ask_engine: AskEngine,
    ask_provider: AskProvider | None = None,
    *,
    small: Small | None = None,
) -> tuple[Generated, Route]:
    """What was written for a question, and by whom. `found` holds at least one passage; what comes back is not yet concluded.

    The smaller base's abstention, doubt or error always goes up; so the errors are those of the domain's own engine. Unavailable there
    asks the provider, and a provider that fails too leaves the engine's own error, with the provider's as its cause.
    """
    said = await first(found, parts, routing, ask_engine, small)
    if said is not None:
        return said, "small"
    try:
        return await ask_engine(parts.engine, own(found, parts)), "own"
    except Unavailable as error:
        return await instead(found, parts, ask_provider, error), "provider"


async def first(found: LookUp, parts: Parts, routing: Routing, ask_engine: AskEngine, small: Small | None) -> Generated | None:
    """The smaller base's answer where it stands, else None. Never raises: a live stream asks this before it opens its own."""
    if small is None or small.resting or up_at_once(found, parts, routing, turns=small.turns) is not None:
        return None
    try:
        async with asyncio.timeout(small.seconds):
            said = await ask_engine(small.engine, Ask(found.prompt, "", parts.max_tokens, parts.chat))
    except Exception as error:  # whatever broke there, the domain's own engine can still answer
        # A prompt that is too long for it says nothing about the next one.
        small.note(failed=not isinstance(error, BadInput))
        log.info("the smaller base %s gave nothing: %s", small.engine, error if isinstance(error, RatchetError) else type(error).__name__)
        return None
    small.note(failed=False)
    return said if stands(found, said, parts, routing) else None


async def instead(found: LookUp, parts: Parts, ask_provider: AskProvider | None, error: Unavailable) -> Generated:
    """What the provider writes where the domain's own engine failed with `error`, which is raised when nobody else can answer."""
    if ask_provider is None:
        raise error
    try:
        return await ask_provider(found.prompt, parts.max_tokens)
    except RatchetError as theirs:
        raise error from theirs


def own(found: LookUp, parts: Parts) -> Ask:
    """What the domain's own engine is asked."""
    return Ask(found.prompt, parts.adapter, parts.max_tokens, parts.chat, parts.adapter_sha256)


def up_at_once(found: LookUp, parts: Parts, routing: Routing, *, turns: bool) -> str | None:
    """Why the smaller base is not asked at all, or None. `turns`: whether it has a chat template."""
    words = len(found.question.split())
    if words > routing.max_question_words:
        return f"the question has {words} words, more than {routing.max_question_words}"
    if parts.chat and not turns:
        return "the domain asks in turns, and the smaller base knows none"
    named = years(found.question)
    if not any(named <= years(f"{passage.title} {passage.text}") for passage in found.passages):
        # `conclude` would refuse whatever it wrote.
        return "no passage speaks of the years that the question names" if found.passages else "there is no passage"
    return None


def stands(found: LookUp, said: Generated, parts: Parts, routing: Routing) -> bool:
    """Whether the smaller base's answer is given: it holds against the passages, and is sure enough."""
    return said.confidence >= routing.threshold and holds(found, said, parts)


def holds(found: LookUp, said: Generated, parts: Parts) -> bool:
    """Whether it is an answer at all that its passages bear out."""
    return not conclude(found, said, "", parts, 0.0).abstained
