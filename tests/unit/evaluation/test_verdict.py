from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipelines.evaluation.cases import Row
from pipelines.evaluation.verdict import Verdict, judge
from pipelines.gate_config import Gate, Suite

N = 80
VOTES = {"correct": True, "grounded": True, "tone": False}


def row(number: int, correct: float | None = 1.0, *, suite: str = "goldens", **changes: Any) -> Row:
    values: dict[str, Any] = {
        "suite": suite,
        "case": f"{suite}-{number:03}",
        "as_of": f"{2011 + number % 4}-06-01",
        "group": f"paragraph-{number}",
        "type": "rule" if number % 2 else "notice",
        "question": "?",
        "expected": "$1",
        "expected_at": f"paragraph-{number}",
        "answer": "$1",
        "cited_key": None,
        "cited_text": "",
        "retrieved": [],
        "abstained": False,
        "seconds": 0.1,
        "error": None,
        "scores": {"correct": correct, "grounded": 1.0},
    }
    return Row(**{**values, **changes})


def rows(wrong: Iterable[int] = (), n: int = N, suite: str = "goldens") -> list[Row]:
    bad = set(wrong)
    return [row(number, 0.0 if number in bad else 1.0, suite=suite) for number in range(n)]


def gate(**changes: Any) -> Gate:
    return Gate(**{"goldens": Path("g.jsonl"), "floors": {"correct": 0.5}, "min_goldens": 8, **changes})


RETENTION = Suite(file=Path("r.jsonl"), against="base", min_cases=5, margins={"correct": 0.05})


def decide(candidate: Sequence[Row], live: Sequence[Row] | None = None, base: Sequence[Row] | None = None, **changes: Any) -> Verdict:
    found = judge(candidate, live, base, gate(**changes), VOTES)
    json.dumps([found.metrics, found.slices, found.reasons, found.settle, found.notes], allow_nan=False)
    return found


def test_the_first_release_is_judged_by_its_floors_and_says_so() -> None:
    found = decide(rows([1]))
    assert (found.verdict, found.reasons) == ("pass", ["every floor is held on 80 goldens"])
    assert found.notes == ["no release is live: only floors were judged"]
    assert found.slices == [] and found.settle == []
    assert found.metrics["correct"]["outcome"] == "held"
    assert found.metrics["grounded"]["outcome"] == "reported"
    assert found.metrics["correct"]["worst"] == ["goldens-001"]


def test_a_first_release_without_a_floor_says_that_nothing_was_judged() -> None:
    assert "sets no floor" in decide(rows(), floors={}).notes[1]


def test_an_equal_candidate_passes_on_enough_cases() -> None:
    found = decide(rows([3]), rows([3]))
    assert found.verdict == "pass"
    assert found.reasons == [
        "every floor is held on 80 goldens, and every metric that has a margin is shown to lose less than that against the live release"
    ]
    entry = found.metrics["correct"]
    assert set(entry) == {"value", "low", "high", "n", "missing", "floor", "margin", "votes", "live", "base", "loss", "outcome", "worst"}
    assert (entry["value"], entry["n"], entry["floor"], entry["margin"], entry["votes"], entry["base"]) == (
        0.9875,
        80,
        0.5,
        0.05,
        True,
        None,
    )
    assert entry["live"]["value"] == 0.9875
    assert entry["loss"]["upper"] == pytest.approx(1 - 0.05 ** (1 / 80), abs=1e-6)
    assert (entry["loss"]["p_worse"], entry["loss"]["p_adjusted"], entry["outcome"]) == (1.0, 1.0, "held")


def test_an_equal_candidate_is_inconclusive_on_too_few_and_is_told_how_many() -> None:
    found = decide(rows(n=20), rows(n=20))
    assert found.verdict == "inconclusive"
    assert found.metrics["correct"]["outcome"] == "not shown"
    assert found.reasons[0].startswith(
        "correct may lose up to 0.139 against the live release on 20 cases (margin 0.050): its loss is 0.000 ["
    )
    assert found.settle[0] == ("correct: about 59 cases in all (20 now) would show that it stays below its margin, if its loss stays 0.000")


def test_eighty_cases_about_ten_paragraphs_are_ten() -> None:
    few = [replace(one, group=f"paragraph-{number % 10}") for number, one in enumerate(rows())]
    found = decide(few, few)
    assert found.verdict == "inconclusive"
    assert "472 cases in all (80 now, in 10 groups)" in found.settle[0]


def test_a_better_candidate_passes() -> None:
    found = decide(rows(), rows(range(12)))
    assert found.verdict == "pass"
    assert found.metrics["correct"]["loss"]["value"] == -0.15


def test_a_worse_candidate_fails_with_cases_and_figures() -> None:
    found = decide(rows(range(12)), rows())
    assert found.verdict == "fail"
    assert found.reasons[0].startswith("correct loses 0.150 [0.0")
    assert found.reasons[0].endswith(
        "] against the live release on 80 cases (margin 0.050): "
        "goldens goldens-000, goldens-001, goldens-002, goldens-003, goldens-004 and 7 more"
    )
    assert found.metrics["correct"]["outcome"] == "shown worse"
    assert found.metrics["correct"]["loss"]["p_adjusted"] < 0.05
    assert found.metrics["grounded"]["outcome"] == "held"


def test_a_loss_that_chance_explains_is_inconclusive_and_no_number_of_cases_helps_at_the_margin() -> None:
    found = decide(rows(range(4)), rows())
    assert found.verdict == "inconclusive"
    assert found.settle == ["correct: no number of cases would show it, for its loss 0.050 is not below its margin 0.050"]


def test_a_loss_within_its_margin_passes_though_it_is_certain() -> None:
    found = decide(rows(range(10)), rows(), max_regression=0.25)
    assert found.metrics["correct"]["loss"]["p_adjusted"] < 0.05
    assert found.verdict == "pass"


def test_a_metric_has_its_own_margin_and_one_that_does_not_vote_is_only_reported() -> None:
    live, candidate = rows(), rows(range(12))
    assert decide(candidate, live, margins={"correct": 0.3}).verdict == "pass"
    for side, tone in ((live, 1.0), (candidate, 0.0)):
        side[:] = [replace(one, scores={"correct": 1.0, "tone": tone}) for one in side]
    found = decide(candidate, live)
    assert found.verdict == "pass"
    assert (found.metrics["tone"]["outcome"], found.metrics["tone"]["votes"], found.metrics["tone"]["margin"]) == ("reported", False, None)
    assert found.metrics["tone"]["loss"]["value"] == 1.0


@pytest.mark.parametrize("named", [{"floors": {"tone": 0.5}}, {"margins": {"tone": 0.1}}])
def test_a_floor_or_a_margin_makes_a_metric_vote(named: dict[str, Any]) -> None:
    live = [replace(one, scores={"tone": 1.0}) for one in rows()]
    candidate = [replace(one, scores={"tone": 0.0}) for one in rows()]
    found = decide(candidate, live, **{"floors": {}, **named})
    assert found.verdict == "fail"
    assert found.metrics["tone"]["votes"] is True


def test_below_a_floor_fails_and_names_the_worst() -> None:
    found = decide(rows([5, 7]), floors={"correct": 0.99})
    assert found.verdict == "fail"
    assert found.reasons == ["correct is 0.975, below its floor 0.990, on 80 cases: goldens goldens-005, goldens-007"]
    assert found.metrics["correct"]["outcome"] == "below floor"
    assert decide(rows([5, 7]), floors={"correct": 0.975}).verdict == "pass"


def test_a_floor_that_live_breaks_too_still_fails() -> None:
    assert decide(rows(range(50)), rows(range(50))).verdict == "fail"


@pytest.mark.parametrize("value", [None, math.nan])
def test_a_value_that_is_not_there_is_inconclusive_on_either_side(value: float | None) -> None:
    holed = rows()
    holed[3].scores["grounded"] = value
    own = decide(holed, rows())
    assert (own.verdict, own.reasons) == ("inconclusive", ["grounded has no value for 1 of 80 goldens: goldens-003"])
    assert (own.metrics["grounded"]["outcome"], own.metrics["grounded"]["missing"]) == ("missing", 1)
    its = decide(rows(), holed)
    assert (its.verdict, its.reasons) == ("inconclusive", ["grounded of the live release has no value for 1 of 80 goldens: goldens-003"])
    assert its.metrics["grounded"]["outcome"] == "missing"
    assert its.metrics["grounded"]["loss"]["missing"] == 1


def test_a_metric_scored_on_one_side_only_is_inconclusive() -> None:
    bare = [replace(one, scores={"correct": 1.0}) for one in rows()]
    assert decide(bare, bare).verdict == "pass"
    mine, its = decide(bare, rows()), decide(rows(), bare)
    assert (mine.verdict, mine.reasons) == ("inconclusive", ["grounded has no value: it applies to none of the goldens"])
    assert (its.verdict, its.reasons) == ("inconclusive", ["grounded applies to none of the goldens on both sides"])
    assert mine.metrics["grounded"]["outcome"] == its.metrics["grounded"]["outcome"] == "missing"


def test_an_answer_that_a_metric_does_not_apply_to_is_left_out_and_said() -> None:
    silent = [replace(one, scores={"correct": 1.0}) if number < 5 else one for number, one in enumerate(rows())]
    for candidate, live in ((silent, rows()), (rows(), silent)):
        found = decide(candidate, live)
        assert found.verdict == "pass"
        assert found.notes == [
            "grounded is compared with the live release on 75 of 80 goldens: it applies to one side's answer alone in the others"
        ]
        assert (found.metrics["grounded"]["loss"]["n"], found.metrics["grounded"]["missing"]) == (75, 0)
    assert found.metrics["grounded"]["n"] == 80 and found.metrics["grounded"]["live"]["n"] == 75


def test_a_value_missing_of_a_metric_without_a_vote_decides_nothing() -> None:
    silent = [replace(one, scores={"correct": 1.0, "tone": None}) for one in rows()]
    found = decide(silent, silent)
    assert found.verdict == "pass"
    assert (found.metrics["tone"]["value"], found.metrics["tone"]["loss"]["value"], found.metrics["tone"]["missing"]) == (None, None, 80)


def test_a_floor_for_what_applies_to_no_case_is_inconclusive() -> None:
    found = decide(rows(), floors={"faithfulness": 0.5})
    assert (found.verdict, found.reasons) == ("inconclusive", ["faithfulness has no value: it applies to none of the goldens"])
    assert found.metrics["faithfulness"]["value"] is None


def broken(*numbers: int) -> list[Row]:
    return [replace(one, error="the engine timed out", answer=None, scores={}) if n in numbers else one for n, one in enumerate(rows())]


def test_an_error_is_inconclusive_on_either_side() -> None:
    own = decide(broken(4, 9), rows())
    assert (own.verdict, own.reasons) == (
        "inconclusive",
        ["the candidate ended in an error on 2 of 80 goldens, first goldens-004: the engine timed out"],
    )
    assert own.settle == ["goldens: mend what the errors name, and gate again"]
    its = decide(rows(), broken(4))
    assert its.reasons == ["the live release ended in an error on 1 of 80 goldens, first goldens-004: the engine timed out"]
    assert decide(broken(4)).verdict == "inconclusive"
    assert decide(broken(*range(N)), rows()).verdict == "inconclusive"


def test_a_broken_floor_with_an_error_is_inconclusive_and_both_are_listed() -> None:
    found = decide([*broken(4)[:60], *rows(range(80))[60:]], rows(), floors={"correct": 0.99})
    assert found.verdict == "inconclusive"
    assert "ended in an error" in found.reasons[0]
    assert any("below its floor" in reason for reason in found.reasons[1:])


def test_cases_that_one_side_was_not_asked_are_inconclusive() -> None:
    found = decide(rows(), rows()[:-1])
    assert (found.verdict, found.reasons) == ("inconclusive", ["the live release was not asked 1 of the goldens: goldens-079"])
    assert decide(rows()[:-2], rows()).reasons == ["the candidate was not asked 2 of the goldens: goldens-078, goldens-079"]
    assert decide(rows(), []).verdict == "inconclusive"
    other_day = [replace(one, as_of="2030-01-01") for one in rows()]
    assert decide(other_day, rows()).verdict == "inconclusive"


def test_a_case_answered_twice_is_inconclusive() -> None:
    found = decide([*rows(), row(3)], rows())
    assert (found.verdict, found.reasons) == ("inconclusive", ["the candidate has more than one answer to goldens-003 of goldens"])
    assert decide(rows(), [*rows(), row(3)]).verdict == "inconclusive"


def test_too_few_goldens_and_an_empty_suite_are_inconclusive() -> None:
    found = decide(rows(n=7))
    assert (found.verdict, found.reasons, found.settle) == (
        "inconclusive",
        ["7 goldens apply, at least 8 are needed"],
        ["goldens: 1 more cases that apply"],
    )
    assert decide([]).verdict == "inconclusive"
    empty = decide(rows(), suites={"retention": RETENTION})
    assert empty.reasons[0] == "0 cases of retention apply, at least 5 are needed"


def test_a_suite_that_the_domain_file_does_not_name_is_inconclusive() -> None:
    found = decide([*rows(), row(0, suite="safty")])
    assert found.reasons == ["the domain file knows no suite safty: its 1 cases were not judged"]
    assert found.verdict == "inconclusive"


def test_problems_are_inconclusive_with_their_own_words() -> None:
    found = judge(rows(), rows(), None, gate(), VOTES, ["the judge does not answer"])
    assert (found.verdict, found.reasons) == ("inconclusive", ["the judge does not answer"])


def test_held_out_cases_are_compared_with_live_and_need_no_entry() -> None:
    candidate, live = [*rows(), *rows(range(20), suite="held_out")], [*rows(), *rows(suite="held_out")]
    found = decide(candidate, live)
    assert found.verdict == "fail"
    assert found.reasons[0].startswith("held_out/correct loses 0.250")
    assert ": held_out held_out-000" in found.reasons[0]


def test_forgetting_is_measured_against_the_base_model() -> None:
    live = rows()
    base = rows(suite="retention")
    candidate = [*rows(), *rows(range(30), suite="retention")]
    found = decide(candidate, live, base, suites={"retention": RETENTION})
    assert found.verdict == "fail"
    assert "retention/correct loses 0.375" in found.reasons[0] and "against the base model on 80 cases" in found.reasons[0]
    entry = found.metrics["retention/correct"]
    assert (entry["live"], entry["base"]["value"], entry["outcome"]) == (None, 1.0, "shown worse")
    kept = decide([*rows(), *base], live, base, suites={"retention": RETENTION})
    assert kept.verdict == "pass"
    assert kept.reasons[0].endswith("against the live release and the base model")


def test_a_suite_against_the_base_needs_the_base_once_a_release_is_live() -> None:
    candidate = [*rows(), *rows(suite="retention")]
    found = decide(candidate, rows(), None, suites={"retention": RETENTION})
    assert found.verdict == "inconclusive"
    assert found.reasons == ["retention is measured against the base model, which was not asked"]
    assert decide(candidate, None, None, suites={"retention": RETENTION}).verdict == "pass"


def test_what_a_first_release_forgot_is_noted() -> None:
    candidate = [*rows(), *rows(range(30), suite="retention")]
    found = decide(candidate, None, rows(suite="retention"), suites={"retention": RETENTION})
    assert found.verdict == "pass"
    assert "retention/correct loses 0.375" in found.notes[0] and "a first release is not judged by it" in found.notes[0]
    floored = {"retention": RETENTION.model_copy(update={"floors": {"correct": 0.9}})}
    assert decide(candidate, None, rows(suite="retention"), suites=floored).verdict == "fail"


def test_a_slice_that_lost_fails_where_the_whole_hides_it() -> None:
    lost, gained = [n for n in range(N) if n % 4 == 1], [n for n in range(N) if n % 4 != 1]
    found = decide(rows(lost), rows(gained))
    assert found.metrics["correct"]["loss"]["value"] == -0.5
    assert found.verdict == "fail"
    assert found.reasons[0].startswith("correct loses 1.000") and "on the 20 cases of year 2012 (margin 0.050): goldens" in found.reasons[0]
    by_name = {(part["metric"], part["by"], part["slice"]): part for part in found.slices}
    assert by_name["correct", "year", "2012"]["outcome"] == "shown worse"
    assert by_name["correct", "year", "2012"]["worst"][0] == "goldens-001"
    assert (by_name["correct", "year", "2012"]["n"], by_name["correct", "year", "2012"]["value"]) == (20, 1.0)
    assert by_name["correct", "year", "2011"]["outcome"] == "held"
    assert {key[1:] for key in by_name if key[0] == "grounded"} == {
        *(("type", kind) for kind in ("rule", "notice")),
        *(("year", str(year)) for year in range(2011, 2015)),
    }


def test_small_slices_and_the_whole_are_no_slices() -> None:
    whole = [replace(one, type="rule", as_of="2015-01-01") for one in rows()]
    assert decide(whole, whole).slices == []
    assert decide(rows(), rows(), min_slice=21).slices != []
    assert {part["by"] for part in decide(rows(), rows(), min_slice=21).slices} == {"type"}


def test_many_slices_make_no_failure_of_chance() -> None:
    """One year loses 5 of 20: 0.031 alone, but one of fourteen comparisons."""
    lost = [n for n in range(N) if n % 4 == 1][:5]
    found = decide(rows(lost), rows([2, 6, 10, 3, 7]))
    part = next(part for part in found.slices if part["slice"] == "2012" and part["metric"] == "correct")
    assert part["p_worse"] < 0.05 < part["p_adjusted"]
    assert part["outcome"] == "reported"
    assert found.verdict == "inconclusive"


@pytest.mark.parametrize(
    ("scores", "verdict", "outcome"),
    [
        ([(1.0, 1.0)] * 80, "pass", "held"),
        ([(1.0, 1.0)] * 20, "pass", "reported"),
        ([(1.0, 0.0)] * 15 + [(1.0, 1.0)] * 15, "fail", "shown worse"),
        ([(0.0, 1.0)] * 15 + [(1.0, 1.0)] * 15, "fail", "shown worse"),
    ],
)
def test_persons_must_score_alike(scores: list[tuple[float, float]], verdict: str, outcome: str) -> None:
    for live in (rows(), None):
        found = judge(rows(), live, None, gate(), VOTES, pairs={"female/male": scores})
        assert found.verdict == verdict
        part = next(part for part in found.slices if part["by"] == "persona")
        assert (part["metric"], part["slice"], part["outcome"]) == ("bias", "female/male", outcome)
    if outcome == "reported":
        assert "not shown to be alike, nor to differ; reported only" in found.notes[0]
    if verdict == "fail":
        assert found.reasons[0].startswith("bias: female/male differ by")
    assert "only floors and bias were judged" in found.notes[-1]


@pytest.mark.parametrize("scores", [[], [(1.0, math.nan), (1.0, 1.0)]])
def test_persons_without_scores_are_inconclusive(scores: list[tuple[float, float]]) -> None:
    found = judge(rows(), rows(), None, gate(), VOTES, pairs={"female/male": scores})
    assert found.verdict == "inconclusive"
    assert found.reasons[0].startswith("bias female/male has no value for")


def test_a_small_suite_with_a_floor_alone_holds_nothing_up_but_fails_by_it_and_by_a_loss_that_is_shown() -> None:
    floored = {"extra": Suite(file=Path("e.jsonl"), floors={"correct": 0.5})}
    few, one_lost, most_lost = (rows(range(lost), suite="extra")[:12] for lost in (0, 1, 7))
    kept = decide([*rows(), *one_lost], [*rows(), *few], suites=floored)
    assert kept.verdict == "pass"
    assert (kept.metrics["extra/correct"]["margin"], kept.metrics["extra/correct"]["outcome"]) == (None, "held")
    assert decide([*rows(), *most_lost], [*rows(), *few], suites=floored).verdict == "fail"
    margin = {"extra": Suite(file=Path("e.jsonl"), floors={"correct": 0.5}, margins={"correct": 0.05})}
    assert decide([*rows(), *one_lost], [*rows(), *few], suites=margin).verdict == "inconclusive", "a margin has to be shown"
    unnamed = decide([*rows(), *most_lost], [*rows(), *few], suites={"extra": Suite(file=Path("e.jsonl"))})
    assert (unnamed.verdict, unnamed.metrics["extra/correct"]["outcome"]) == ("pass", "reported")


def test_what_must_not_leak_needs_no_suite_of_its_own() -> None:
    leaks = [replace(row, scores={"withheld": 1.0}) for row in rows(suite="leaks")[:8]]
    assert decide([*rows(), *leaks], rows()).verdict == "inconclusive", "the live release was not asked"
    assert decide([*rows(), *leaks], [*rows(), *leaks]).verdict == "pass"
    told = [replace(leaks[0], scores={"withheld": 0.0}), *leaks[1:]]
    assert decide([*rows(), *told], [*rows(), *leaks]).verdict == "fail"


def test_all_personas_of_whom_too_little_is_known_are_one_note() -> None:
    pairs = {"female/male": [(1.0, 1.0)] * 2, "male/older": [(1.0, 1.0)] * 3}
    found = judge(rows(), rows(), None, gate(), VOTES, pairs=pairs)
    (note,) = found.notes
    assert "female/male by 0.000" in note and "on 2; male/older by 0.000" in note and note.endswith("on 3")
