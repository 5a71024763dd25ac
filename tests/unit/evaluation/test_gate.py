from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from pipelines.config import Gate
from pipelines.errors import ConfigError, Unavailable
from pipelines.evaluation.gate import Scores, evaluate, judge
from pipelines.evaluation.goldens import Golden, applicable, load
from pipelines.evaluation.metrics import METRICS, Answered, estimate
from pipelines.retrieval.index import Passage

YEARS = range(2011, 2019)


def golden(year: int, **changes: Any) -> Golden:
    values = {
        "id": f"threshold-{year}",
        "question": f"What is the threshold in {year}?",
        "answer": f"${year - 1960},500",
        "cites": f"p-{year}",
        "valid_from": f"{year}-01-01",
        "author": "a",
        "reviewer": "b",
    }
    return Golden(**{**values, **changes})


def passage(year: int) -> Passage:
    return Passage(f"p-{year}", "Threshold", f"In {year} the threshold is\n${year - 1960},500.", "", "2011-01-01", "9999-12-31", 0.1)


def answerer(wrong: set[int] = frozenset(), silent: set[int] = frozenset(), broken: set[int] = frozenset()) -> Any:  # type: ignore[assignment]
    def ask(question: str, as_of: str) -> Answered:
        year = int(question[-5:-1])
        shown = [passage(year), passage(year - 1)]
        if year in broken:
            raise Unavailable("the engine does not answer")
        if year in silent:
            return Answered(None, None, "", shown, True, 0.1)
        if year in wrong:
            return Answered("$1", shown[1].key, shown[1].text, shown, False, 0.1)
        return Answered(f"${year - 1960},500.", shown[0].key, shown[0].text, shown, False, 0.1)

    return ask


GOLDENS = [(golden(year), "2020-01-01") for year in YEARS]
GATE = Gate(goldens=Path("g.jsonl"), floors={"amount_and_citation": 0.8, "grounded": 0.9}, min_goldens=8)


def test_a_right_answer_with_its_citation_scores_one_everywhere() -> None:
    row = evaluate(GOLDENS[:1], answerer()).rows[0]
    assert row.scores == {
        "answer_correct": 1.0,
        "amount_and_citation": 1.0,
        "context_recall": 1.0,
        "context_precision": 0.5,
        "grounded": 1.0,
        "answered": 1.0,
    }


def test_an_abstention_is_grounded_but_not_correct_and_an_invention_is_neither() -> None:
    silent, wrong = evaluate(GOLDENS[:2], answerer(silent={2011}, wrong={2012})).rows
    assert (silent.scores["grounded"], silent.scores["answer_correct"], silent.scores["answered"]) == (1.0, 0.0, 0.0)
    assert (wrong.scores["grounded"], wrong.scores["answer_correct"], wrong.scores["answered"]) == (0.0, 0.0, 1.0)


def test_the_right_amount_from_the_wrong_paragraph_is_not_right() -> None:
    def ask(question: str, as_of: str) -> Answered:
        return Answered("$51,500", "p-1999", "the fee is $51,500", [passage(2012)], False, 0.1)

    scores = evaluate(GOLDENS[:1], ask).rows[0].scores
    assert (scores["answer_correct"], scores["amount_and_citation"], scores["context_recall"]) == (1.0, 0.0, 0.0)


def test_a_golden_without_a_key_is_right_by_its_quote() -> None:
    quoted = golden(2011, cites="", quote="In 2011 the threshold is $51,500.")
    scores = evaluate([(quoted, "2020-01-01")], answerer()).rows[0].scores
    assert (scores["amount_and_citation"], scores["context_recall"], scores["context_precision"]) == (1.0, 1.0, 0.5)


def test_nothing_retrieved_is_a_failure_not_a_missing_measurement() -> None:
    scores = evaluate(GOLDENS[:1], lambda question, as_of: Answered(None, None, "", [], True, 0.1)).rows[0].scores
    assert (scores["context_recall"], scores["context_precision"]) == (0.0, 0.0)


def test_pass_against_nothing_and_against_an_equal_release() -> None:
    scores = evaluate(GOLDENS, answerer())
    for live in (None, scores):
        verdict = judge(scores, live, GATE)
        assert verdict.verdict == "pass"
        assert "every floor is held on 8 goldens" in verdict.reasons[0]
    assert verdict.metrics["grounded"]["value"] == 1.0
    json.dumps(verdict.metrics, allow_nan=False)


def test_below_a_floor_fails_with_the_figures() -> None:
    verdict = judge(evaluate(GOLDENS, answerer(silent={2011, 2012})), None, GATE)
    assert verdict.verdict == "fail"
    assert verdict.reasons == ["amount_and_citation is 0.750, below its floor 0.800"]


def test_a_loss_against_live_fails_where_the_floor_is_held() -> None:
    verdict = judge(evaluate(GOLDENS, answerer(silent={2011})), evaluate(GOLDENS, answerer()), GATE)
    assert verdict.verdict == "fail"
    assert "amount_and_citation loses 0.125 against the live release, more than 0.050" in verdict.reasons


def test_being_better_than_live_is_no_loss() -> None:
    assert judge(evaluate(GOLDENS, answerer()), evaluate(GOLDENS, answerer(silent={2011, 2015})), GATE).verdict == "pass"


@pytest.mark.parametrize("value", [None, math.nan])
def test_a_metric_without_a_value_is_inconclusive(value: float | None) -> None:
    scores = evaluate(GOLDENS, answerer())
    scores.rows[3].scores["grounded"] = value
    verdict = judge(scores, None, GATE)
    assert verdict.verdict == "inconclusive"
    assert verdict.reasons == ["grounded has no value for 1 of 8 goldens"]


def test_a_floor_for_a_metric_that_was_not_measured_is_inconclusive() -> None:
    gate = GATE.model_copy(update={"floors": {"faithfulness": 0.5}})
    assert judge(evaluate(GOLDENS, answerer()), None, gate).verdict == "inconclusive"


def test_errors_too_few_goldens_and_a_live_release_that_breaks_are_inconclusive() -> None:
    good, broken = evaluate(GOLDENS, answerer()), evaluate(GOLDENS, answerer(broken={2014}))
    assert judge(broken, None, GATE).verdict == "inconclusive"
    assert "1 of 8 questions ended in an error, first: the engine does not answer" in judge(broken, None, GATE).reasons
    assert judge(good, broken, GATE).verdict == "inconclusive"
    assert judge(good, Scores(good.rows[:4]), GATE).verdict == "inconclusive"
    few = judge(Scores(good.rows[:7]), None, GATE)
    assert (few.verdict, few.reasons) == ("inconclusive", ["7 goldens apply, at least 8 are needed"])
    assert judge(Scores([]), None, GATE).verdict == "inconclusive"


def test_scores_survive_json() -> None:
    scores = evaluate(GOLDENS[:2], answerer(broken={2012}))
    assert Scores.from_json(json.loads(json.dumps(scores.to_json()))) == scores
    assert set(scores.rows[1].scores) == set(METRICS)


def test_the_interval_is_seeded_covers_the_mean_and_never_claims_certainty() -> None:
    mixed = estimate([1.0] * 9 + [0.0] * 3)
    assert mixed == estimate([1.0] * 9 + [0.0] * 3)
    assert mixed.low < mixed.mean == 0.75 < mixed.high
    perfect = estimate([1.0] * 12)
    assert (perfect.mean, perfect.high) == (1.0, 1.0)
    assert 0.7 < perfect.low < 0.8
    assert math.isnan(estimate([None]).mean)


def test_goldens_apply_once_known_and_are_asked_while_they_hold() -> None:
    past, present, future = golden(2011, valid_to="2012-01-01"), golden(2013), golden(2016)
    assert applicable([past, present, future], "2014-06-01") == [(past, "2011-12-31"), (present, "2014-06-01")]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ('{"id": "x"', "goldens.jsonl:2: not JSON"),
        ('{"id": "x", "qestion": "?"}', "did you mean 'question'"),
        (golden(2011, id="first").model_dump_json(), "the id 'first' is taken"),
        (golden(2011).model_dump_json().replace("p-2011", ""), "needs `cites` or `quote`"),
    ],
)
def test_a_broken_golden_is_named_by_its_line(tmp_path: Path, line: str, fault: str) -> None:
    path = tmp_path / "goldens.jsonl"
    path.write_text(golden(2012, id="first").model_dump_json() + "\n" + line + "\n", encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert fault in str(caught.value)
    assert "goldens.jsonl:2" in str(caught.value)


def test_a_missing_file_of_goldens(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file of goldens"):
        load(tmp_path / "none.jsonl")
