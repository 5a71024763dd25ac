"""Runs a heavy step through `pipelines.compute` and waits deferred: no worker slot, and no second start after a crash."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any

from airflow.sdk import BaseOperator, Context
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from airflow.triggers.base import BaseTrigger, TriggerEvent

from pipelines.compute import jobs
from pipelines.compute_config import GPU_POOL, Local, Profile
from pipelines.config import Settings, load_domain, load_settings, profile_of
from pipelines.errors import BadInput, RatchetError

BAD_INPUT = 2
"""Exit code of a step that a retry cannot help."""
PAUSE_SECONDS = 60.0
"""Between two questions at most, to a scheduler that does not answer."""


class StepOperator(BaseOperator):
    """`python -m pipelines step STEP --domain DOMAIN --arg key=value ...`; returns the step's small result.

    The job is named after (dag, run, task, map index) and a generation, never after `ti.id`, which changes on every try: a retry
    finds the running job and attaches to it; a clear after the end starts a new generation, which finds its addressed output at once.
    A step runs where its domain's `compute` says. One that holds GPUs takes as many slots of the pool `gpu`, waiting in the queue of its
    cluster or running.
    """

    template_fields: Sequence[str] = ("args",)
    ui_color = "#e8f0ff"

    def __init__(self, *, step: str, domain: str, args: dict[str, Any], **kwargs: Any) -> None:
        gpus = _profile(step, domain).gpus
        super().__init__(**({"pool": GPU_POOL, "pool_slots": gpus} if gpus else {}) | kwargs)
        self.step, self.domain, self.args = step, domain, args
        self._job: str | None = None
        self._starting = self._killed = False

    @classmethod
    def named(cls, step: str, **kwargs: Any) -> StepOperator:
        """With the step's own name as task id: `training-set` -> `training_set`."""
        return cls(task_id=step.replace("-", "_"), step=step, **kwargs)

    def execute(self, context: Context) -> Any:
        """Start or reattach, then wait in the triggerer."""
        settings = load_settings()
        ti = context["ti"]
        with _airflow_errors(), self._putting_off_kill(settings):
            job = self._job = next_job(settings, job_name(ti.dag_id, ti.run_id, ti.task_id, ti.map_index))
            state, written = jobs.poll(settings, job), jobs.log_size(settings, job)
            if state in ("absent", "lost"):
                profile = profile_of(load_domain(self.domain, settings), self.step, settings)
                argv = ["-m", "pipelines", "step", self.step, "--domain", self.domain]
                for key, value in self.args.items():
                    argv += ["--arg", f"{key}={value}"]
                self.log.info("%s %s on %s as %s", "resuming" if state == "lost" else "starting", self.step, profile.kind, job)
                jobs.start(settings, job, argv, profile)
            else:
                self.log.info("attaching to %s, which is %s", job, state)
            if jobs.poll(settings, job) == "done":
                return self.resume(context, {"job": job, "unseen": True})
            seconds = jobs.profile_of(settings, job).poll_seconds
        self.defer(trigger=JobTrigger(job=job, poll_seconds=seconds, offset=written), method_name="resume")

    def resume(self, context: Context, event: dict[str, Any]) -> Any:
        """The step's result, or its one-line error. A lost job fails this try, and the next resumes it: so tries are bounded."""
        settings, job = load_settings(), event["job"]
        self._job = job
        with _airflow_errors():
            state = jobs.poll(settings, job)
            if state == "lost":
                raise AirflowException(lost(settings, job, self.step))
            if state != "done":
                return self.execute(context)
            result = jobs.result(settings, job)
            if event.get("unseen") or result["rc"] != 0:
                self.log.info("end of the step's log, %s:\n%s", jobs.folder(settings, job) / "log.txt", jobs.log_tail(settings, job))
        consume(settings, job)
        if result["rc"] != 0:
            message = f"{self.step}: {result['error'] or 'failed without a word'}"
            # What a person must mend is not tried again; anything else may pass next time.
            raise AirflowFailException(message) if result["rc"] == BAD_INPUT else AirflowException(message)
        return result["output"]

    def on_kill(self) -> None:
        """Marked failed or cleared while this ran: stop the step and wait until it has ended, so a retry starts clean.

        Airflow calls it from a signal handler, in the middle of what it interrupts, and kills this process five seconds later.
        """
        self._killed = True
        if self._job is None:
            return
        if self._starting:
            jobs.ask_to_stop(load_settings(), self._job)
        else:
            jobs.stop(load_settings(), self._job)

    @contextmanager
    def _putting_off_kill(self, settings: Settings) -> Iterator[None]:
        """A kill that comes within is carried out at the end: before, the job may have no id, and `jobs.start` holds its lock."""
        self._starting = True
        try:
            yield
        finally:
            self._starting = False
            if self._killed and self._job is not None:
                jobs.stop(settings, self._job)
        if self._killed:
            raise AirflowException(f"{self.step} was stopped while it was started")


class JobTrigger(BaseTrigger):
    """Waits until a job has ended; what it writes to its log from byte `offset` on goes into the task's log as it comes."""

    def __init__(self, job: str, poll_seconds: float = 0.5, offset: int = 0) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.job, self.poll_seconds, self.offset = job, poll_seconds, offset

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments."""
        return "step_operator.JobTrigger", {"job": self.job, "poll_seconds": self.poll_seconds, "offset": self.offset}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """One event, at the end of the job; a restarted triggerer just goes on looking."""
        settings, offset, told, pause = load_settings(), self.offset, "", self.poll_seconds
        while True:
            said, alive = "", True
            try:
                state = await asyncio.to_thread(jobs.poll, settings, self.job)
                alive, pause = state in jobs.ALIVE, self.poll_seconds
                if state == "queued":
                    said = await asyncio.to_thread(jobs.note, settings, self.job)
            except RatchetError as error:
                # The job runs on without its scheduler's answers.
                said, pause = str(error), min(2 * pause, max(self.poll_seconds, PAUSE_SECONDS))
            if said and said != told:
                self.log.info("waits: %s", said)
            told = said or told
            lines, offset = await asyncio.to_thread(jobs.log_from, settings, self.job, offset)
            for line in lines.splitlines():
                self.log.info("%s", line)
            if not alive:
                break
            await asyncio.sleep(pause)
        yield TriggerEvent({"job": self.job})  # type: ignore[no-untyped-call]

    async def on_kill(self) -> None:
        """Cleared or marked while deferred. Waits for the end: a retry must not attach to a dying job."""
        await asyncio.to_thread(jobs.stop, load_settings(), self.job)


def lost(settings: Settings, job: str, step: str) -> str:
    """What became of a job without a result, and what happens next."""
    note = jobs.note(settings, job) or "its process was killed"
    return f"{step}: the job was lost ({note}): the next try, or clearing the task, resumes it from its last checkpoint"


def _profile(step: str, domain: str) -> Profile:
    """Where the step runs, for the scheduler. A broken file shows elsewhere, and costs only its own domain its DAGs."""
    settings = load_settings()
    try:
        return profile_of(load_domain(domain, settings), step, settings)
    except RatchetError:
        return Local()


@contextmanager
def _airflow_errors() -> Iterator[None]:
    """What a later try may help is tried again, what a person must mend is not."""
    try:
        yield
    except BadInput as error:
        raise AirflowFailException(str(error)) from error
    except RatchetError as error:
        raise AirflowException(str(error)) from error


def job_name(dag_id: str, run_id: str, task_id: str, map_index: int | None) -> str:
    """Stable over tries; made of characters that are safe in a path."""
    parts = (dag_id, run_id, task_id, str(-1 if map_index is None else map_index))
    return "/".join(re.sub(r"[^A-Za-z0-9_+:.-]", "_", part).replace("..", "_") for part in parts)


def next_job(settings: Settings, name: str) -> str:
    """The first generation whose result nobody has taken yet, or that has not run; a failed one left behind by a kill is passed over."""
    for generation in count(1):
        job = f"{name}/g{generation}"
        if (jobs.folder(settings, job) / "consumed").exists():
            continue
        if jobs.poll(settings, job) == "done" and jobs.result(settings, job)["rc"] != 0:
            consume(settings, job)
            continue
        return job
    raise AssertionError("unreachable")


def consume(settings: Settings, job: str) -> None:
    """Mark a job's result as taken."""
    (jobs.folder(settings, job) / "consumed").touch()
