"""The collect DAG through `dag.test()`: a source that delivers, one that is down, and one that offers what cannot be taken."""

from __future__ import annotations

import json
import shutil
from typing import Any

import pytest
from apart import run_apart
from test_dags import DOMAIN

from pipelines.config import PROJECT, load_settings
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
    return run_apart(settings, "collect_runs.py", inbox, home / "found.json")


def test_a_source_that_is_down_turns_its_own_task_red_only(found: dict[str, Any]) -> None:
    state, told = found["first"]["tasks"]["inbox"]
    assert (state, told["state"], told["documents"]) == ("success", "delivered", 1)
    assert found["first"]["tasks"]["away"][0] in ("failed", "up_for_retry")


def test_a_run_again_delivers_nothing_more(found: dict[str, Any]) -> None:
    assert found["again"]["tasks"]["inbox"][1]["state"] == "nothing new"


def test_what_cannot_be_taken_is_red_and_the_rest_delivered(found: dict[str, Any]) -> None:
    assert found["skipped"]["tasks"]["inbox"][0] == "failed"
    assert found["sealed"] == ["source:inbox", "source:inbox"]
