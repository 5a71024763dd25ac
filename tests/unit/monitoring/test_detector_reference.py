"""The pages on detectors say what the code does."""

from __future__ import annotations

import importlib.util
import re

import pytest
import yaml

from pipelines.config import PROJECT
from pipelines.monitor_config import Monitors
from pipelines.monitoring.measures import MEASURES
from pipelines.monitoring.shift import HORIZONS, PROBATION_HOURS

RULES = (PROJECT / "docs" / "rules.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```yaml\n(.*?)```", RULES, re.DOTALL)


def test_the_detector_reference_is_current() -> None:
    spec = importlib.util.spec_from_file_location("detector_reference", PROJECT / "scripts" / "detector_reference.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    text = module.PAGE.read_text(encoding="utf-8")
    assert module.page(text) == text, "run .venv/bin/python scripts/detector_reference.py"
    assert f"for {PROBATION_HOURS:g} hours after another release" in text and f"over {HORIZONS[1]} and {HORIZONS[2]} windows" in text


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_examples_can_stand_in_a_domain_file(example: str) -> None:
    monitors = Monitors.model_validate(yaml.safe_load(example)["monitors"])
    assert monitors.rules and all(rule.measure in MEASURES for rule in monitors.rules)


def test_there_are_examples_of_every_kind() -> None:
    assert len(EXAMPLES) >= 4
    assert {rule["kind"] for one in EXAMPLES for rule in yaml.safe_load(one)["monitors"]["rules"]} == {"threshold", "burn", "shift"}


def test_the_usual_rules_watch_measures_that_there_are() -> None:
    assert all(rule.measure in MEASURES for rule in Monitors().watched())
