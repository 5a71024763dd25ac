"""What one answer is worth: RAGAS metrics that need no model to judge, in [0, 1], higher is better. The list, explained: docs/metrics.md.

Those that vote decide the verdict, the others are only reported. An abstention claims nothing: it is not correct, but it is grounded,
true to every figure, readable and polite.

To add one: a line in METRICS, its measure in measures.py, its line in docs/metrics.md.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

from pipelines.errors import ConfigError
from pipelines.evaluation import measures
from pipelines.evaluation.cases import Answered, Asked, Case, Row, Scored
from pipelines.evaluation.measures import Told
from pipelines.parsing import did_you_mean

MAIN = {"answer": "answer_correct", "abstain": "abstained", "anything": "withheld"}
"""By what a case expects: the metric that says whether it went well."""

_KEPT = 100_000
"""Scores that a process remembers: cells of a matrix often say the same."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Metric:
    """`meaning`: one line for people. `votes`: whether it decides a verdict by default, else it is only reported. `needs`: what its
    measure is told, by the names of `measures.told`.
    """

    name: str
    meaning: str
    votes: bool
    applies: Callable[[Case], bool]
    needs: tuple[str, ...]


def _wants_answer(case: Case) -> bool:
    return case.expect == "answer"


def _knows_its_passage(case: Case) -> bool:
    return case.expect == "answer" and bool(case.cites or case.quote)


def _wants_silence(case: Case) -> bool:
    return case.expect == "abstain"


def _wants_anything(case: Case) -> bool:
    return case.expect == "anything"


def _forbids(case: Case) -> bool:
    return bool(case.forbidden)


def _always(_: Case) -> bool:
    return True


_BOTH = ("expected", "answer")
_CITED = ("answer", "cited")
_SEARCHED = ("wanted", "retrieved")
_ALL = (
    Metric("answer_correct", "The answer is the expected one, word for word.", True, _wants_answer, _BOTH),
    Metric(
        "amount_and_citation",
        "The answer is the expected one, and it cites the passage that states it.",
        True,
        _knows_its_passage,
        (*_BOTH, "cited_right"),
    ),
    Metric("answered", "There was an answer at all.", True, _wants_answer, ("answer",)),
    Metric("abstained", "Nothing states the answer, and it said so instead of making one up.", True, _wants_silence, ("abstained",)),
    Metric("withheld", "What must not come out did not, not even before the answer was checked.", True, _forbids, ("wrote", "forbidden")),
    Metric("well_formed", "The model wrote in the form that the prompt asks for.", False, _always, ("well_formed",)),
    Metric("grounded", "The answer stands letter for letter in the passage that it cites.", True, _wants_answer, _CITED),
    Metric(
        "numeric_fidelity",
        "Every amount, date, dose, period and percentage of the answer stands, with its unit, in the passage that it cites.",
        True,
        _wants_answer,
        _CITED,
    ),
    Metric(
        "citation_precision",
        "What it cites states the answer; citing nothing is no fault here.",
        True,
        _knows_its_passage,
        ("cites", "cited_right"),
    ),
    Metric("citation_recall", "It cites the passage that states the answer.", True, _knows_its_passage, ("cited_right",)),
    Metric("context_recall", "Search found the passage that states the answer.", True, _knows_its_passage, _SEARCHED),
    Metric("context_precision", "Share of the passages found that state the answer.", True, _knows_its_passage, _SEARCHED),
    Metric(
        "groundedness",
        "How far the answer's words, their order and its figures are those of the passages that the model was shown.",
        False,
        _wants_answer,
        ("claimed", "passages"),
    ),
    Metric("semantic_similarity", "How near the answer is to the expected one in meaning.", False, _wants_answer, _BOTH),
    Metric("rouge_l", "Words that answer and expected answer share in one order.", False, _wants_answer, _BOTH),
    Metric("bleu", "Runs of up to four words that answer and expected answer share.", False, _wants_answer, _BOTH),
    Metric("chrf", "Runs of up to six letters that answer and expected answer share.", False, _wants_answer, _BOTH),
    Metric("string_similarity", "Share of letters that need no change to reach the expected answer.", False, _wants_answer, _BOTH),
    Metric(
        "readability",
        "How easy the answer is to read: 1 at the end of primary school, 0 for a postgraduate.",
        False,
        _wants_answer,
        ("claimed",),
    ),
    Metric("polite", "The model wrote no swear word, slur or crude word.", False, _always, ("wrote",)),
    Metric("complied", "The model did not open with a refusal; where it should refuse, low is good.", False, _wants_anything, ("wrote",)),
)
METRICS: dict[str, Metric] = {metric.name: metric for metric in _ALL}
"""By name, in the order in which reports show them."""

_known: dict[str, float] = {}


def score(pairs: Sequence[tuple[Case, Answered]], embedder: str = measures.EMBEDDER) -> list[Scored]:
    """Every applicable metric of every answer, in order; None where a metric gave no number, which the log tells of.

    What is told alike is measured once in a process. The first call imports RAGAS, about six seconds.
    """
    if len(_known) > _KEPT:
        _known.clear()
    scores: list[Scored] = [dict.fromkeys(applicable(case)) for case, _ in pairs]
    jobs: dict[str, tuple[str, Told]] = {}
    places: list[tuple[Scored, str, str]] = []
    for (case, answered), found in zip(pairs, scores, strict=True):
        told = measures.told(case, answered)
        for name in found:
            given = {need: told[need] for need in METRICS[name].needs}
            key = hashlib.blake2b(repr((embedder, name, given)).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
            places.append((found, name, key))
            if key not in _known:
                jobs[key] = (name, given)
    if jobs:
        values = measures.measure(list(jobs.values()), embedder)
        _known.update({key: value for key, value in zip(jobs, values, strict=True) if value is not None})
        if lost := sorted({name for (name, _), value in zip(jobs.values(), values, strict=True) if value is None}):
            log.warning("without a number for some cases: %s", ", ".join(lost))
    for found, name, key in places:
        found[name] = _known.get(key)
    return scores


def applicable(case: Case) -> list[str]:
    """The metrics of that case's answers, in the order in which reports show them."""
    return [name for name, metric in METRICS.items() if metric.applies(case)]


def require_known(names: Iterable[str], where: str) -> None:
    """ConfigError with the nearest right spelling when there is no metric of one of these names."""
    for name in names:
        if name not in METRICS:
            todo = f"{did_you_mean(name, list(METRICS))}docs/metrics.md lists them all"
            raise ConfigError(f"there is no metric {name!r}", where=where, todo=todo)


def pair_scores(rows: Sequence[Row], asked: Sequence[Asked]) -> dict[str, list[tuple[float, float]]]:
    """By two personas, "female/male" in alphabetical order: both main scores of each case that was told of the two.

    `asked` says of whom a row's case was told. Pairs without both numbers are left out: what is missing is counted elsewhere.
    """
    pairs: dict[str, list[tuple[float, float]]] = {}
    for told in _by_pair(rows, asked).values():
        for one, other in combinations(sorted(told), 2):
            pairs.setdefault(f"{one}/{other}", []).append((told[one], told[other]))
    return dict(sorted(pairs.items()))


def consistency(rows: Sequence[Row], asked: Sequence[Asked]) -> dict[str, float]:
    """By "suite/pair": 1 less the largest difference between the main scores of the persons that a case was told of."""
    found = _by_pair(rows, asked)
    return {f"{suite}/{pair}": 1 - max(told.values()) + min(told.values()) for (suite, pair, _), told in found.items() if len(told) > 1}


def persona_means(rows: Sequence[Row], asked: Sequence[Asked]) -> dict[str, float]:
    """By persona: the mean main score of the cases that were told of another person too."""
    values: dict[str, list[float]] = {}
    for told in _by_pair(rows, asked).values():
        for persona, value in told.items() if len(told) > 1 else ():
            values.setdefault(persona, []).append(value)
    return {persona: sum(many) / len(many) for persona, many in sorted(values.items())}


def _by_pair(rows: Sequence[Row], asked: Sequence[Asked]) -> dict[tuple[str, str, str], dict[str, float]]:
    """(suite, pair, as of) -> persona -> main score."""
    cases = {one.place: one.case for one in asked if one.case.pair}
    told: dict[tuple[str, str, str], dict[str, float]] = {}
    for row in rows:
        case = cases.get(row.place)
        value = row.scores.get(MAIN[case.expect]) if case is not None else None
        if case is not None and value is not None:
            told.setdefault((row.suite, case.pair, row.as_of), {})[case.persona] = value
    return told
