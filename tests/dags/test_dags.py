"""The DAG files as Airflow reads them: present, within policy, light, and unharmed by another domain's broken file."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipelines.config import PROJECT, Settings, load_settings
from pipelines.site import secrets, users
from pipelines.site.airflow_env import airflow_env

DOMAIN = """\
domain: {name}
description: {name} text
owner: compliance
dataset: {dataset}
sources: {{formats: [jsonl]}}
contract: {{expectations: []}}
privacy: {{profile: public}}
task: {{}}
gate: {{goldens: goldens/x.jsonl, floors: {{}}}}
"""
STAGES = ("ingest", "finetune", "release", "monitor", "feedback", "drill")
BY_HAND = ("erase", "rollback")
COLLECT = """\
sources:
  formats: [jsonl]
  collect:
    - {kind: federal_register, name: register, since: "2024-01-01"}
    - {kind: prefix, name: inbox, url: /mnt/inbox, schedule: "30 6 * * *"}
"""


def configs(folder: Path, **domains: str) -> Path:
    (folder / "domains").mkdir(parents=True)
    shutil.copytree(PROJECT / "configs" / "environments", folder / "environments")
    for name, text in domains.items():
        (folder / "domains" / f"{name}.yaml").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def parsed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    home = tmp_path_factory.mktemp("dags")
    law, notes = DOMAIN.format(name="law", dataset="Law"), DOMAIN.format(name="notes", dataset="Notes")
    law = law.replace("sources: {formats: [jsonl]}\n", COLLECT)
    good = configs(home / "good", law=law, notes=notes)
    broken = configs(home / "broken", law=law.replace("owner:", "ownr:"), notes=notes)
    settings = load_settings({"RATCHET_VAR": str(home / "var"), "RATCHET_CONFIGS": str(good)})
    _accounts(settings)
    done = subprocess.run(
        [sys.executable, str(Path(__file__).parent / "facts.py"), str(PROJECT / "dags"), str(good), str(broken), str(home / "facts.json")],
        env=users.clean_environ() | airflow_env(settings),
        cwd=PROJECT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads((home / "facts.json").read_text(encoding="utf-8"))
    return found


def _accounts(settings: Settings) -> None:
    path = users.ids_file(settings)
    path.parent.mkdir(parents=True)
    secrets.write(path, {"approver": "7"})


def test_every_domain_has_its_dags_and_nothing_fails_to_import(parsed: dict[str, Any]) -> None:
    assert parsed["good"]["errors"] == {}
    expected = [f"{name}.{stage}" for name in ("law", "notes") for stage in STAGES]
    assert sorted(parsed["good"]["dags"]) == sorted([*expected, "law.collect", *BY_HAND]), "a domain without sources has nothing to collect"


def test_one_task_per_source_on_the_ticks_of_all_their_schedules(parsed: dict[str, Any]) -> None:
    collect = parsed["good"]["dags"]["law.collect"]
    assert sorted(collect["tasks"]) == collect["leaves"] == ["inbox", "register"]
    assert collect["ticks"] == ["17 * * * *", "30 6 * * *", "5 * * * *"] and collect["max_active_runs"] == 1
    assert collect["rights"]["law.steward"] == {"DAGs": ["can_edit", "can_read"]}
    assert collect["rights"]["law.approver"] == {"DAGs": ["can_read"]}


def test_the_traffic_log_is_rotated_and_measured_hourly(parsed: dict[str, Any]) -> None:
    monitor = parsed["good"]["dags"]["notes.monitor"]
    assert monitor["leaves"] == ["drift", "judge", "probe", "summarise", "texts"]
    assert all(what["upstream"] == ([] if task == "rotate" else ["rotate"]) for task, what in monitor["tasks"].items())
    assert monitor["ticks"] == ["17 * * * *"] and monitor["max_active_runs"] == 1
    assert monitor["rights"]["notes.steward"] == {"DAGs": ["can_edit", "can_read"]}


def test_feedback_is_harvested_and_delivered_daily_each_for_itself(parsed: dict[str, Any]) -> None:
    feedback = parsed["good"]["dags"]["law.feedback"]
    assert feedback["leaves"] == sorted(feedback["tasks"]) == ["deliver", "harvest"] and "41 5 * * *" in feedback["ticks"]
    assert feedback["rights"]["law.approver"] == {"DAGs": ["can_read"]}


def test_a_broken_domain_file_costs_only_its_own_dags_and_names_the_key(parsed: dict[str, Any]) -> None:
    assert sorted(parsed["broken"]["dags"]) == sorted([*(f"notes.{stage}" for stage in STAGES), *BY_HAND])
    assert list(parsed["broken"]["errors"]) == ["broken_domains.py"]
    message = parsed["broken"]["errors"]["broken_domains.py"]
    assert "'ownr'" in message and "did you mean 'owner'" in message and "law.yaml" in message


def test_parsing_is_quick_and_imports_no_library_of_the_steps(parsed: dict[str, Any]) -> None:
    assert parsed["good"]["heavy"] == []
    # CPU seconds of the first parse in a cold process: a busy host must not fail this.
    assert parsed["good"]["seconds"] <= 1.0


def test_policy(parsed: dict[str, Any]) -> None:
    for dag_id, dag in parsed["good"]["dags"].items():
        domain, _, stage = dag_id.rpartition(".")
        assert dag["tags"] == sorted([domain or "by hand", stage])
        assert dag["owner"] == ("compliance" if domain else "administrator")
        timed = dict.fromkeys(("collect", "monitor", "feedback", "drill"), "MultipleCronTriggerTimetable")
        schedules = timed | dict.fromkeys(BY_HAND, "NullTimetable")
        assert dag["schedule"] == schedules.get(stage, "AssetOrTimeSchedule")
        runbook = {"rollback": "release"}.get(stage, stage)
        for words in ("**Purpose.**", "**Inputs.**", "**Outputs.**", "**At 3 a.m.**", f"docs/runbooks/{runbook}.md"):
            assert words in dag["doc"], (dag_id, words)
        assert (PROJECT / "docs" / "runbooks" / f"{runbook}.md").is_file()
        # What a person decides, or a judgement that will not change, is not tried again.
        once = {"settle", "require_pass", "approve", "require_out_of_service"}
        assert {task for task, what in dag["tasks"].items() if what["retries"] == 0} <= once
        assert all(what["retries"] in (0, 2) for what in dag["tasks"].values())


def test_who_trains_does_not_release(parsed: dict[str, Any]) -> None:
    dags = parsed["good"]["dags"]
    assert dags["law.finetune"]["rights"] == {
        "law.steward": {"DAGs": ["can_edit", "can_read"]},
        "law.approver": {"DAGs": ["can_read"]},
    }
    assert dags["law.release"]["rights"]["law.steward"] == {"DAGs": ["can_read"]}
    approve = dags["law.release"]["tasks"]["approve"]
    assert approve["assigned"] == [{"id": "7", "name": "approver"}] and approve["upstream"] == ["claim", "require_pass"]


def test_what_is_done_by_hand_is_given_to_no_role_and_takes_no_name(parsed: dict[str, Any]) -> None:
    for name in BY_HAND:
        dag = parsed["good"]["dags"][name]
        assert dag["rights"] == {} and dag["max_active_runs"] == 1
    assert list(parsed["good"]["dags"]["erase"]["params"]) == ["request"]
    assert parsed["good"]["dags"]["erase"]["params"]["request"]["pattern"] == "^[0-9a-f]{12,64}$"
    assert sorted(parsed["good"]["dags"]["rollback"]["params"]) == ["domain", "only", "reason", "to"], "the actor is no parameter"
    assert parsed["broken"]["dags"]["rollback"]["params"]["domain"]["enum"] == ["notes"]


def test_an_erasure_is_announced_while_something_is_still_live_and_that_run_is_red(parsed: dict[str, Any]) -> None:
    erase = parsed["good"]["dags"]["erase"]
    assert erase["leaves"] == ["announce", "require_out_of_service"]
    assert {erase["tasks"][leaf]["rule"] for leaf in erase["leaves"]} == {"all_success"}
    assert {tuple(erase["tasks"][leaf]["upstream"]) for leaf in erase["leaves"]} == {("erase",)}


def test_events_go_out_through_an_alias_only(parsed: dict[str, Any]) -> None:
    for dag in parsed["good"]["dags"].values():
        outlets = {task: what["outlets"] for task, what in dag["tasks"].items() if what["outlets"]}
        # `collect` announces nothing: the watcher of the landing zone sees what was delivered.
        assert outlets == ({} if dag["stage"] in ("collect", "monitor", "feedback", "drill", "rollback") else {"announce": ["AssetAlias"]})


def test_a_withdrawn_candidate_cannot_end_green(parsed: dict[str, Any]) -> None:
    release = parsed["good"]["dags"]["law.release"]
    # The run takes the worst state of its leaves, and after a withdrawal this one is upstream_failed.
    assert "announce" in release["leaves"]
    assert release["tasks"]["withdraw"]["rule"] == "one_failed"
    assert release["tasks"]["announce"]["rule"] == "all_success"
    assert release["tasks"]["announce"]["upstream"] == ["claim", "promote"]


def test_one_bad_arrival_does_not_hold_up_the_others(parsed: dict[str, Any]) -> None:
    ingest = parsed["good"]["dags"]["law.ingest"]
    assert ingest["tasks"]["publish"]["rule"] == "all_done_min_one_success"
    assert "settle" not in ingest["tasks"]["announce"]["upstream"]
    assert set(ingest["tasks"]["settle"]["upstream"]) >= {"prepare", "publish"}
