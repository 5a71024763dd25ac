"""A DAG that failed is an incident, told like any other."""

from __future__ import annotations

import warnings
from types import SimpleNamespace
from typing import Any

import pytest

from pipelines.config import Settings
from pipelines.monitoring import desk


def context(dag: str, run: str = "manual__1", **more: Any) -> dict[str, Any]:
    return {"dag": SimpleNamespace(dag_id=dag), "dag_run": SimpleNamespace(dag_id=dag, run_id=run), "run_id": run, **more}


@pytest.fixture
def site(settings: Settings, airflow: None, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("RATCHET_VAR", str(settings.var))
    return settings


def test_a_failed_run_opens_one_incident_of_its_domain_and_a_good_one_ends_it(site: Settings) -> None:
    import notify

    notify.DagFailed().notify(context("regulatory.ingest", ti=SimpleNamespace(task_id="prepare")))
    notify.DagFailed().notify(context("regulatory.ingest", "manual__2"))
    (row,) = desk.listed(site)
    assert (row["id"], row["severity"], row["title"]) == ("regulatory-i1", "ticket", "dag_failed of regulatory.ingest")
    (event,) = desk.shown(site, "regulatory-i1")["timeline"]
    assert "run manual__1 of regulatory.ingest failed at prepare" in event["what"]
    notify.DagWell().notify(context("regulatory.ingest", "manual__3"))
    assert desk.listed(site) == [] and desk.listed(site, closed=True)[0]["state"] == "closed"


def test_a_dag_of_the_whole_site_has_its_own(site: Settings) -> None:
    import notify

    notify.DagFailed().notify(context("rollback"))
    assert [row["id"] for row in desk.listed(site)] == ["site-i1"]
    notify.DagWell().notify(context("erase"))
    assert [row["state"] for row in desk.listed(site)] == ["open"], "another DAG's success ends nothing"


def test_what_an_exception_says_is_not_passed_on(site: Settings) -> None:
    import notify

    notify.DagFailed().notify(context("regulatory.ingest", exception=ValueError("Mrs Smith, 12 High Street")))
    assert "Smith" not in str(desk.shown(site, "regulatory-i1"))


def test_airflow_calls_it_as_it_calls_every_notifier(site: Settings) -> None:
    import notify
    from airflow.sdk import DAG, BaseNotifier

    found = notify.DagFailed()
    assert isinstance(found, BaseNotifier)
    dag = DAG("clinical.release", schedule=None, on_failure_callback=found, on_success_callback=notify.DagWell())
    found(context("clinical.release") | {"dag": dag})
    assert [row["id"] for row in desk.listed(site)] == ["clinical-i1"]


def test_the_provider_s_own_notifier_is_there_for_who_wants_airflow_to_tell(airflow: None) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as Airflow's own: they are not ours
        from airflow.providers.apprise.notifications.apprise import AppriseNotifier

    made = AppriseNotifier(title="{{ dag.dag_id }} failed", body="run {{ run_id }}", apprise_conn_id="on_call")
    assert set(made.template_fields) >= {"title", "body"}
