"""What is looked for in a question before anything is done with it: too much text, orders to the model, crude words.

An ordinary question of 120 tokens costs less than 100 microseconds; the bench has the figures. See docs/guards.md for what is not covered.
"""

from __future__ import annotations

from functools import lru_cache

from pipelines.serving.guards import head, patterns, toxic
from pipelines.serving.guards.folding import readings, turned
from pipelines.serving.guards.verdict import Verdict, judge
from pipelines.serving_config import Guards


def screen(question: str, messages_characters: int, policy: Guards) -> list[Verdict]:
    """Verdicts on a question; empty for an ordinary one. `messages_characters` counts all messages of the request together.

    Budgets are no matter of watching: they are refused also where a domain only reports, and then nothing else is looked at. An error in
    a guard is a refusal with the rule `guard_failed`; nothing is raised.
    """
    if len(question) > policy.question_characters:
        return [Verdict("question_characters", "refuse", 1.0, "question")]
    if messages_characters > policy.conversation_characters:
        return [Verdict("conversation_characters", "refuse", 1.0, "messages")]
    found = judge("injection", "question", policy, lambda: injection(question), policy.injection_threshold)
    found += judge("toxicity", "question", policy, lambda: _toxicity(question))
    return found


@lru_cache(maxsize=1024)
def injection(text: str) -> float:
    """How surely a text gives orders to the model, in [0, 1]: the surer of the phrases and, unless they are sure already, the head."""
    read = _readings(text)
    score = patterns.weigh(read, text, turned(read[0]))
    if score < patterns.SURE:
        score = max(score, *(head.load().score(reading) for reading in read))
    return score


@lru_cache(maxsize=1024)
def _toxicity(text: str) -> float:
    return toxic.score(_readings(text))


@lru_cache(maxsize=64)
def _readings(text: str) -> tuple[str, ...]:
    """Kept for the rules of one request, which all read the same text."""
    return tuple(readings(text))
