"""The step operator: attaches to a running job, takes a result once, and says in one line why a step failed."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from pipelines.compute import files, local
from pipelines.compute_config import Local
from pipelines.config import PROJECT, Settings
from pipelines.errors import BadInput, Unavailable

CONTEXT = {"ti": SimpleNamespace(dag_id="law.finetune", run_id="manual__2026-01-01T00:00:00+00:00", task_id="train", map_index=-1)}

pytestmark = pytest.mark.slow


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
    assert files.log_tail(settings, first) == "once"
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


def test_a_kill_while_the_job_is_started_ends_it_once_it_is_known(
    operator: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Airflow does it: from a signal handler, before `jobs.start` has come back."""
    import step_operator
    from airflow.sdk.exceptions import AirflowException

    def start(settings: Settings, name: str, argv: list[str], profile: Any) -> None:
        signal.raise_signal(signal.SIGTERM)
        local.start(settings, name, ["-c", "import time; time.sleep(60)"])

    monkeypatch.setattr(step_operator.jobs, "start", start)
    monkeypatch.setattr(step_operator, "load_domain", lambda *_: None)
    monkeypatch.setattr(step_operator, "profile_of", lambda *_: Local())
    before = signal.signal(signal.SIGTERM, lambda *_: operator.on_kill())
    try:
        with pytest.raises(AirflowException, match="train was stopped while it was started"):
            operator.execute(CONTEXT)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert files.result(settings, f"{job()}/g1")["rc"] == -signal.SIGTERM


def test_a_lost_job_fails_the_try_and_the_next_resumes_the_same_generation(operator: Any, settings: Settings) -> None:
    import step_operator
    from airflow.sdk.exceptions import AirflowException, AirflowFailException

    name = f"{job()}/g1"
    local.start(settings, name, ["-c", "import time; time.sleep(60)"])
    pid, deadline = files.folder(settings, name) / "pid", time.monotonic() + 20
    while not (pid.exists() and pid.read_text()) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(int(pid.read_text()), signal.SIGKILL)
    ended(settings, name)
    with pytest.raises(AirflowException, match="the job was lost") as caught:
        operator.resume(CONTEXT, {"job": name})
    assert not isinstance(caught.value, AirflowFailException), "a retry can help"
    assert step_operator.next_job(settings, job()) == name


async def test_the_trigger_streams_the_log_says_why_a_job_waits_and_outlives_a_silent_scheduler(
    operator: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    import step_operator

    states = iter(["queued", "queued", Unavailable("no answer"), BadInput("no answer"), "running", "done"])

    def poll(settings: Settings, name: str) -> str:
        state = next(states)
        if isinstance(state, Exception):
            raise state
        with (files.folder(settings, name) / files.LOG).open("a", encoding="utf-8") as log:
            log.write(f"line when {state}\n")
        return state

    files.folder(settings, "job").mkdir(parents=True)
    monkeypatch.setattr(step_operator.jobs, "poll", poll)
    monkeypatch.setattr(step_operator.jobs, "note", lambda *_: "PENDING (Resources)")
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(step_operator.asyncio, "sleep", sleep)
    trigger = step_operator.JobTrigger(job="job", poll_seconds=0.01)
    lines: list[str] = []
    monkeypatch.setattr(type(trigger), "log", SimpleNamespace(info=lambda text, *values: lines.append(text % values)), raising=False)
    assert [event.payload async for event in trigger.run()] == [{"job": "job"}]
    told = [line for line in lines if line.startswith("waits")]
    assert told == ["waits: PENDING (Resources)", "waits: no answer"]
    assert pauses == [0.01, 0.01, 0.02, 0.04, 0.01], "who does not answer is asked less often"
    assert [line for line in lines if line.startswith("line")] == [f"line when {s}" for s in ("queued", "queued", "running", "done")]


def test_a_step_on_gpus_takes_slots_of_the_pool(airflow: None, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import step_operator

    configs = tmp_path / "configs"
    for name in ("domains", "compute", "deepspeed"):
        shutil.copytree(PROJECT / "configs" / name, configs / name)
    law = configs / "domains" / "regulatory.yaml"
    values = yaml.safe_load(law.read_text(encoding="utf-8"))
    law.write_text(yaml.safe_dump(values | {"compute": {"train": "two", "index": "two"}, "recipe": {"ranks": 2}}), encoding="utf-8")
    (configs / "compute" / "two.yaml").write_text("{kind: slurm, nodes: 2, gpus_per_node: 1}", encoding="utf-8")
    monkeypatch.setattr(step_operator, "load_settings", lambda: settings.model_copy(update={"configs": configs}))
    train, index, other = (
        step_operator.StepOperator.named(step, domain="regulatory", args={}) for step in ("train", "index", "training-set")
    )
    assert (train.pool, train.pool_slots) == ("gpu", 2), "two nodes with one GPU each"
    assert (index.pool, index.pool_slots) == ("gpu", 1), "only training uses several nodes"
    assert (other.pool, other.pool_slots) == ("default_pool", 1)


def test_job_names_are_stable_and_safe_in_a_path(airflow: None, settings: Settings) -> None:
    import step_operator

    name = step_operator.job_name("a.b", "manual__1/../2 3", "t", 4)
    assert name == step_operator.job_name("a.b", "manual__1/../2 3", "t", 4)
    assert files.folder(settings, name).resolve().is_relative_to(settings.var / "jobs")
    assert name != step_operator.job_name("a.b", "manual__1/../2 3", "t", 5)
