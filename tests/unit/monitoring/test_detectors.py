"""Detectors: what raises, what clears, what says nothing; and clocks, restarts and rules that change."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pipelines.monitor_config import Burn, BurnWindow, Shift, Threshold
from pipelines.monitoring.detectors import Seen, Signal, accept, gone, learn, look, mark

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
LINE = Threshold(name="line", measure="latency_p95", above=100.0, hold=2, clear=3, slack=0.1, min_requests=20)
BUDGET = Burn(kind="burn", name="budget", measure="error_share", objective=0.99)


def shown(values: list[float | None], n: int = 50, **more: Any) -> list[Seen]:
    """Windows a minute apart."""
    return [Seen(NOON + timedelta(minutes=k), "*", value, n, **more) for k, value in enumerate(values)]


def told(rule: Any, windows: list[Seen], state: dict[str, Any] | None = None) -> list[tuple[str, int]]:
    """(kind, minute) of each signal; the state goes through JSON after each window, as after a restart."""
    held, found = {} if state is None else state, []
    for one in windows:
        signal = look(rule, held, one)
        held = json.loads(json.dumps(held))
        if signal is not None:
            found.append((signal.kind, round((signal.at - NOON).total_seconds() / 60)))
    return found


def spans(share: float, n_long: int, n_short: int, short: float | None = None) -> dict[float, tuple[float | None, int]]:
    lately = share if short is None else short
    return {
        15.0: (share, n_long),
        60.0: (share, n_long * 4),
        360.0: (share, n_long * 24),
        5.0: (lately, n_short),
        30.0: (lately, n_short * 6),
    }


def test_a_line_holds_before_it_raises_and_clears_with_slack() -> None:
    values = [99.0, 101.0, 99.0, 101.0, 102.0, 150.0, 95.0, 89.0, 89.0, 95.0, 89.0, 88.0, 87.0, 50.0, 120.0, 120.0]
    assert told(LINE, shown(values)) == [("raised", 4), ("cleared", 12), ("raised", 15)]


def test_a_line_from_below() -> None:
    rule = Threshold(name="grounded", measure="groundedness_mean", below=0.8, hold=1, clear=1, slack=0.05)
    assert told(rule, shown([0.9, 0.79, 0.81, 0.85, 0.3])) == [("raised", 1), ("cleared", 3), ("raised", 4)]


def test_a_line_at_zero_needs_no_slack() -> None:
    rule = Threshold(name="leaks", measure="identifier_share", above=0.0, hold=1, clear=2, min_requests=1)
    assert told(rule, shown([0.0, 0.001, 0.0, 0.0], n=1)) == [("raised", 1), ("cleared", 3)]


@pytest.mark.parametrize("rule", [LINE, BUDGET, Shift(kind="shift", name="s", measure="tokens_out_mean")])
def test_zero_traffic_says_nothing(rule: Any) -> None:
    none: dict[float, tuple[float | None, int]] = {minutes: (None, 0) for minutes in (5.0, 15.0, 30.0, 60.0, 360.0)}
    windows = [Seen(NOON + timedelta(minutes=k), "*", None, 0, none) for k in range(400)]
    assert told(rule, windows) == []


def test_few_requests_count_neither_for_nor_against() -> None:
    few = [Seen(NOON + timedelta(minutes=k), "*", 500.0, 19) for k in (1, 2)]
    windows = [*shown([500.0]), *few, Seen(NOON + timedelta(minutes=3), "*", 500.0, 20)]
    assert told(LINE, windows) == [("raised", 3)]


def test_a_budget_that_burns_raises_when_both_windows_do() -> None:
    quiet, burning = spans(0.002, 300, 100), spans(0.4, 300, 100)
    over = spans(0.4, 300, 100, short=0.0)
    windows = [Seen(NOON + timedelta(minutes=k), "*", None, 0, one) for k, one in enumerate([quiet, burning, burning, *[over] * 15])]
    assert told(BUDGET, windows) == [("raised", 1), ("cleared", 17)]


def test_a_few_errors_among_few_requests_burn_no_budget() -> None:
    rule = Burn(kind="burn", name="one", measure="error_share", windows=(BurnWindow(long_minutes=15, short_minutes=5, factor=20),))
    assert told(rule, [Seen(NOON, "*", None, 0, {15.0: (3 / 14, 14), 5.0: (3 / 6, 6)})]) == []
    assert told(rule, [Seen(NOON, "*", None, 0, {15.0: (9 / 14, 14), 5.0: (5 / 6, 6)})]) == [("raised", 0)]


def test_every_request_failing_is_burning_too() -> None:
    assert told(BUDGET, [Seen(NOON, "*", 1.0, 12, spans(1.0, 12, 4))]) == [("raised", 0)]


def test_the_chance_bound_is_above_the_binomial_tail() -> None:
    from scipy.stats import binom

    from pipelines.monitoring.burn import _chance

    for n in (10, 15, 40, 300, 5000):
        for bad in range(1, n, max(1, n // 17)):
            assert _chance(bad / n, n, 0.01) >= binom.sf(bad - 1, n, 0.01) - 1e-12
    assert _chance(1.0, 6, 0.01) == pytest.approx(1e-12)


def test_a_clock_that_jumps_back_raises_nothing() -> None:
    later = shown([101.0, 101.0])
    back = [Seen(NOON - timedelta(days=2) + timedelta(minutes=k), "*", 101.0, 50) for k in range(2)]
    # Back at once, again and again: never two bad ones in a row of one clock.
    mixed = [later[0], back[0], Seen(NOON + timedelta(minutes=5), "*", 101.0, 50), back[1]]
    assert told(LINE, mixed) == []
    assert [kind for kind, _ in told(LINE, [later[0], *back, Seen(back[1].at + timedelta(minutes=1), "*", 101.0, 50)])] == ["raised"]


def test_the_same_window_twice_counts_once() -> None:
    assert told(LINE, [shown([101.0])[0]] * 5) == []


def test_a_gap_begins_the_row_anew() -> None:
    assert told(LINE, [Seen(NOON + timedelta(hours=2 * k), "*", 101.0, 50) for k in range(4)]) == []


def test_a_state_of_another_rule_is_dropped_and_what_it_raised_ends() -> None:
    state: dict[str, Any] = {}
    for one in shown([101.0, 101.0]):
        look(LINE, state, one)
    assert state["raised"]
    changed = LINE.model_copy(update={"above": 200.0})
    signal = look(changed, state, Seen(NOON + timedelta(minutes=3), "*", 101.0, 50))
    assert isinstance(signal, Signal) and (signal.kind, signal.why) == ("cleared", "the rule was changed, and judges anew")
    assert state["of"] == mark(changed) and not state["raised"]


def test_what_does_not_judge_does_not_drop_the_state() -> None:
    assert mark(LINE) == mark(LINE.model_copy(update={"severity": "page", "runbook": "docs/x.md", "name": "other"}))
    assert mark(LINE) != mark(LINE.model_copy(update={"hold": 3}))


def test_a_group_that_is_gone_ends_what_is_raised_of_it() -> None:
    state: dict[str, Any] = {}
    for one in shown([101.0, 101.0]):
        look(LINE, state, one)
    ended = gone(LINE, state, "r6", NOON)
    assert ended is not None and ended.kind == "cleared"
    assert gone(LINE, state, "r6", NOON) is None


def test_accepting_ends_what_is_raised() -> None:
    state: dict[str, Any] = {}
    for one in shown([101.0, 101.0]):
        look(LINE, state, one)
    taken = accept(LINE, state)
    assert state["raised"] and not taken["raised"]


def test_learning_for_a_rule_that_needs_nothing_is_a_fresh_state() -> None:
    assert learn(LINE, shown([1.0, 2.0])) == {"of": mark(LINE), "raised": False, "bad": 0, "good": 0, "last": None}
