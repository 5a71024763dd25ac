"""The list of measures, and the page that is made from it."""

from __future__ import annotations

import importlib.util

import pytest

from pipelines.config import PROJECT
from pipelines.errors import BadInput
from pipelines.monitor_config import USUAL
from pipelines.monitoring.measures import LOG, MEASURES, OBSERVED, known


def test_the_page_of_measures_is_current() -> None:
    spec = importlib.util.spec_from_file_location("measures_reference", PROJECT / "scripts" / "measures_reference.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    text = module.PAGE.read_text(encoding="utf-8")
    assert module.page(text) == text, "run .venv/bin/python scripts/measures_reference.py"
    assert all(text.count(f"| `{name}` |") == 1 for name in MEASURES)


def test_the_usual_rules_are_of_measures_that_there_are() -> None:
    assert known([rule.measure for rule in USUAL])


def test_measures_of_the_log_say_how_they_are_counted_and_others_do_not() -> None:
    for name, one in MEASURES.items():
        assert bool(one.sql) == (name in LOG) and one.says.endswith("."), name
        assert (one.kind == "quantile") == bool(one.level)
    assert {*LOG, *OBSERVED, "topic_distance"} == set(MEASURES)


def test_a_measure_that_is_none_is_named_with_the_nearest() -> None:
    assert known(None) == tuple(MEASURES) and known(["latency_p95", "requests"]) == ("requests", "latency_p95")
    with pytest.raises(BadInput, match="no measure 'latency_95'") as error:
        known(["latency_95"])
    assert "latency_p95" in str(error.value)
