"""The collect DAG through `dag.test()`: a source that delivers, one that is down, and one that offers what cannot be taken."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from test_dags import DOMAIN

from pipelines.config import PROJECT, load_settings
from pipelines.site import users
from pipelines.site.airflow_env import airflow_env
from pipelines.state.database import migrate

pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    home = tmp_path_factory.mktemp("collecting")
    inbox = home / "inbox"
    inbox.mkdir()
    (home / "configs" / "domains").mkdir(parents=True)
    shutil.copytree(PROJECT / "configs" / "environments", home / "configs" / "environments")
    entries = [{"kind": "prefix", "name": name, "url": str(place)} for name, place in (("inbox", inbox), ("away", home / "nowhere"))]
    sources = json.dumps({"formats": ["jsonl"], "collect": entries})
    law = DOMAIN.format(name="law", dataset="Law").replace("sources: {formats: [jsonl]}", f"sources: {sources}")
    (home / "configs" / "domains" / "law.yaml").write_text(law, encoding="utf-8")
    settings = load_settings({"RATCHET_VAR": str(home / "var"), "RATCHET_CONFIGS": str(home / "configs")})
    migrate(settings)
    environ = users.clean_environ() | airflow_env(settings)
    script = [str(Path(__file__).parent / "collect_runs.py"), str(inbox), str(home / "found.json")]
    for argv in (["-m", "airflow", "db", "migrate"], script):
        done = subprocess.run([sys.executable, *argv], env=environ, cwd=PROJECT, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    value: dict[str, Any] = json.loads((home / "found.json").read_text(encoding="utf-8"))
    assert value["errors"] == {}
    return value


def test_a_source_that_is_down_turns_its_own_task_red_only(found: dict[str, Any]) -> None:
    state, told = found["first"]["tasks"]["inbox"]
    assert (state, told["state"], told["documents"]) == ("success", "delivered", 1)
    assert found["first"]["tasks"]["away"][0] in ("failed", "up_for_retry")


def test_a_run_again_delivers_nothing_more(found: dict[str, Any]) -> None:
    assert found["again"]["tasks"]["inbox"][1]["state"] == "nothing new"


def test_what_cannot_be_taken_is_red_and_the_rest_delivered(found: dict[str, Any]) -> None:
    assert found["skipped"]["tasks"]["inbox"][0] == "failed"
    assert found["sealed"] == ["source:inbox", "source:inbox"]
