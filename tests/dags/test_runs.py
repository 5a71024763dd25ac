"""The ingest and finetune DAGs through `dag.test()`: both branches of the plan, a refusal beside an acceptance, and nothing to do."""

from __future__ import annotations

import shutil
from typing import Any

import pytest
import yaml
from apart import run_apart

from pipelines.config import PROJECT, load_settings
from pipelines.samples.write import write
from pipelines.site import secrets, users
from pipelines.state.database import migrate

pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    home = tmp_path_factory.mktemp("runs")
    shutil.copytree(PROJECT / "configs", home / "configs")
    path = home / "configs" / "domains" / "regulatory.yaml"
    domain = yaml.safe_load(path.read_text(encoding="utf-8"))
    domain["recipe"] = {"steps": 2, "warmup_steps": 1, "batch_sequences": 2, "sequence_tokens": 256, "examples": 40, "checkpoint_every": 1}
    path.write_text(yaml.safe_dump(domain), encoding="utf-8")
    settings = load_settings({"RATCHET_VAR": str(home / "var"), "RATCHET_CONFIGS": str(home / "configs")})
    migrate(settings)
    users.ids_file(settings).parent.mkdir(parents=True)
    secrets.write(users.ids_file(settings), {"approver": "7"})
    write(home / "samples")
    return run_apart(settings, "runs.py", home / "samples", home / "found.json")


def test_without_arrivals_everything_is_skipped(found: dict[str, Any]) -> None:
    states = found["nothing to do"]["tasks"]
    assert states.pop("claim") == "success"
    assert set(states.values()) == {"skipped"}


def test_an_accepted_arrival_ends_green(found: dict[str, Any]) -> None:
    assert found["accepted"]["state"] == "success"
    assert set(found["accepted"]["tasks"].values()) == {"success"}


def test_the_first_version_takes_the_adapter_branch(found: dict[str, Any]) -> None:
    assert found["adapter"]["state"] == "success"
    assert set(found["adapter"]["tasks"].values()) == {"success"}


def test_a_refused_arrival_ends_red_and_does_not_hold_up_the_other(found: dict[str, Any]) -> None:
    run = found["one refused"]
    assert run["state"] == "failed"
    assert (run["tasks"]["publish"], run["tasks"]["announce"], run["tasks"]["settle"]) == ("success", "success", "failed")
    assert sorted(row["state"] for row in found["arrivals"]) == ["accepted", "accepted", "refused"]


def test_an_amendment_takes_the_index_branch_and_the_live_adapter(found: dict[str, Any]) -> None:
    tasks = found["index"]["tasks"]
    assert found["index"]["state"] == "success"
    assert {tasks[name] for name in ("examples", "training_set", "train")} == {"skipped"}
    assert {tasks[name] for name in ("index", "assemble", "announce")} == {"success"}
    index, adapter = found["plans"]
    assert (index["kind"], adapter["kind"]) == ("index", "adapter")
    assert (index["cost"]["basis"], adapter["cost"]["basis"]) == ("none", "metered")
    assert adapter["cost"]["cpu_hours"] > 0 and adapter["cost"]["tokens"] == 2 * 2 * 256
    assert index["signals"]["documents"] == {"amended": 1} and index["signals"]["examples"] == 40
    newest, first = found["candidates"]
    assert (newest["adapter"], newest["candidate"]) == (first["adapter"], "regulatory/r2")
    assert newest["index"] != first["index"]
