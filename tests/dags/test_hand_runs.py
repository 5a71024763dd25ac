"""`rollback` and `erase` through `dag.test()`: who triggered is who acted, and no name goes through Airflow."""

from __future__ import annotations

import json
from typing import Any

import pytest
from apart import run_apart

from pipelines.config import load_settings
from pipelines.state.database import migrate

pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]
USER = "dag_test"
"""Whom `dag.test()` names as the user who triggered the run."""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    home = tmp_path_factory.mktemp("by-hand")
    settings = load_settings({"RATCHET_VAR": str(home / "var")})
    migrate(settings)
    return run_apart(settings, "hand_runs.py", home, home / "found.json")


def test_a_rollback_moves_the_pointer_in_the_name_of_who_triggered_it(found: dict[str, Any]) -> None:
    assert found["rollback"]["state"] == "success" and found["live"] == "clinical/r1"
    (event,) = (one for one in found["events"] if one["action"] == "release.rollback")
    assert event["actor"] == USER and event["detail"]["reason"] == "wrong doses" and event["detail"]["run"].startswith("rollback/")


def test_a_rollback_that_cannot_be_is_red_and_moves_nothing(found: dict[str, Any]) -> None:
    assert found["nothing before"]["tasks"]["rollback"][0] == "failed"


def test_an_erasure_is_red_while_the_text_lives_on_in_what_answers(found: dict[str, Any]) -> None:
    assert found["unknown"]["tasks"]["erase"][0] == "failed"
    tasks = found["erased"]["tasks"]
    assert found["erased"]["state"] == "failed" and tasks["require_out_of_service"][0] == "failed"
    assert (tasks["erase"][0], tasks["announce"][0]) == ("success", "success")
    told = tasks["erase"][1]
    assert told["live"] == ["clinical/r1"] and len(told["adapters"]) == len(told["indexes"]) == 2
    assert told["version"] == "MedNotes_v1.1" and found["announced"] == ["MedNotes_v1.0", "MedNotes_v1.1"]
    (event,) = (one for one in found["events"] if one["action"] == "subject.erased")
    assert event["actor"] == USER


def test_a_run_again_erases_nothing_twice_also_when_the_request_was_destroyed(found: dict[str, Any]) -> None:
    assert found["again"]["tasks"]["erase"][1] == {**found["erased"]["tasks"]["erase"][1], "removed_now": []}


def test_no_name_goes_through_airflow(found: dict[str, Any]) -> None:
    assert "quistgaard" not in json.dumps(found).lower()
