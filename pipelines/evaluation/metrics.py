"""What one answer is worth: RAGAS metrics that need no model to judge, in [0, 1], higher is better.

answer_correct       the answer equals the reference, apart from case, white space and closing punctuation (ragas ExactMatch)
amount_and_citation  the same, and the cited passage is the one that states it
context_recall       the passage that states the answer was retrieved (ragas IDBasedContextRecall)
context_precision    share of the retrieved passages that state the answer (ragas IDBasedContextPrecision)
grounded             the answer is a literal span of what it cites; an abstention claims nothing and counts as grounded
answered             there was an answer at all

Does not cover free text: nothing here judges a paraphrase.
"""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from pipelines.evaluation.goldens import Golden
from pipelines.retrieval.index import Passage

METRICS = ("answer_correct", "amount_and_citation", "context_recall", "context_precision", "grounded", "answered")

_RESAMPLES = 2000
_SEED = 7


@dataclass(frozen=True, slots=True)
class Answered:
    """What an answerer gave for one question. `answer` is None where it abstained; `passages` are those the model was shown."""

    answer: str | None
    cited_key: str | None
    cited_text: str
    passages: list[Passage]
    abstained: bool
    seconds: float


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean with its 95 % confidence interval. `missing` counts the rows without a value; with none left the figures are NaN."""

    mean: float
    low: float
    high: float
    n: int
    missing: int


def score(pairs: Sequence[tuple[Golden, Answered]]) -> list[dict[str, float | None]]:
    """Every metric of every answer; None where a metric gave no number."""
    return asyncio.run(_score_all(pairs))


async def _score_all(pairs: Sequence[tuple[Golden, Answered]]) -> list[dict[str, float | None]]:
    return [await _score(golden, answered) for golden, answered in pairs]


async def _score(golden: Golden, answered: Answered) -> dict[str, float | None]:
    ragas = _ragas()
    claimed = None if answered.abstained else answered.answer
    reference, response = normal(golden.answer), normal(claimed or "")
    cited_right = golden.stated_by(answered.cited_key, answered.cited_text)
    # A passage is known by its key, or, where the golden knows none, by whether it holds the quoted words.
    wanted = golden.cites or f"quote:{golden.id}"
    retrieved = [wanted if golden.stated_by(one.key, one.text) else one.key for one in answered.passages]
    # Precision of nothing is undefined to ragas. Here it is a known failure, not a missing measurement: 0.
    sample = ragas["sample"](retrieved_context_ids=retrieved or ["nothing was retrieved"], reference_context_ids=[wanted])
    # The scoring itself, not its public wrapper: that one keeps an id of this user in the home directory even when tracking is off.
    return {
        "answer_correct": _number((await ragas["exact"].ascore(reference=reference, response=response)).value),
        "amount_and_citation": _number(
            (await ragas["amount_and_citation"].ascore(reference=reference, response=response, cited_right=cited_right)).value
        ),
        "context_recall": _number(await ragas["recall"]._single_turn_ascore(sample, [])),
        "context_precision": _number(await ragas["precision"]._single_turn_ascore(sample, [])),
        "grounded": _number((await ragas["grounded"].ascore(answer=flat(claimed or ""), cited=flat(answered.cited_text))).value),
        "answered": _number((await ragas["answered"].ascore(answer=claimed or "")).value),
    }


@lru_cache(maxsize=1)
def _ragas() -> dict[str, Any]:
    """The metrics, ready to use. Importing ragas takes about six seconds: only the gate pays for it."""
    # Set, not defaulted: ragas reports every evaluation to its makers, and langchain traces where the environment says so.
    os.environ["RAGAS_DO_NOT_TRACK"] = "true"
    os.environ["LANGCHAIN_TRACING_V2"] = os.environ["LANGSMITH_TRACING"] = "false"
    from ragas.dataset_schema import SingleTurnSample
    from ragas.metrics import numeric_metric
    from ragas.metrics._context_precision import IDBasedContextPrecision
    from ragas.metrics._context_recall import IDBasedContextRecall
    from ragas.metrics.collections import ExactMatch

    scale = (0.0, 1.0)

    def amount_and_citation(reference: str, response: str, cited_right: bool) -> float:
        return float(reference == response and cited_right)

    def grounded(answer: str, cited: str) -> float:
        return float(answer in cited)

    def answered(answer: str) -> float:
        return float(bool(answer.strip()))

    return {
        "sample": SingleTurnSample,
        "exact": ExactMatch(),
        "recall": IDBasedContextRecall(),
        "precision": IDBasedContextPrecision(),
        "amount_and_citation": numeric_metric(name="amount_and_citation", allowed_values=scale)(amount_and_citation),
        "grounded": numeric_metric(name="grounded", allowed_values=scale)(grounded),
        "answered": numeric_metric(name="answered", allowed_values=scale)(answered),
    }


def _number(value: Any) -> float | None:
    """A finite number, or None: an error inside a metric arrives here as None, an undefined one as NaN."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def flat(text: str) -> str:
    """On one line, as the prompt shows it."""
    return " ".join(text.split())


def normal(text: str) -> str:
    """Flat, without case and closing punctuation: "$53,500." and "$53,500" are one answer."""
    return flat(text).casefold().strip(" .,;:\"'“”")


def estimate(values: Sequence[float | None]) -> Estimate:
    """Mean and percentile-bootstrap interval (2000 resamples, seeded: the same values give the same interval).

    Where all values are equal resampling sees no spread, and twelve right answers of twelve are no proof of perfection: all-0 and all-1
    get the Wilson interval instead.
    """
    import numpy as np

    known = np.array([value for value in values if value is not None and math.isfinite(value)], dtype=np.float64)
    missing = len(values) - len(known)
    if len(known) == 0:
        return Estimate(math.nan, math.nan, math.nan, 0, missing)
    mean = float(known.mean())
    if np.all(known == known[0]) and known[0] in (0.0, 1.0):
        low, high = _wilson(int(known.sum()), len(known))
    else:
        draws = np.random.default_rng(_SEED).choice(known, size=(_RESAMPLES, len(known)))
        low, high = (float(edge) for edge in np.percentile(draws.mean(axis=1), [2.5, 97.5]))
    return Estimate(mean, low, high, len(known), missing)


def _wilson(hits: int, n: int) -> tuple[float, float]:
    """95 % score interval of a proportion (Wilson 1927)."""
    z = 1.959964
    centre = (hits + z * z / 2) / (n + z * z)
    half = z / (n + z * z) * math.sqrt(hits * (n - hits) / n + z * z / 4)
    return max(0.0, centre - half), min(1.0, centre + half)
