"""What the DAG files share: library calls as tasks, assets, policy, approval. It decides nothing about data."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from importlib import import_module
from typing import Any

from airflow.providers.standard.exceptions import HITLTimeoutError
from airflow.providers.standard.operators.hitl import ApprovalOperator, HITLOperator
from airflow.sdk import (
    DAG,
    Asset,
    AssetAlias,
    AssetOrTimeSchedule,
    AssetWatcher,
    Context,
    CronTriggerTimetable,
    MultipleCronTriggerTimetable,
    Param,
    task,
)
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException
from landing_watch import LandingWatch
from notify import DagFailed, DagWell

from pipelines.config import DomainConfig, domain_names, load_domain, load_settings
from pipelines.errors import ConfigError, RatchetError, Unavailable
from pipelines.site.users import Stage, access_control, assigned_users

logger = logging.getLogger(__name__)
SWEEP = "17 * * * *"
"""Hourly: events can be folded or stranded, so every DAG also looks by itself."""


def good_domains() -> Iterator[DomainConfig]:
    """Domains whose file is whole. `broken_domains.py` reports the others, so that one bad file costs no other domain its DAGs."""
    settings = load_settings()
    for name in domain_names(settings):
        try:
            yield load_domain(name, settings)
        except ConfigError:
            continue


def faults() -> list[str]:
    """One line per broken domain."""
    settings, found = load_settings(), []
    for name in domain_names(settings):
        try:
            assigned_users(settings, load_domain(name, settings))
        except ConfigError as error:
            found.append(str(error))
    return found


def asset(kind: str, domain: str, **more: Any) -> Asset:
    """`dataset/regulatory` at `ratchet://dataset/regulatory`."""
    return Asset(name=f"{kind}/{domain}", uri=f"ratchet://{kind}/{domain}", **more)


def arrivals(domain: str) -> Asset:
    """The watched landing zone of a domain."""
    return asset("arrivals", domain, watchers=[AssetWatcher(name=f"landing_{domain}", trigger=LandingWatch(domain))])


def ticks(schedules: Iterable[str]) -> MultipleCronTriggerTimetable:
    """Every tick of several cron schedules, and the hourly sweep: what failed, or waits for an export, does not wait for the next day."""
    return MultipleCronTriggerTimetable(*sorted({SWEEP, *schedules}), timezone="UTC")


def only_on(schedule: str) -> MultipleCronTriggerTimetable:
    """The ticks of one cron schedule, without the hourly sweep: for what takes nothing from the ledger."""
    return MultipleCronTriggerTimetable(schedule, timezone="UTC")


def stage_dag(domain: DomainConfig, stage: Stage, source: Asset | MultipleCronTriggerTimetable, doc: str | None) -> DAG:
    """One stage of one domain with the policy all share: rights, tags, owner, retries; an hourly sweep beside the asset's events."""
    if isinstance(source, Asset):
        schedule: Any = AssetOrTimeSchedule(timetable=CronTriggerTimetable(SWEEP, timezone="UTC"), assets=[source])
        runs = {}
    else:
        # Two runs of `collect` would only meet at the sources' locks.
        schedule, runs = source, {"max_active_runs": 1}
    # A refused arrival or candidate makes its run red on purpose: of those DAGs nobody is told.
    told = {} if stage in ("ingest", "release") else {"on_failure_callback": DagFailed(), "on_success_callback": DagWell()}
    return DAG(
        dag_id=f"{domain.domain}.{stage}",
        description=f"{stage}: {domain.description}",
        doc_md=doc,
        schedule=schedule,
        **runs,
        **told,
        start_date=datetime(2025, 1, 1),
        catchup=False,
        tags=[domain.domain, stage],
        access_control=access_control(domain.domain, stage),
        default_args={"owner": domain.owner, "retries": 2, "retry_delay": timedelta(seconds=5), "retry_exponential_backoff": True},
    )


def by_hand_dag(name: str, doc: str | None, params: dict[str, Param]) -> DAG:
    """A DAG of the whole site that only a person starts. No role is given it: it is the administrators', who have every DAG."""
    return DAG(
        dag_id=name,
        description=(doc or "").partition("**Purpose.** ")[2].partition(".")[0],
        doc_md=doc,
        schedule=None,
        max_active_runs=1,
        tags=["by hand", name],
        access_control={},
        params=params,
        default_args={"owner": "administrator", "retries": 2, "retry_delay": timedelta(seconds=5)},
    )


def by_hand(path: str) -> Callable[..., Any]:
    """`"steps.erase.requested"` -> a function that calls it with the run's parameters, and as `actor` the user who triggered the run.

    That name is Airflow's record of who was logged in, never a parameter. A run that nobody triggered may do nothing.
    """
    module, _, name = path.rpartition(".")

    def function(more: dict[str, Any] | None = None, **context: Any) -> Any:
        actor = context["dag_run"].triggering_user_name
        if not actor:
            raise AirflowFailException("Airflow does not know who triggered this run: trigger it in the UI")
        with airflow_errors():
            values = {**context["params"], **(more or {}), "actor": actor}
            return getattr(import_module(f"pipelines.{module}"), name)(load_settings(), **values)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"`pipelines.{path}`"
    return function


def call(path: str) -> Callable[..., Any]:
    """`"ingest.prepare"` -> a function of the same name that calls `pipelines.steps.ingest.prepare(settings, ...)`.

    The library is imported when the task runs: parsing a DAG file must stay quick.
    """
    module, name = path.split(".")

    def function(*args: Any) -> Any:  # no **kwargs: Airflow would pour its whole context into them
        with airflow_errors():
            return getattr(import_module(f"pipelines.steps.{module}"), name)(load_settings(), *args)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"`pipelines.steps.{path}`"
    return function


@contextmanager
def airflow_errors() -> Iterator[None]:
    """An expected failure becomes one line in the task's log; only what later tries may help is tried again."""
    try:
        yield
    except Unavailable as error:
        raise AirflowException(str(error)) from error
    except RatchetError as error:
        raise AirflowFailException(str(error)) from error


def claim(stage: str, domain: str) -> Any:
    """The first task of a run: take work from the ledger; nothing to do skips the rest."""
    function = call(f"{stage}.claim")
    return task.short_circuit(task_id="claim")(function)(domain, "{{ dag.dag_id }}", "{{ run_id }}")


def prepare(domain: str, arrival_id: str) -> Any:
    """`pipelines.steps.ingest.prepare` with named arguments: one mapped task per arrival."""
    return call("ingest.prepare")(domain, arrival_id)


def admitted(domain: str, version: str) -> Any:
    """Wait until the domain's budget allows the training. Between two looks it holds no slot; a raised budget or a new month lets it go."""
    looks: Any = task.sensor(task_id="admit", mode="reschedule", poke_interval=300, timeout=timedelta(days=35).total_seconds())
    return looks(call("budget.admit"))(domain, version)


def announce(target: Asset, path: str, *args: Any) -> Any:
    """Tell the next stage, but only of something new: `path` answers with it once, and with nothing on a clear or an empty run."""
    alias = AssetAlias(f"new {target.name}")

    @task(task_id="announce", outlets=[alias])
    def tell(*args: Any, outlet_events: Any = None) -> Any:
        new = call(path)(*args)
        if new:
            outlet_events[alias].add(asset(*target.name.split("/")), extra={"new": new})
        return new

    return tell(*args)


def announce_anew(erased: Any) -> Any:
    """Say what an erasure barred, and tell the domain's next stage of the version that calls for new parts; of that only once."""
    alias = AssetAlias("new dataset/after erasure")

    @task(task_id="announce", outlets=[alias])
    def tell(erased: dict[str, Any], *run: str, outlet_events: Any = None) -> None:
        for what in ("versions", "adapters", "indexes", "training_sets", "removed_now"):
            logger.info("%s: %s", what.replace("_", " "), ", ".join(erased[what]) or "none")
        domain = erased["domain"]
        for version in call("publish.newly_published")(domain, *run):
            outlet_events[alias].add(asset("dataset", domain), extra={"new": [version]})

    return tell(erased, "{{ dag.dag_id }}", "{{ run_id }}")


def tell_others() -> Any:
    """Tell MLflow what became true, however the run went. MLflow being down turns nothing red: `ratchet doctor` tells it later."""
    return task(task_id="tell_others", trigger_rule="all_done")(call("learn.tell_others"))()


class Approval(ApprovalOperator):
    """Airflow's approval, answered by one of the domain's approvers. A rejection goes on to `authorise`, which records it and fails.

    Who is asked is looked up when the question is put, not when the DAG file was read. Where the domain's policy approves, nobody is asked.
    A try that fails asks again: when an answer comes within seconds of the question and the scheduler is slow, Airflow 3.3.2 hears of the
    pause after it has queued the task anew, and fails it. Running out of time is no fault and is not tried again.
    """

    template_fields = (*ApprovalOperator.template_fields, "candidate")

    def __init__(self, *, domain: DomainConfig, candidate: Any, **kwargs: Any) -> None:
        self.hours = domain.rollout.approval_hours
        asked, limit = assigned_users(load_settings(), domain), timedelta(hours=self.hours)
        super().__init__(assigned_users=asked, response_timeout=limit, **kwargs)
        self.domain_name, self.candidate = domain.domain, candidate

    def execute(self, context: Context) -> Any:
        """Ask, unless the domain's policy approves. The figures shown are the control database's, never an XCom's."""
        approval = import_module("pipelines.steps.approval")
        with airflow_errors():
            settings = load_settings()
            why_not = approval.auto(settings, self.domain_name, self.candidate)
            if why_not is None:
                self.log.info("rollout.auto_approve of %s: nobody is asked", self.domain_name)
                return None
            asked = approval.question(settings, self.domain_name, self.candidate, why_not)
            known = assigned_users(settings, load_domain(self.domain_name, settings))
        self.body = asked.body
        self.assigned_users = [user for user in known if user["name"] in asked.approvers]
        if not self.assigned_users:  # Airflow would let anyone answer
            raise AirflowFailException(f"none of {', '.join(asked.approvers)} has an Airflow account: run `ratchet up`")
        return super().execute(context)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        """Skip nothing: a skipped run would hide who rejected."""
        try:
            return HITLOperator.execute_complete(self, context, event)
        except HITLTimeoutError as error:
            ti, expired = context["ti"], import_module("pipelines.steps.approval").expired
            with airflow_errors():
                reason = expired(load_settings(), self.candidate, hours=self.hours, source=f"{ti.dag_id}/{ti.run_id}/{ti.task_id}")
            raise AirflowFailException(reason) from error


def authorise(domain: str, candidate: str, **context: Any) -> None:
    """Pass Airflow's own record of the answer on. Never XCom, which an administrator may write; no record, no release."""
    from pipelines.site.airflow_api import AirflowClient

    with airflow_errors():
        settings, ti = load_settings(), context["ti"]
        approval = import_module("pipelines.steps.approval")
        if approval.by_policy(settings, domain, candidate):
            return
        answer = AirflowClient.of_service(settings).answer(ti.dag_id, ti.run_id, "approve")
        source = f"{ti.dag_id}/{ti.run_id}/approve"
        approval.authorise(
            settings, domain, candidate, responded_by=answer.user, option=answer.option, responded_at=answer.at, source=source
        )


def withdraw(domain: str, candidate: str, **context: Any) -> None:
    """Take a candidate back whose canary or promotion failed. When the failure was earlier, there is nothing in service to withdraw."""
    ti = context["ti"]
    states = ti.get_task_states(dag_id=ti.dag_id, task_ids=["canary", "promote"], run_ids=[ti.run_id])
    failed = [name for name, state in states.get(ti.run_id, {}).items() if state == "failed"]
    if not failed:
        raise AirflowSkipException("nothing was in service: clear the failed task when its cause is mended")
    call("release.withdraw")(domain, candidate, f"{' and '.join(failed)} failed in {ti.dag_id} {ti.run_id}")
