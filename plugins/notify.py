"""Airflow's notifiers of this project: a DAG run that failed is an incident, told like any other, and over when the DAG has run well.

    DAG(..., on_failure_callback=DagFailed(), on_success_callback=DagWell())

They write to the control database alone; the watcher tells people. Who wants Airflow itself to tell, uses the notifier of
`apache-airflow-providers-apprise`: see docs/monitoring.md.
"""

from __future__ import annotations

import logging
from typing import Any

from airflow.sdk import BaseNotifier, Context

from pipelines.config import Settings, domain_names, load_domain, load_settings
from pipelines.errors import RatchetError
from pipelines.monitor_config import Monitors
from pipelines.monitoring import incidents
from pipelines.monitoring.detectors import Signal
from pipelines.state.models import now

logger = logging.getLogger(__name__)
RULE = "dag_failed"
SITE = "site"
"""Whose incidents those of DAGs are that belong to no domain: `rollback`, `erase`."""


class DagFailed(BaseNotifier):
    """Opens an incident, rule `dag_failed`, group the DAG's id; a DAG that goes on failing stays one incident."""

    def notify(self, context: Context) -> None:
        """Called by Airflow with the run's context. RatchetError where the control database does not answer."""
        dag, run = _dag_and_run(context)
        task = getattr(context.get("ti") or context.get("task_instance"), "task_id", None)
        # Not the exception's words: they may quote a text. The task's log has them.
        why = f"run {run} of {dag} failed" + (f" at {task}" if task else "")
        _take(dag, "raised", 1.0, why)


class DagWell(BaseNotifier):
    """Ends it."""

    def notify(self, context: Context) -> None:
        """Called by Airflow with the run's context."""
        dag, run = _dag_and_run(context)
        _take(dag, "cleared", 0.0, f"run {run} of {dag} went well")


def _take(dag: str, kind: Any, value: float, why: str) -> None:
    settings, moment = load_settings(), now()
    domain = dag.partition(".")[0] if "." in dag else SITE
    signal = Signal(kind, RULE, dag, moment, value, 0.0, why)
    for row in incidents.take_named(settings, domain, _monitors(settings, domain), [signal], moment):
        logger.info("%s is %s: %s", row.id, row.state, why)


def _monitors(settings: Settings, domain: str) -> Monitors:
    if domain in domain_names(settings):
        try:
            return load_domain(domain, settings).monitors
        except RatchetError:  # a broken file must not hide that its DAG failed
            pass
    return Monitors()


def _dag_and_run(context: Context) -> tuple[str, str]:
    run = context.get("dag_run")
    dag = getattr(run, "dag_id", None) or getattr(context.get("dag"), "dag_id", None) or "unknown"
    return str(dag), str(context.get("run_id") or getattr(run, "run_id", "") or "?")
