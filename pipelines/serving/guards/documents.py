"""Orders to the model that stand in a retrieved passage. Such a passage is withheld: the model is not shown it.

Regulated text is full of imperatives, so only what is said to a model counts: the phrases and marks that intake holds a document for, on
every reading of the text, and those of a question. The learned head is not asked here: it was made for questions. Intake has screened each
document once; this is for those accepted by hand, those that came before a phrase was known, and chunks that read differently alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from pipelines.serving.guards import patterns
from pipelines.serving.guards.folding import readings, turned
from pipelines.serving.guards.verdict import Verdict, judge
from pipelines.serving_config import Guards


def withheld(texts: Sequence[str], policy: Guards) -> dict[int, Verdict]:
    """By index, the passages that give orders; their verdict's action says whether to keep them from the model or only to report it.

    Each text is looked at once in a process: a passage costs microseconds the second time. Errors are refusals.
    """
    found: dict[int, Verdict] = {}
    for place, text in enumerate(texts):
        verdicts = judge("documents", f"passage {place + 1}", policy, lambda text=text: orders(text), policy.injection_threshold)  # type: ignore[misc]
        if verdicts:
            found[place] = verdicts[0]
    return found


@lru_cache(maxsize=8192)
def orders(text: str) -> float:
    """How surely the text gives orders to a model, in [0, 1]."""
    read = readings(text)
    score = patterns.weigh(read, text, turned(read[0]))
    if score < patterns.SURE and any(_held(reading) for reading in (text, *read[1:])):
        score = max(score, patterns.SURE)
    return score


def _held(text: str) -> bool:
    from pipelines.intake.screen import encoding, instructions
    from pipelines.screen_config import Screen

    config = Screen()
    return any(next(rule(text, config), None) is not None for rule in (instructions.spans, instructions.triggers, encoding.spans))
