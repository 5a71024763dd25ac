"""The step operator: attaches to a running job, takes a result once, and says in one line why a step failed."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from pipelines.compute import local
from pipelines.config import Settings

CONTEXT = {"ti": SimpleNamespace(dag_id="law.finetune", run_id="manual__2026-01-01T00:00:00+00:00", task_id="train", map_index=-1)}


@pytest.fixture
def operator(airflow: None, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Any:
    import step_operator

    monkeypatch.setattr(step_operator, "load_settings", lambda: settings)
    return step_operator.StepOperator(task_id="train", step="train", domain="law", args={"version": "Law_v1.0"})


def job() -> str:
    import step_operator

    ti = CONTEXT["ti"]
    return step_operator.job_name(ti.dag_id, ti.run_id, ti.task_id, ti.map_index)


def ended(settings: Settings, name: str) -> None:
    deadline = time.monotonic() + 20
    while local.poll(settings, name) == "running" and time.monotonic() < deadline:
        time.sleep(0.05)


async def test_a_retry_attaches_to_the_running_job_and_takes_its_result_once(operator: Any, settings: Settings) -> None:
    import step_operator
    from airflow.sdk.exceptions import TaskDeferred

    first = f"{job()}/g1"
    local.start(settings, first, ["-c", "import time; print('once'); time.sleep(1.5)"])
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(CONTEXT)
    assert deferred.value.trigger.job == first
    events = [event async for event in deferred.value.trigger.run()]
    assert [event.payload for event in events] == [{"job": first}]
    assert operator.resume(CONTEXT, events[0].payload) is None
    assert local.log_tail(settings, first) == "once"
    assert step_operator.next_job(settings, job()) == f"{job()}/g2"


def test_bad_input_is_not_tried_again_and_other_failures_are(operator: Any, settings: Settings) -> None:
    from airflow.sdk.exceptions import AirflowException, AirflowFailException

    for generation, (code, kind) in enumerate(((2, AirflowFailException), (1, AirflowException)), start=1):
        name = f"{job()}/g{generation}"
        local.start(settings, name, ["-c", f"raise SystemExit({code})"])
        ended(settings, name)
        with pytest.raises(kind, match="train: the step's process ended with") as caught:
            operator.resume(CONTEXT, {"job": name})
        assert type(caught.value) is kind


def test_a_job_killed_by_a_clear_is_passed_over(operator: Any, settings: Settings) -> None:
    import step_operator

    name = f"{job()}/g1"
    local.start(settings, name, ["-c", "import time; time.sleep(60)"])
    operator._job = name
    operator.on_kill()
    assert local.poll(settings, name) != "running"
    assert step_operator.next_job(settings, job()) == f"{job()}/g2"


def test_job_names_are_stable_and_safe_in_a_path(airflow: None, settings: Settings) -> None:
    import step_operator

    name = step_operator.job_name("a.b", "manual__1/../2 3", "t", 4)
    assert name == step_operator.job_name("a.b", "manual__1/../2 3", "t", 4)
    assert local.folder(settings, name).resolve().is_relative_to(settings.var / "jobs")
    assert name != step_operator.job_name("a.b", "manual__1/../2 3", "t", 5)
