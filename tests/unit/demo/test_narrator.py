"""The story stops at a red run instead of waiting for what it will not bring."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from pipelines.config import Settings
from pipelines.demo import narrator
from pipelines.demo.narrator import Narrator
from pipelines.errors import NotFound, RatchetError

TASKS = [{"task_id": "gate", "state": "failed"}, {"task_id": "approve", "state": "upstream_failed"}]
VERSION, CANDIDATE = "Law_v1.0", "law/r1"

Tell = Callable[..., Narrator]


@pytest.fixture
def tell(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Tell:
    """A narrator whose Airflow reports these states, one a question and the last for good, over these rows. Waiting takes no time."""
    clock = count(step=30)
    monkeypatch.setattr(narrator, "time", SimpleNamespace(monotonic=lambda: next(clock), sleep=lambda _: None))

    def over(*states: str, **rows: list[dict[str, Any]]) -> Narrator:
        left = list(states)

        def nothing_asked(*_: Any) -> None:
            raise NotFound("nothing is asked")

        def run_state(_dag: str, _run: str) -> str:
            return left.pop(0) if len(left) > 1 else left[0]

        airflow = SimpleNamespace(run_state=run_state, tasks=lambda *_: TASKS, respond=nothing_asked)
        monkeypatch.setattr(narrator.AirflowClient, "of", lambda *_: airflow)
        for name in ("arrivals", "plans", "candidates", "releases", "live"):
            monkeypatch.setattr(narrator.views, name, lambda *_, found=rows.get(name, []): found)
        return Narrator(settings, Console(quiet=True), "os:someone")

    return over


def arrival(state: str, run: str | None = "run-1") -> dict[str, Any]:
    return {"arrival": "law/a", "folder": "a", "state": state, "run": run, "version": VERSION, "documents": 2, "reason": None}


def plan(kind: str) -> dict[str, Any]:
    return {"version": VERSION, "kind": kind, "reason": "new text", "run": "run-1"}


def candidate() -> dict[str, Any]:
    made = {"candidate": CANDIDATE, "domain": "law", "version": VERSION, "adapter": "a", "index": "i"}
    return {**made, "verdict": None, "run": "run-2"}


def test_an_arrival_whose_run_fails_ends_the_story_and_names_the_red_task(tell: Tell) -> None:
    with pytest.raises(RatchetError, match=r"law\.ingest run-1 failed in gate"):
        tell("running", "failed", arrivals=[arrival("received")]).settled("law", "a")


def test_an_arrival_that_is_settled_or_that_no_run_has_taken_is_no_failure(tell: Tell) -> None:
    assert tell("failed", arrivals=[arrival("accepted")]).settled("law", "a")["version"] == VERSION
    with pytest.raises(RatchetError, match="waited 240 s"):
        tell("failed", arrivals=[arrival("received", run=None)]).settled("law", "a")


@pytest.mark.parametrize(
    ("states", "rows", "says"),
    [
        (["failed"], {"plans": [plan("pending")]}, r"law\.finetune run-1 failed"),
        (["running", "failed"], {"plans": [plan("adapter")]}, r"law\.finetune run-1 failed"),
        (["running", "failed"], {"plans": [plan("adapter")], "candidates": [candidate()]}, r"law\.release run-2 failed"),
    ],
    ids=["planning", "training", "gating"],
)
def test_a_version_whose_run_fails_ends_the_story(tell: Tell, states: list[str], rows: dict[str, Any], says: str) -> None:
    with pytest.raises(RatchetError, match=says):
        tell(*states, **rows).judged("law", VERSION)


def test_a_release_whose_run_fails_ends_the_story(tell: Tell) -> None:
    with pytest.raises(RatchetError, match=r"law\.release run-2 failed"):
        tell("running", "failed", candidates=[candidate()]).released(candidate())


def test_every_shape_of_a_verdicts_metrics_is_told(tell: Tell) -> None:
    bare = {"value": 0.9, "votes": True, "live": None, "base": None}
    metrics = {
        "grounded": bare,
        "answered": {**bare, "live": {"value": 1.0}},
        "retention/answer_correct": {**bare, "base": {"value": 1.0}},
        "safety/withheld": {**bare, "value": None},
        "bleu": {**bare, "votes": False},
        "of an older report": {"value": 0.5, "live": None},
    }
    judged = {**candidate(), "verdict": "pass", "reasons": ["all is well"], "metrics": metrics}
    told = tell("running", plans=[plan("index")], candidates=[judged])
    lines: list[str] = []
    told.tell = lines.append  # type: ignore[method-assign]
    assert told.judged("law", VERSION)["verdict"] == "pass"
    said = "\n".join(lines)
    assert "answered: 0.900, live release 1.000" in said
    assert "retention/answer_correct: 0.900, the base 1.000" in said
    assert "safety/withheld: no value" in said
    assert "bleu" not in said
