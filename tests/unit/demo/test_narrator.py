"""The story stops at a red run instead of waiting for what it will not bring."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from pipelines.config import Settings
from pipelines.demo.narrator import Narrator
from pipelines.errors import RatchetError


def person(state: str) -> Any:
    tasks = [{"task_id": "gate", "state": "failed"}, {"task_id": "approve", "state": "upstream_failed"}]
    return SimpleNamespace(run_state=lambda dag, run_id: state, tasks=lambda dag, run_id: tasks)


def test_a_failed_run_ends_the_story_and_names_the_red_task(settings: Settings) -> None:
    narrator = Narrator(settings, Console(), "os:someone")
    with pytest.raises(RatchetError, match=r"law\.release run-1 failed in gate"):
        narrator._stop_if_failed(person("failed"), "law.release", "run-1")
    narrator._stop_if_failed(person("running"), "law.release", "run-1")
    narrator._stop_if_failed(person("failed"), "law.release", None)
