"""Do metrics of faithfulness agree with people? Rank correlation and AUC against answers that people rated, with intervals.

Spearman's rank correlation is with the mean of an answer's ratings. The AUC is the chance that the metric puts a faithful answer above
an unfaithful one, ties counting half (J. A. Hanley and B. J. McNeil, Radiology 143, 1982); faithful is what the median of the ratings
calls at least "mostly yes" (3 of 1 to 4). Intervals are 95 % percentile bootstraps over whole conversations, whose answers resemble one
another (A. C. Davison and D. V. Hinkley, "Bootstrap Methods and their Application", 1997, ch. 2.4 and 3.8).

All metrics are measured by faithfulness, also those of a judge that are not about it: relevancy that cannot tell faithful from invented
gets no vote. How to read the figures, and ours: docs/metrics.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationError

from pipelines.errors import BadInput, NotFound
from pipelines.retrieval.spans import flatten

FAITHFUL = 3.0
"""Least median rating of a faithful answer, of 1 (no), 2 (mostly no), 3 (mostly yes), 4 (yes)."""

_LARGEST = 64 * 2**20
_RESAMPLES = 2_000
_SEED = 7
_AGAINST_PASSAGES = ("rouge_l", "string_similarity", "semantic_similarity")
"""RAGAS's metrics that can compare an answer with a passage as well as with a reference."""
_RECORDED = ("RougeL", "Bert-KPrec")
"""Of the file's own metrics: overlap with the reference, and BERTScore precision against the passages."""


@dataclass(frozen=True, slots=True)
class Rated:
    """An answer, what it was made of, and how faithful each of its raters called it. `group` is its conversation."""

    id: str
    group: str
    question: str
    answer: str
    contexts: tuple[str, ...]
    reference: str
    ratings: tuple[float, ...]
    recorded: Mapping[str, float] = field(default_factory=dict)
    """What the file says of other metrics, by name."""

    @property
    def faithful(self) -> bool:
        """What most raters say."""
        return median(self.ratings) >= FAITHFUL


def calibrate(
    rated: Sequence[Rated], metrics: Mapping[str, Sequence[float | None]], data: str = "", judge: str | None = None
) -> dict[str, Any]:
    """JSON of each metric's agreement with the ratings: {data, cases, judge: {model} or None, metrics: name -> {n, spearman, auc}}.

    Spearman and AUC are {value, low, high}, each None where it is undefined. `metrics` has a value, or None, for every answer, in order.
    BadInput when a metric has another number of values.
    """
    for name, values in metrics.items():
        if len(values) != len(rated):
            raise BadInput(f"{name} has {len(values)} values for {len(rated)} answers")
    found = {name: _agreement(rated, values) for name, values in metrics.items()}
    return {"data": data, "cases": len(rated), "judge": {"model": judge} if judge is not None else None, "metrics": found}


def offline(rated: Sequence[Rated]) -> dict[str, list[float | None]]:
    """Every metric that needs no judge, one value for each answer: ours, RAGAS's against the nearest passage, and those recorded."""
    from pipelines.evaluation.groundedness import groundedness
    from pipelines.evaluation.measures import measure

    found: dict[str, list[float | None]] = {"groundedness": [groundedness(one.answer, one.contexts) for one in rated]}
    pairs = [
        (place, {"expected": flatten(text), "answer": flatten(one.answer)}) for place, one in enumerate(rated) for text in one.contexts
    ]
    for name in _AGAINST_PASSAGES:
        best: list[float | None] = [0.0] * len(rated)
        for (place, _), value in zip(pairs, measure([(name, told) for _, told in pairs]), strict=True):
            before = best[place]
            best[place] = None if before is None or value is None else max(before, value)
        found[name] = best
    recorded = {f"recorded {name}": [one.recorded.get(name) for one in rated] for name in _RECORDED}
    return found | {name: values for name, values in recorded.items() if any(value is not None for value in values)}


def read(path: Path) -> list[Rated]:
    """The answers of a file in the form of mtrag's human evaluations (InspectorRAGet); those that nobody rated are left out.

    Of a conversation of several turns the question is all of them. BadInput when the file has another form; NotFound without one.
    """
    if not path.is_file():
        raise NotFound("there is no such file", where=str(path))
    if (size := path.stat().st_size) > _LARGEST:
        raise BadInput(f"is {size / 2**20:.0f} MB, more than {_LARGEST // 2**20}", where=str(path), todo="give a part of it")
    try:
        file = _File.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        at = ".".join(map(str, first["loc"])) or "file"
        raise BadInput(f"{at}: {first['msg']}", where=str(path), todo="the form is told in docs/metrics.md") from None
    texts = {one.document_id: one.text for one in file.documents}
    tasks = {one.task_id: one for one in file.tasks}
    found = [
        _rated(one, tasks, texts, f"{path}: evaluations.{place}")
        for place, one in enumerate(file.evaluations)
        if one.annotations.faithfulness
    ]
    if not found:
        raise BadInput("nobody rated the faithfulness of any answer", where=str(path), todo="the form is told in docs/metrics.md")
    return found


class _Text(BaseModel):
    text: str


class _Turn(_Text):
    speaker: str


class _Document(_Text):
    document_id: str


class _Context(BaseModel):
    document_id: str


class _Task(BaseModel):
    task_id: str
    input: list[_Turn] = Field(min_length=1)
    contexts: list[_Context]
    targets: list[_Text] = []


class _Rating(BaseModel):
    value: Annotated[float, Field(ge=1, le=4)]


class _Annotations(BaseModel):
    faithfulness: dict[str, _Rating] = {}
    model_config = {"extra": "allow"}


class _Evaluation(BaseModel):
    task_id: str
    model_id: str
    model_response: str
    annotations: _Annotations


class _File(BaseModel):
    """What is read of the file; there is more in it."""

    documents: list[_Document]
    tasks: list[_Task]
    evaluations: list[_Evaluation]


def _rated(one: _Evaluation, tasks: Mapping[str, _Task], texts: Mapping[str, str], where: str) -> Rated:
    task = tasks.get(one.task_id)
    if task is None:
        raise BadInput(f"there is no task {one.task_id!r}", where=where, todo="mend the file")
    if lacking := [context.document_id for context in task.contexts if context.document_id not in texts]:
        raise BadInput(f"there is no document {lacking[0]!r}", where=where, todo="mend the file")
    turns = task.input
    return Rated(
        id=f"{one.task_id}/{one.model_id}",
        # A task's id is its conversation's, and the turn's number.
        group=one.task_id.partition("<::>")[0],
        question=turns[0].text if len(turns) == 1 else "\n".join(f"{turn.speaker}: {turn.text}" for turn in turns),
        answer=one.model_response,
        contexts=tuple(texts[context.document_id] for context in task.contexts),
        reference=task.targets[0].text if task.targets else "",
        ratings=tuple(rating.value for rating in one.annotations.faithfulness.values()),
        recorded={name: value for name in _RECORDED if (value := _system(one.annotations, name)) is not None},
    )


def _system(annotations: _Annotations, name: str) -> float | None:
    """What the file's authors measured themselves."""
    recorded = (annotations.model_extra or {}).get(name)
    system = recorded.get("system") if isinstance(recorded, dict) else None
    value = system.get("value") if isinstance(system, dict) else None
    return float(value) if isinstance(value, int | float) else None


def _agreement(rated: Sequence[Rated], values: Sequence[float | None]) -> dict[str, Any]:
    import numpy as np

    known = [(one, value) for one, value in zip(rated, values, strict=True) if value is not None and math.isfinite(value)]
    scores = np.array([value for _, value in known])
    ratings = np.array([sum(one.ratings) / len(one.ratings) for one, _ in known])
    faithful = np.array([one.faithful for one, _ in known], dtype=bool)
    groups: dict[str, list[int]] = {}
    for place, (one, _) in enumerate(known):
        groups.setdefault(one.group, []).append(place)
    members = [np.array(places) for places in groups.values()]
    rng = np.random.default_rng(_SEED)
    drawn = [np.concatenate([members[k] for k in rng.integers(0, len(members), len(members))]) for _ in range(_RESAMPLES if members else 0)]
    return {
        "n": len(known),
        "spearman": _interval(lambda at: _spearman(scores[at], ratings[at]), len(known), drawn),
        "auc": _interval(lambda at: _auc(scores[at], faithful[at]), len(known), drawn),
    }


def _interval(figure: Any, n: int, drawn: Sequence[Any]) -> dict[str, float | None]:
    """A resample without a figure (all answers faithful, say) does not count; with fewer than half left there is no interval."""
    import numpy as np

    value = figure(np.arange(n))
    found = [one for at in drawn if math.isfinite(one := figure(at))]
    if not math.isfinite(value) or 2 * len(found) < len(drawn):
        return {"value": None, "low": None, "high": None}
    low, high = np.percentile(found, [2.5, 97.5])
    return {"value": round(float(value), 4), "low": round(float(low), 4), "high": round(float(high), 4)}


def _spearman(scores: Any, ratings: Any) -> float:
    import numpy as np

    if len(scores) < 2 or np.ptp(scores) == 0 or np.ptp(ratings) == 0:
        return math.nan
    return float(np.corrcoef(_ranks(scores), _ranks(ratings))[0, 1])


def _auc(scores: Any, faithful: Any) -> float:
    good, bad = int(faithful.sum()), int((~faithful).sum())
    if not good or not bad:
        return math.nan
    return float((_ranks(scores)[faithful].sum() - good * (good + 1) / 2) / (good * bad))


def _ranks(values: Any) -> Any:
    """From 1; equal values share the mean of theirs."""
    import numpy as np

    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[place]
