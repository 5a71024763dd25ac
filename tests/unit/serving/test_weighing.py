"""What records say of a candidate, and what is decided by it: records in, a decision out."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from traffic_lines import record

from pipelines.rollout_config import Rollout, Stage, Tolerances
from pipelines.serving.canary import signals
from pipelines.serving.canary.weighing import Before, Weighing, decide

LIVE, MINE = "d/r4", "d/r5"
STEP = Stage(share=0.1, minutes=10, requests=20)
POLICY = Rollout(steps=(STEP, Stage(share=0.5, minutes=10)), hours=1, tolerances=Tolerances(quality=0.1))
BEGAN = datetime(2026, 1, 2, 3, 0, tzinfo=UTC)


def before(n: int = 300) -> Before:
    return Before.of((record(LIVE, k) for k in range(n)), LIVE)


def mixed(n: int, live: dict[str, Any] | None = None, **mine: Any) -> Iterable[dict[str, Any]]:
    """Nine answers of live for each of the candidate, which differs by `mine`."""
    for k in range(n):
        for j in range(9):
            yield record(LIVE, 1_000 + 9 * k + j, **(live or {}))
        yield record(MINE, k, canary=True, **mine)


def weigh(records: Iterable[dict[str, Any]], policy: Rollout = POLICY, known: Before | None = None) -> Weighing:
    found = Weighing(policy, MINE, LIVE, known if known is not None else before())
    found.enter(policy.steps[0])
    for one in records:
        found.feed(one)
    return found


@pytest.mark.parametrize(
    ("worse", "why"),
    [
        ({"status": 503}, "errors: "),
        ({"latency_ms": 900.0}, "latency: "),
        ({"tokens_out": 60}, "tokens_out: "),
        ({"tokens_in": 900}, "tokens_in: "),
        ({"guards": [{"rule": "numbers"}]}, "guards: "),
        ({"confidence": 0.2}, "confidence: "),
        ({"abstained": True}, "withheld: "),
        ({"judged": 0.0}, "wrong: "),
    ],
)
def test_each_way_of_being_worse_is_found_and_said_in_figures(worse: dict[str, Any], why: str) -> None:
    live = {"judged": 1.0} if "judged" in worse else {}
    found = weigh(mixed(60, live, **worse))
    assert found.alarm is not None and found.alarm.startswith(why)
    assert "answers of r5 " in found.alarm and " of r4 in the same time; tolerated " in found.alarm
    assert decide(found, (0, 2), STEP, BEGAN, BEGAN, BEGAN).what == "revert"


def test_the_reason_reads_as_a_sentence() -> None:
    found = weigh(mixed(60, status=503))
    _, n, hits = 0, *(int(part) for part in (found.alarm or "").split(" answers")[0].removeprefix("errors: ").split(" of ")[::-1])
    assert hits == n < 20
    assert found.alarm == f"errors: {n} of {n} answers of r5 failed, 0 of {9 * n} of r4 in the same time; tolerated 1 %"


def test_an_equal_candidate_goes_on_then_passes() -> None:
    found = weigh(mixed(400))
    assert found.alarm is None and found.answered == 400
    at = lambda minutes: decide(found, (0, 2), STEP, BEGAN, BEGAN, BEGAN + timedelta(minutes=minutes)).what  # noqa: E731
    assert [at(9), at(10)] == ["go on", "next stage"]
    assert decide(found, (1, 2), STEP, BEGAN, BEGAN, BEGAN + timedelta(minutes=10)).what == "pass"


@pytest.mark.parametrize(("choice", "what"), [("promote", "pass"), ("withdraw", "withdraw")])
def test_too_little_traffic_ends_as_the_file_says(choice: str, what: str) -> None:
    policy = POLICY.model_copy(update={"too_little": choice})
    found = weigh(mixed(3), policy)
    late = decide(found, (0, 2), STEP, BEGAN, BEGAN, BEGAN + timedelta(hours=1))
    assert (late.what, late.reason) == (what, f"3 of 20 requests seen in 1 hours: {choice}")
    assert decide(found, (0, 2), STEP, BEGAN, BEGAN, BEGAN + timedelta(minutes=59)).what == "go on"


def test_a_policy_without_dwell_asks_for_nothing() -> None:
    policy = Rollout()
    assert decide(weigh([], policy), (0, 1), policy.steps[0], BEGAN, BEGAN, BEGAN).what == "pass"


@pytest.mark.parametrize(
    "silent",
    [
        {"cache": "exact", "status": 503},
        {"cache": "semantic", "abstained": True},
        {"status": 429},
        {"status": 499},
        {"status": None},
        {"release": "d/r3", "status": 503},
        {"release": None, "status": 503},
    ],
)
def test_what_says_nothing_of_a_release_counts_nowhere(silent: dict[str, Any]) -> None:
    found = weigh(one for k in range(60) for one in (record(LIVE, k), record(MINE, k, canary=True, **silent)))
    assert found.alarm is None and found.answered == 0


def test_a_request_that_a_guard_refused_counts_though_it_is_an_error_of_the_caller() -> None:
    assert signals.counts(record(MINE, status=400, guards=[{"rule": "injection"}]))
    assert signals.hits(record(MINE, status=400, guards=[{"rule": "injection"}]), {"latency": 1.0})["guards"]


def test_one_conversation_counts_once_however_often_it_is_refused() -> None:
    angry = [record(MINE, k, canary=True, conversation="one", guards=[{"rule": "injection"}]) for k in range(500)]
    found = weigh([*mixed(10), *angry, *(record(LIVE, 5_000 + k) for k in range(200))])
    assert found.alarm is None and found.answered == 510
    assert found.facts()["tests"]["guards"]["candidate"] == [1, 11]


def test_shadow_answers_are_compared_with_what_live_gave() -> None:
    policy = Rollout(shadow=Stage(share=0.2), steps=(STEP,))
    found = Weighing(policy, MINE, LIVE, before())
    found.enter(Stage(share=0.2), shadow=True)
    for k in range(100):
        found.feed(record(LIVE, k))
        found.feed(record(MINE, k, shadow=True, tokens_out=70, conversation=f"{LIVE}-c{k}"))
    assert found.alarm is not None and found.alarm.startswith("tokens_out")


def test_evidence_goes_on_into_the_next_stage_and_figures_begin_anew() -> None:
    found = weigh(mixed(4, abstained=True))
    assert found.alarm is None
    carried = found.facts()["tests"]["withheld"]["log10_evidence"]
    found.enter(POLICY.steps[1])
    assert found.answered == 0 and carried > 0.5
    for one in mixed(4, abstained=True):
        found.feed(one | {"conversation": f"later {one['conversation']}"})
    assert found.facts()["tests"]["withheld"]["candidate"] == [4, 4]
    assert found.facts()["tests"]["withheld"]["log10_evidence"] > carried


def test_without_answers_from_before_the_first_ones_of_live_give_the_figures() -> None:
    found = weigh(mixed(3, latency_ms=900.0), known=Before())
    assert found.facts()["tests"]["errors"]["live"] == [0, 27] and "latency" not in found.facts()["tests"]
    for one in mixed(60, latency_ms=900.0):
        found.feed(one | {"conversation": f"x {one['conversation']}"})
    assert found.alarm is not None and found.alarm.startswith("latency")


def test_where_live_answers_too_little_it_is_measured_by_what_it_did_before() -> None:
    policy = Rollout(steps=(Stage(share=1.0, minutes=1),))
    good = weigh((record(MINE, k, canary=True) for k in range(400)), policy)
    assert good.alarm is None
    bad = weigh((record(MINE, k, canary=True, status=500 if k % 4 == 0 else 200) for k in range(400)), policy)
    assert bad.alarm is not None and bad.alarm.endswith("0 of 300 of r4 before; tolerated 1 %")


def test_the_figures_of_live_are_nine_of_ten_of_its_own_answers() -> None:
    answers = [record(LIVE, k, latency_ms=float(k + 1), confidence=(k + 1) / 100, tokens_out=7, tokens_in=100) for k in range(100)]
    noise = [record(LIVE, k + 500, cache="exact", latency_ms=9_999.0) for k in range(50)]
    noise += [record(MINE, k, shadow=True, latency_ms=9_999.0) for k in range(50)]
    found = Before.of([*answers, *noise], LIVE)
    assert found.lines == {"latency": 90.0, "confidence": 0.11, "tokens_out": 7.0, "tokens_in": 150.0}
    assert found.known["latency"] == (10, 100) and found.known["tokens_out"] == (0, 100)
    assert Before.of(answers[:49], LIVE).lines == {}


def test_tolerances_are_what_the_file_says() -> None:
    lenient = Rollout(steps=(STEP,), tolerances=Tolerances(errors=1.0, latency=1.0, tokens=1.0, guards=1.0, confidence=1.0, quality=1.0))
    assert weigh(mixed(200, status=503), lenient).alarm is None


@pytest.mark.parametrize(
    "odd", [{}, {"status": "200"}, {"release": MINE}, {"release": MINE, "status": 200, "latency_ms": "slow", "guards": None}]
)
def test_an_odd_record_breaks_nothing(odd: dict[str, Any]) -> None:
    assert weigh([odd] * 20).alarm is None
