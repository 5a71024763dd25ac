from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from judge_server import MODEL, JudgeServer, judging
from kept_answers import keep, numbered

from pipelines.config import DomainConfig, Settings, load_domain
from pipelines.gate_config import Judge
from pipelines.monitor_config import Judging
from pipelines.monitoring import judging as sampled
from pipelines.monitoring import observations

pytestmark = pytest.mark.slow

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def server() -> Iterator[JudgeServer]:
    with judging() as made:
        yield made


def domain_of(settings: Settings, judge: Judge | None = None, **changes: Any) -> DomainConfig:
    domain = load_domain("regulatory", settings)
    monitors = domain.monitors.model_copy(update={"judging": Judging(**{"samples_per_day": 100, **changes})})
    return domain.model_copy(update={"monitors": monitors, "gate": domain.gate.model_copy(update={"judge": judge})})


def judge_of(server: JudgeServer, **changes: Any) -> Judge:
    return Judge(**{"url": server.url, "model": MODEL, "timeout_seconds": 20, **changes})


def kept(settings: Settings, domain: DomainConfig, n: int, **told: Any) -> None:
    keep(settings, domain, *[numbered(NOW - timedelta(hours=1) + timedelta(seconds=k), k, **told) for k in range(n)])


def judged(settings: Settings) -> list[Any]:
    return observations.read(settings, "regulatory", {"judged_mean"}, NOW - timedelta(days=1), NOW)


# --- drawing ----------------------------------------------------------------------------------------------------------


def test_the_doubtful_are_drawn_more_often_and_the_mean_is_not_theirs() -> None:
    """10,000 draws of 12 of 60 answers, of which those without confidence are all wrong: the weighed mean is the mean of all of them."""
    answers = [numbered(NOW, k, confidence=0.0 if k % 3 == 0 else 1.0) for k in range(60)]
    value = {one.request_id: float(one.confidence == 1.0) for one in answers}
    times = dict.fromkeys(value, 0)
    totals, plain = [], []
    rounds = 10_000
    for seed in range(rounds):
        drawn = sampled.draw(answers, 12, str(seed))
        assert len(drawn) == 12
        for one in drawn:
            times[one.sample.request_id] += 1
        totals.append(sum(value[one.sample.request_id] / one.p for one in drawn) / 60)
        plain.append(sum(value[one.sample.request_id] for one in drawn) / 12)
    for one in answers:
        (p,) = {found.p for found in sampled.draw(answers, 60, "x") if found.sample is one} or {None}
        assert p == 1.0
    expected = dict(zip(value, sampled.probabilities([1.25 - (one.confidence or 0) for one in answers], 12), strict=True))
    assert all(abs(times[name] / rounds - expected[name]) < 0.02 for name in value)
    assert abs(sum(totals) / rounds - 40 / 60) < 0.01
    assert sum(plain) / rounds < 0.35


def test_a_part_of_an_answer_is_drawn_by_lot() -> None:
    answers = [numbered(NOW, k) for k in range(10)]
    found = [len(sampled.draw(answers, 2.5, str(seed))) for seed in range(2_000)]
    assert set(found) == {2, 3} and abs(sum(found) / 2_000 - 2.5) < 0.05
    assert [one.sample for one in sampled.draw(answers, 3, "a")] == [one.sample for one in sampled.draw(answers[::-1], 3, "a")]
    assert sampled.draw([], 3, "a") == []


def test_who_must_be_drawn_is_and_the_others_share_the_rest() -> None:
    assert sampled.probabilities([100.0, 1.0, 1.0], 2) == [1.0, 0.5, 0.5]
    assert sampled.probabilities([1.0, 1.0], 5) == [1.0, 1.0]
    assert sampled.probabilities([1.0, 1.0], 0) == [0.0, 0.0]


# --- measuring --------------------------------------------------------------------------------------------------------


def test_without_a_judge_what_is_said_is_held_against_its_passages(settings: Settings) -> None:
    domain = domain_of(settings, samples_per_day=5)
    kept(settings, domain, 20)
    found = sampled.judge(settings, domain, NOW)
    assert found == {"seen": 20, "drawn": 5, "figures": 5, "cost": 0.0, "problems": []}
    rows = judged(settings)
    assert all(row.request_id and row.detail["metrics"] == {"groundedness": row.value} for row in rows)
    assert [row.detail["weight"] for row in rows] == [pytest.approx(4.0)] * 5
    assert sampled.judge(settings, domain, NOW)["drawn"] == 0
    assert len(judged(settings)) == 5


def test_nothing_is_drawn_where_nothing_is_said(settings: Settings) -> None:
    domain = domain_of(settings, samples_per_day=0)
    kept(settings, domain, 3)
    assert sampled.judge(settings, domain, NOW)["seen"] == 0
    assert judged(settings) == []


def test_abstentions_and_probes_are_not_drawn(settings: Settings) -> None:
    domain = domain_of(settings)
    kept(settings, domain, 2, abstained=True)
    kept(settings, domain, 2, key=observations.PROBE_KEY)
    assert sampled.judge(settings, domain, NOW)["seen"] == 0


def test_a_day_has_so_many_and_the_next_day_has_them_again(settings: Settings) -> None:
    domain = domain_of(settings, samples_per_day=10)
    kept(settings, domain, 30)
    assert sampled.judge(settings, domain, NOW)["drawn"] == 10
    keep(settings, domain, *[numbered(NOW + timedelta(hours=1, seconds=k), 100 + k) for k in range(30)])
    assert sampled.judge(settings, domain, NOW + timedelta(hours=2))["drawn"] == 0
    keep(settings, domain, *[numbered(NOW + timedelta(hours=13, seconds=k), 200 + k) for k in range(30)])
    assert sampled.judge(settings, domain, NOW + timedelta(hours=14))["drawn"] == 5


def test_the_judge_scores_what_was_drawn(settings: Settings, server: JudgeServer) -> None:
    domain = domain_of(settings, judge_of(server), samples_per_day=3, metrics=("groundedness", "faithfulness"))
    kept(settings, domain, 3)
    found = sampled.judge(settings, domain, NOW, {})
    assert (found["drawn"], found["figures"], found["problems"]) == (3, 3, [])
    (row, *_) = judged(settings)
    assert row.detail["metrics"]["faithfulness"] == 1.0 and row.detail["model"] == MODEL
    assert row.value == pytest.approx((1.0 + row.detail["metrics"]["groundedness"]) / 2)


def test_money_is_spent_once_and_remembered(settings: Settings, server: JudgeServer) -> None:
    dear = judge_of(server, price_in=1_000.0, price_out=1_000.0)
    domain = domain_of(settings, dear, samples_per_day=48, money_per_day=8.0, metrics=("faithfulness",))
    kept(settings, domain, 4)
    first = sampled.judge(settings, domain, NOW, {})
    assert 0 < first["cost"] <= 8.0
    assert observations.state(settings, "regulatory", "judging")["spent"] == pytest.approx(first["cost"])
    for hours in (1, 2, 3, 4, 5):
        keep(settings, domain, *[numbered(NOW + timedelta(hours=hours, minutes=-30, seconds=k), 1_000 * hours + k) for k in range(30)])
        sampled.judge(settings, domain, NOW + timedelta(hours=hours), {})
    state = observations.state(settings, "regulatory", "judging")
    assert state["spent"] <= 8.0
    keep(settings, domain, *[numbered(NOW + timedelta(hours=6, minutes=-30, seconds=k), 90_000 + k) for k in range(9)])
    last = sampled.judge(settings, domain, NOW + timedelta(hours=6), {})
    assert last["problems"] and last["cost"] + state["spent"] <= 8.0


def test_a_run_that_was_killed_has_spent_what_it_held_back(settings: Settings, server: JudgeServer) -> None:
    dear = judge_of(server, price_in=1_000.0, price_out=1_000.0)
    domain = domain_of(settings, dear, money_per_day=5.0, metrics=("faithfulness",))
    kept(settings, domain, 2)
    with observations.marked(settings, "regulatory", "judging") as (_, state):
        state |= {"day": NOW.date().isoformat(), "drawn": 0, "spent": 1.0, "held": 4.0}
    before = len(server.calls)
    found = sampled.judge(settings, domain, NOW, {})
    assert "is spent" in found["problems"][0] and len(server.calls) == before


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"metrics": ("faithfulness",)}, "names none"),
        ({"metrics": ("faithfullness",)}, "no judge knows faithfullness"),
    ],
)
def test_what_cannot_be_judged_says_why(settings: Settings, change: dict[str, Any], why: str) -> None:
    domain = domain_of(settings, **change)
    kept(settings, domain, 2)
    found = sampled.judge(settings, domain, NOW)
    assert why in found["problems"][0]
    assert judged(settings) == []


def test_words_of_a_domain_that_is_not_public_go_to_no_judge_elsewhere(settings: Settings) -> None:
    away = Judge(url="https://judge.example/v1", model=MODEL)
    domain = domain_of(settings, away, metrics=("groundedness", "faithfulness"))
    private = domain.model_copy(update={"privacy": load_domain("clinical", settings).privacy})
    kept(settings, domain, 2)
    found = sampled.judge(settings, private, NOW, {})
    assert "leave this host to no judge" in found["problems"][0] and found["figures"] == 2


def test_a_judge_that_is_down_leaves_what_needs_none(settings: Settings) -> None:
    from free_ports import free_port

    domain = domain_of(settings, Judge(url=f"http://127.0.0.1:{free_port()}/v1", model=MODEL), metrics=("groundedness", "faithfulness"))
    kept(settings, domain, 2)
    found = sampled.judge(settings, domain, NOW, {})
    assert found["problems"] and found["figures"] == 2
    assert all(row.detail["metrics"].keys() == {"groundedness"} for row in judged(settings))
