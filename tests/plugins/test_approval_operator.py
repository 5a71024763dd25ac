"""The approval as Airflow runs it: whom it asks, what it shows, and when it asks nobody. What Airflow is told is caught at its door."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pipelines.config import Settings, load_domain
from pipelines.errors import NotAllowed, Unavailable
from pipelines.site import secrets, users
from pipelines.steps import approval

R2 = "regulatory/r2"
TI = SimpleNamespace(id="0", dag_id="regulatory.release", run_id="run", task_id="approve")
CONTEXT: Any = {"ti": TI, "task_instance": TI}


@pytest.fixture
def asked(airflow: None, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Every question put to Airflow."""
    from airflow.providers.standard.operators import hitl

    told: list[dict[str, Any]] = []
    monkeypatch.setattr(hitl, "upsert_hitl_detail", lambda **detail: told.append(detail))
    return told


@pytest.fixture
def operator(asked: list[dict[str, Any]], settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Any:
    import wiring
    from airflow.sdk.bases.operator import ExecutorSafeguard

    users.ids_file(settings).parent.mkdir(parents=True)
    secrets.write(users.ids_file(settings), {"approver": "7", "deputy": "8"})
    monkeypatch.setattr(wiring, "load_settings", lambda: settings)
    monkeypatch.setattr(ExecutorSafeguard, "test_mode", True)
    return wiring.Approval(task_id="approve", domain=load_domain("regulatory", settings), candidate=R2, subject="Release?")


def says(monkeypatch: pytest.MonkeyPatch, why_not: str | None, approvers: list[str]) -> None:
    monkeypatch.setattr(approval, "auto", lambda *_: why_not)
    monkeypatch.setattr(approval, "question", lambda *_: approval.Question(approvers, f"because {why_not}"))


def test_those_who_may_now_are_asked(
    operator: Any, asked: list[dict[str, Any]], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    import wiring
    from airflow.sdk.exceptions import TaskAwaitingInput

    assert operator.assigned_users == [{"id": "7", "name": "approver"}], "as the DAG file was read"
    now = load_domain("regulatory", settings)
    now = now.model_copy(update={"roles": now.roles.model_copy(update={"approvers": ("approver", "deputy", "nobody")})})
    monkeypatch.setattr(wiring, "load_domain", lambda *_: now)
    says(monkeypatch, "3.0% changed", ["deputy", "nobody"])
    with pytest.raises(TaskAwaitingInput):
        operator.execute(CONTEXT)
    (question,) = asked
    assert question["assigned_users"] == [{"id": "8", "name": "deputy"}], "the approver delivered the data, nobody has no account"
    assert question["body"] == "because 3.0% changed" and question["options"] == ["Approve", "Reject"] and question["defaults"] is None


def test_nobody_is_asked_where_the_policy_approves(operator: Any, asked: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    says(monkeypatch, None, ["approver"])
    assert operator.execute(CONTEXT) is None and asked == []


def test_no_question_is_put_that_anyone_could_answer(operator: Any, asked: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    says(monkeypatch, "why", ["somebody"])
    with pytest.raises(AirflowFailException, match="none of somebody has an Airflow account"):
        operator.execute(CONTEXT)
    assert asked == []


@pytest.mark.parametrize("fault", [NotAllowed("every approver delivered data"), Unavailable("the control database does not answer")])
def test_what_cannot_be_looked_up_is_not_asked(
    operator: Any, asked: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    from airflow.sdk.exceptions import AirflowException

    def broken(*_: object) -> None:
        raise fault

    monkeypatch.setattr(approval, "auto", broken)
    with pytest.raises(AirflowException, match=str(fault)):
        operator.execute(CONTEXT)
    assert asked == []


def test_running_out_of_time_refuses_and_is_red(operator: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    told: list[Any] = []

    def expired(_: Settings, candidate: str, **how: Any) -> str:
        told.append((candidate, how))
        return "nobody answered in 72 hours"

    monkeypatch.setattr(approval, "expired", expired)
    with pytest.raises(AirflowFailException, match="nobody answered in 72 hours"):
        operator.execute_complete(CONTEXT, {"error": "passed", "error_type": "timeout"})
    assert told == [(R2, {"hours": 72, "source": "regulatory.release/run/approve"})]


def test_an_approval_by_policy_looks_for_nobodys_answer(operator: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import wiring
    from airflow.sdk.exceptions import AirflowException, AirflowFailException

    monkeypatch.setattr(approval, "by_policy", lambda *_: True)
    assert wiring.authorise("regulatory", R2, ti=TI) is None

    def withdrawn(*_: object) -> bool:
        raise NotAllowed("the policy does not approve it any more")

    monkeypatch.setattr(approval, "by_policy", withdrawn)
    with pytest.raises(AirflowFailException, match="does not approve it any more"):
        wiring.authorise("regulatory", R2, ti=TI)
    # Marked as success by somebody, with no approval on record: Airflow's own record is asked for, and there is no server here.
    monkeypatch.setattr(approval, "by_policy", lambda *_: False)
    with pytest.raises(AirflowException):
        wiring.authorise("regulatory", R2, ti=TI)
