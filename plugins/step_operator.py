"""Runs a heavy step through `pipelines.compute` and waits deferred: no worker slot, and no second start after a crash."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from itertools import count
from typing import Any

from airflow.sdk import BaseOperator, Context
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from airflow.triggers.base import BaseTrigger, TriggerEvent

from pipelines.compute import local
from pipelines.config import load_settings

BAD_INPUT = 2
"""Exit code of a step that a retry cannot help."""


class StepOperator(BaseOperator):
    """`python -m pipelines step STEP --domain DOMAIN --arg key=value ...`; returns the step's small result.

    The job is named after (dag, run, task, map index) and a generation, never after `ti.id`, which changes on every try: a retry
    finds the running job and attaches to it; a clear after the end starts a new generation, which finds its addressed output at once.
    """

    template_fields: Sequence[str] = ("args",)
    ui_color = "#e8f0ff"

    def __init__(self, *, step: str, domain: str, args: dict[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.step, self.domain, self.args = step, domain, args
        self._job: str | None = None

    @classmethod
    def named(cls, step: str, **kwargs: Any) -> StepOperator:
        """With the step's own name as task id: `training-set` -> `training_set`."""
        return cls(task_id=step.replace("-", "_"), step=step, **kwargs)

    def execute(self, context: Context) -> Any:
        """Start or reattach, then wait in the triggerer."""
        settings = load_settings()
        ti = context["ti"]
        job = self._job = next_job(settings, job_name(ti.dag_id, ti.run_id, ti.task_id, ti.map_index))
        state = local.poll(settings, job)
        if state in ("absent", "lost"):
            argv = ["-m", "pipelines", "step", self.step, "--domain", self.domain]
            for key, value in self.args.items():
                argv += ["--arg", f"{key}={value}"]
            self.log.info("%s %s as %s", "resuming" if state == "lost" else "starting", self.step, job)
            local.start(settings, job, argv)
        else:
            self.log.info("attaching to %s, which is %s", job, state)
        if local.poll(settings, job) == "done":
            return self.resume(context, {"job": job})
        self.defer(trigger=JobTrigger(job=job), method_name="resume")

    def resume(self, context: Context, event: dict[str, Any]) -> Any:
        """The step's result, or its one-line error. A job that vanished is started again."""
        settings, job = load_settings(), event["job"]
        self._job = job
        if local.poll(settings, job) != "done":
            return self.execute(context)
        tail = local.log_tail(settings, job)
        if tail:
            self.log.info("log of the step:\n%s", tail)
        result = local.result(settings, job)
        consume(settings, job)
        if result["rc"] != 0:
            message = f"{self.step}: {result['error'] or 'failed without a word'}"
            # What a person must mend is not tried again; anything else may pass next time.
            raise AirflowFailException(message) if result["rc"] == BAD_INPUT else AirflowException(message)
        return result["output"]

    def on_kill(self) -> None:
        """Marked failed or cleared while `execute` ran: stop the step and wait for its lock, so a retry starts clean."""
        if self._job is not None:
            local.stop(load_settings(), self._job)


class JobTrigger(BaseTrigger):
    """Waits until a job no longer runs."""

    def __init__(self, job: str, poll_seconds: float = 0.5) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.job, self.poll_seconds = job, poll_seconds

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments."""
        return "step_operator.JobTrigger", {"job": self.job, "poll_seconds": self.poll_seconds}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """One event, at the end of the job; a restarted triggerer just goes on looking."""
        settings = load_settings()
        while await asyncio.to_thread(local.poll, settings, self.job) == "running":
            await asyncio.sleep(self.poll_seconds)
        yield TriggerEvent({"job": self.job})  # type: ignore[no-untyped-call]

    async def on_kill(self) -> None:
        """Cleared or marked while deferred. Waits for the lock: a retry must not attach to a dying process."""
        await asyncio.to_thread(local.stop, load_settings(), self.job)


def job_name(dag_id: str, run_id: str, task_id: str, map_index: int | None) -> str:
    """Stable over tries; made of characters that are safe in a path."""
    parts = (dag_id, run_id, task_id, str(-1 if map_index is None else map_index))
    return "/".join(re.sub(r"[^A-Za-z0-9_+:.-]", "_", part).replace("..", "_") for part in parts)


def next_job(settings: Any, name: str) -> str:
    """The first generation whose result nobody has taken yet, or that has not run; a failed one left behind by a kill is passed over."""
    for generation in count(1):
        job = f"{name}/g{generation}"
        if (local.folder(settings, job) / "consumed").exists():
            continue
        if local.poll(settings, job) == "done" and local.result(settings, job)["rc"] != 0:
            consume(settings, job)
            continue
        return job
    raise AssertionError("unreachable")


def consume(settings: Any, job: str) -> None:
    """Mark a job's result as taken."""
    (local.folder(settings, job) / "consumed").touch()
