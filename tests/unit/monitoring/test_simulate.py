"""Simulated days: plausible, the same for a seed, and the same whether counted for each minute or from single records."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest

from pipelines.monitor_config import USUAL, Rule
from pipelines.monitoring import simulate as sim
from pipelines.monitoring import simulated_windows as win
from pipelines.traffic.segments import Record


def rule(name: str) -> Rule:
    return next(one for one in USUAL if one.name == name)


def values(minutes: sim.Minutes, name: str, group: str = "*") -> np.ndarray:
    found = win.series(minutes, rule(name), group, usual_topics=np.full(sim.TOPICS, 1 / sim.TOPICS))
    assert found is not None
    return np.asarray(found.values)


def test_a_seed_is_a_day() -> None:
    one, same, other = (sim.draw(sim.rates(1, 50, seed), seed) for seed in (1, 1, 2))
    assert np.array_equal(one.requests, same.requests) and not np.array_equal(one.requests, other.requests)


def test_days_have_a_rhythm_and_weekends_are_quiet() -> None:
    of = sim.rates(14, 50, 1)
    by_day = of.requests.reshape(14, 1440)
    assert by_day[:5].mean() == pytest.approx(50, rel=0.2) and by_day[[5, 6]].mean() < 0.6 * by_day[:5].mean()
    assert by_day[:, 600:660].mean() > 2 * by_day[:, 120:180].mean()


def test_latency_has_a_tail_and_counts_are_over_dispersed() -> None:
    of = sim.rates(2, 200, 1)
    minutes = sim.draw(of, 1)
    bins = minutes.bins["latency"].sum(axis=0)
    share = np.cumsum(bins) / bins.sum()
    at = {q: sim.middles("latency")[np.argmax(share >= q)] for q in (0.5, 0.99)}
    assert at[0.99] > 4 * at[0.5]
    assert np.var((minutes.requests - of.requests) / np.sqrt(of.requests)) > 3


@pytest.mark.parametrize("fault", sim.FAULTS)
def test_a_fault_is_in_its_measure_and_only_from_its_minute_on(fault: sim.Fault) -> None:
    quiet = sim.rates(1, 300, 3)
    part = sim.cut(quiet, 540, 900)
    sick = sim.draw(sim.plant(part, fault, 120, 240, 3), 3)
    name = {
        "token_spike": "tokens",
        "latency_creep": "latency",
        "hallucination": "ungrounded",
        "topic_drift": "topics",
        "injections": "injections",
    }
    found = values(sick, name[fault]) if fault != "tenant_errors" else (sick.errors / np.maximum(sick.tenants, 1)).max(axis=1)
    assert np.nanmean(found[180:]) > 1.3 * np.nanmean(found[10:115])
    assert sick.start == sim.START + timedelta(minutes=540)
    assert (sick.release[120] != sick.release[119]) == (fault == "token_spike")


def test_records_are_records_and_give_the_same_windows() -> None:
    of = sim.plant(sim.cut(sim.rates(1, 60, 4), 600, 640), "injections", 20, 20, 4)
    minutes, records = sim.draw(of, 4), [Record.model_validate(one) for one in sim.records(of, 4)]
    assert len(records) == int(minutes.requests.sum()) and [one.at for one in records] == sorted(one.at for one in records)
    end = of.start + timedelta(minutes=35)
    inside = [one for one in records if end - timedelta(minutes=5) <= one.at < end]
    k = 34
    assert np.mean([bool(one.guards) for one in inside]) == pytest.approx(values(minutes, "injections")[k])
    assert np.mean([one.reason == "not_in_passage" for one in inside]) == pytest.approx(values(minutes, "ungrounded")[k])
    assert np.mean([one.tokens_out or 0 for one in inside]) == pytest.approx(values(minutes, "tokens")[k], rel=0.02)
    assert np.quantile([one.latency_ms or 0 for one in inside], 0.95) == pytest.approx(values(minutes, "latency")[k], rel=0.06)
    assert {one.tenant for one in records} == set(sim.TENANTS)
    north = [one for one in inside if one.tenant == "north"]
    burn = rule("tenant_errors")
    found = win.series(minutes, burn, "north")
    assert found is not None
    share, n = found.spans[5.0]
    assert n[k] == len(north) and share[k] == pytest.approx(np.mean([one.status >= 500 for one in north]))


def test_a_rule_for_what_is_not_simulated_sees_nothing() -> None:
    assert win.series(sim.draw(sim.rates(0.1, 5, 1), 1), rule("goldens"), "*") is None
