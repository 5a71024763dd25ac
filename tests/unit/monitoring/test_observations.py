from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from pipelines.config import Settings
from pipelines.monitoring import observations
from pipelines.monitoring.observations import Figure
from pipelines.state.database import transaction

AT = datetime(2026, 3, 2, 10, tzinfo=UTC)


def entered(settings: Settings, *figures: Figure) -> int:
    with transaction(settings) as session:
        return observations.add(session, "d", figures)


def test_what_is_entered_is_read_in_the_order_of_time(settings: Settings) -> None:
    late = Figure(AT + timedelta(hours=1), "question_words", "text", 9.0, n=3)
    assert entered(settings, late, Figure(AT, "question_words", "text", 7.0, n=1, release="d/r1")) == 2
    found = observations.read(settings, "d", {"question_words"}, AT, AT + timedelta(hours=2))
    assert [(row.value, row.n, row.release) for row in found] == [(7.0, 1, "d/r1"), (9.0, 3, None)]
    assert observations.mean(found) == (8.5, 4)
    assert observations.read(settings, "d", {"question_words"}, AT, AT + timedelta(hours=1), release="d/r2") == []
    assert observations.read(settings, "other", {"question_words"}, AT, AT + timedelta(days=1)) == []


def test_two_parts_of_one_window_become_one_figure(settings: Settings) -> None:
    assert entered(settings, Figure(AT, "m", "text", 1.0, n=1)) == 1
    assert entered(settings, Figure(AT, "m", "text", 4.0, n=2)) == 0
    (row,) = observations.read(settings, "d", {"m"}, AT, AT + timedelta(1))
    assert (row.value, row.n) == (3.0, 3)


def test_a_request_has_one_figure_however_often_it_is_entered(settings: Settings) -> None:
    one = Figure(AT, "judged_mean", "judge", 0.5, request_id="q-1")
    assert (entered(settings, one), entered(settings, one)) == (1, 0)
    (row,) = observations.read(settings, "d", {"judged_mean"}, AT, AT + timedelta(1))
    assert (row.value, row.n) == (0.5, 1)


def test_a_mean_weighs_what_was_drawn_by_how_likely_it_was(settings: Settings) -> None:
    entered(
        settings,
        Figure(AT, "judged_mean", "judge", 1.0, request_id="a", detail={"weight": 9.0}),
        Figure(AT, "judged_mean", "judge", 0.0, request_id="b", detail={"weight": 1.0}),
    )
    rows = observations.read(settings, "d", {"judged_mean"}, AT, AT + timedelta(1))
    assert observations.mean(rows) == (0.9, 2)
    assert observations.mean([]) == (None, 0)


def test_old_figures_go_and_only_those(settings: Settings) -> None:
    entered(settings, *(Figure(AT + timedelta(days=day), "m", "text", float(day)) for day in range(4)))
    assert observations.prune(settings, "d", AT + timedelta(days=2)) == 2
    assert [row.value for row in observations.read(settings, "d", {"m"}, AT, AT + timedelta(9))] == [2.0, 3.0]


def test_a_mark_moves_with_what_is_entered_or_neither_does(settings: Settings) -> None:
    with pytest.raises(ZeroDivisionError), observations.marked(settings, "d", "texts") as (session, state):
        state["until"] = "now"
        observations.add(session, "d", [Figure(AT, "m", "text", 1.0)])
        _ = 1 / 0
    assert observations.state(settings, "d", "texts") == {}
    assert observations.read(settings, "d", {"m"}, AT, AT + timedelta(1)) == []
    with observations.marked(settings, "d", "texts") as (_, state):
        state["until"] = "now"
    with observations.marked(settings, "d", "texts") as (_, state):
        assert state == {"until": "now"}
