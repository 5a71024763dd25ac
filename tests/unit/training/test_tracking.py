"""Against a real MLflow server, started here on a free port."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from free_ports import free_port

from pipelines.config import PROJECT, Ports, Recipe, Settings
from pipelines.errors import NotFound, Unavailable
from pipelines.training import prompt_versions, tracking
from pipelines.training.prompt import Prompt
from pipelines.training.worker import TrainingFacts
from pipelines.writing import write_json

STEP = "5" * 64


def adapter(settings: Settings, name: str = "5" * 16) -> dict[str, Any]:
    """An adapter folder as training leaves it, and the outbox payload that goes with it."""
    folder = settings.artifacts / "adapter" / name
    folder.mkdir(parents=True)
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    history = [{"step": n, "loss": 3.0 / n, "lr": 1e-3, "tokens_per_second": 9000} for n in range(1, 41)]
    facts = TrainingFacts(
        base="models/starter", base_sha256="b", prompt="p/v1", prompt_sha256="c", training_set_sha256="d", recipe=Recipe(), ranks=1,
        threads=2, steps=40, resumed_at=None, parameters=10, trained_parameters=2, examples=5, loss=0.1, history=history,
        seconds=1.0, peak_mb=1.0, weights_sha256="e", packages={},
    )  # fmt: skip
    write_json(folder / "facts.json", facts.model_dump(mode="json"))
    samples = [{"began": 1.0, "at": 1.5 + n, "cpu_percent": 190.0 + n, "memory_mb": 800.0} for n in range(3)]
    (folder / "usage.jsonl").write_text("".join(f"{json.dumps(one)}\n" for one in samples))
    return {
        "domain": "regulatory",
        "adapter_id": f"adapter-{name}",
        "step_hash": name * 4,
        "version_id": "ConsumerLeasing_v1.0",
        "path": f"adapter/{name}",
        "sha256": "f",
        "training_set_id": "training_set-1",
        "content": "c" * 64,
        "documents": 153,
        "cost": {"basis": "metered", "profile": "local", "money": 1.25, "cpu_hours": 2.5, "gpu_hours": 0.0, "currency": "EUR", "why": ""},
    }


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    folder, port = tmp_path_factory.mktemp("mlflow"), free_port()
    command = [sys.executable, "-m", "pipelines.site.mlflow_server", "127.0.0.1", str(port), str(folder)]
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (folder / "log.txt").open("w") as lines:
        process = subprocess.Popen(command, cwd=PROJECT, env=environment, stdout=lines, stderr=lines)
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2).close()
                break
            except OSError:
                assert process.poll() is None and time.monotonic() < deadline, (folder / "log.txt").read_text()
                time.sleep(0.3)
        yield port
    finally:
        process.terminate()
        process.wait(timeout=20)


@pytest.fixture
def tracked(tmp_path: Path, server: int) -> Settings:
    return Settings(var=tmp_path / "var", ports=Ports(mlflow=server))


def client(settings: Settings) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(settings.url("mlflow"), settings.url("mlflow"))


@pytest.mark.services
@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # mlflow 3.17 still uses what pydantic and protobuf deprecate
def test_training_gate_and_release_are_published_once(tracked: Settings, tmp_path: Path) -> None:
    payload = adapter(tracked)
    tracking.publish(tracked, payload)
    tracking.publish(tracked, payload)
    reader = client(tracked)
    experiment = reader.get_experiment_by_name("regulatory").experiment_id
    runs = reader.search_runs([experiment])
    assert [run.info.run_name for run in runs] == [payload["adapter_id"]]
    run = runs[0]
    assert run.info.status == "FINISHED"
    assert run.data.params["rank"] == "16"
    assert run.data.tags["ratchet.dataset_version"] == "ConsumerLeasing_v1.0"
    assert [point.step for point in reader.get_metric_history(run.info.run_id, "loss")] == list(range(1, 41))
    assert sorted(file.path for file in reader.list_artifacts(run.info.run_id, "adapter")) == [
        "adapter/adapter_model.safetensors",
        "adapter/facts.json",
        "adapter/usage.jsonl",
    ]
    assert (run.data.metrics["cost.money"], run.data.metrics["cost.cpu_hours"], run.data.metrics["peak_mb"]) == (1.25, 2.5, 1.0)
    assert (run.data.tags["ratchet.cost.currency"], run.data.tags["ratchet.cost.profile"]) == ("EUR", "local")
    assert [point.value for point in reader.get_metric_history(run.info.run_id, "system/cpu_percent")] == [190.0, 191.0, 192.0]
    assert len(reader.get_metric_history(run.info.run_id, "tokens_per_second")) == 40
    (given,) = run.inputs.dataset_inputs
    assert (given.dataset.name, given.dataset.digest) == ("ConsumerLeasing_v1.0", "c" * 36)
    assert json.loads(given.dataset.profile) == {"documents": 153, "examples": 5, "training_set": "training_set-1"}
    assert [(tag.key, tag.value) for tag in given.tags] == [("mlflow.data.context", "training")]
    versions = reader.search_model_versions("name = 'regulatory-adapter'")
    assert [(version.version, version.run_id) for version in versions] == [("1", run.info.run_id)]
    ancestry = {name.removeprefix("ratchet."): value for name, value in versions[0].tags.items()}
    assert ancestry == {
        "step_hash": payload["step_hash"], "adapter": payload["adapter_id"], "adapter_sha256": "f",
        "dataset_version": "ConsumerLeasing_v1.0",
        "training_set": "training_set-1", "training_set_sha256": "d", "base": "models/starter", "base_sha256": "b", "prompt": "p/v1",
        "prompt_sha256": "c",
    }  # fmt: skip

    (tracked.artifacts / "gate_report" / "g").mkdir(parents=True)
    (tracked.artifacts / "gate_report" / "g" / "report.html").write_text("<p>fine</p>")
    gate = {
        "domain": "regulatory",
        "candidate_id": "regulatory/r1",
        "step_hash": "6" * 64,
        "adapter_step_hash": payload["step_hash"],
        "verdict": "inconclusive",
        "metrics": {"exact": 0.9, "faithfulness": float("nan"), "missing": None},
        "path": "gate_report/g",
    }
    tracking.publish_gate(tracked, gate)
    tracking.publish_gate(tracked, gate)
    gated = reader.search_runs([experiment], filter_string="tags.`ratchet.candidate` = 'regulatory/r1'")
    assert len(gated) == 1
    assert gated[0].data.metrics == {"exact": 0.9}
    assert gated[0].data.tags["mlflow.parentRunId"] == run.info.run_id
    assert [file.path for file in reader.list_artifacts(gated[0].info.run_id, "gate")] == ["gate/report.html"]

    release = {"domain": "regulatory", "candidate_id": "regulatory/r1", "adapter_step_hash": payload["step_hash"]}
    tracking.publish_release(tracked, release)
    tracking.publish_release(tracked, release)
    assert reader.get_model_version_by_alias("regulatory-adapter", "live").tags["ratchet.release"] == "regulatory/r1"
    tracking.publish_release(tracked, {**release, "adapter_step_hash": None})
    assert not reader.get_registered_model("regulatory-adapter").aliases

    # A publication cut off half-way is completed by the next one.
    other = adapter(tracked, "7" * 16)
    for name in ("training_set_id", "content", "documents", "cost"):
        del other[name]  # a message written before these were kept
    reader.create_run(experiment, run_name=other["adapter_id"], tags={"ratchet.step_hash": other["step_hash"]})
    tracking.publish(tracked, other)
    assert len(reader.search_model_versions("name = 'regulatory-adapter'")) == 2
    with pytest.raises(Unavailable, match="does not hold this adapter yet"):
        tracking.publish_release(tracked, {**release, "adapter_step_hash": "8" * 64})


@pytest.mark.services
@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_a_prompt_is_a_version_once_and_its_aliases_follow_candidates_and_releases(tracked: Settings) -> None:
    site = tracked.model_copy(update={"configs": tracked.var / "configs"})
    texts = {
        "grounded_extraction/v1": "Read {{ passages }} {{ question }}",
        "grounded_extraction/v2": "Read again {{ passages }} {{ question }}",
        "chat/v1": "Talk {{ passages }} {{ question }}",
        "adapter/v1": "Named like the adapters {{ question }}",
    }
    for name, text in texts.items():
        path = site.configs / "prompts" / f"{name}.jinja"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    prompts = {name: Prompt.load(name, site) for name in texts}

    def assembled(number: int, name: str, domain: str = "a_b") -> None:
        tracking.publish_prompt(site, prompt_versions.message(domain, f"{domain}/r{number}", prompts[name]))

    def released(number: int, name: str) -> None:
        told = {
            "domain": "a_b",
            "candidate_id": f"a_b/r{number}",
            "adapter_step_hash": None,
            "prompt": name,
            "prompt_sha256": prompts[name].sha256,
        }
        tracking.publish_release(site, told)

    def alias(prompt: str, alias: str) -> int | None:
        from mlflow.exceptions import MlflowException

        try:
            return int(reader.get_prompt_version_by_alias(prompt, alias).version)
        except MlflowException:
            return None

    reader, mine = client(site), "a_b-grounded_extraction"
    for number, name in (
        (1, "grounded_extraction/v1"),
        (1, "grounded_extraction/v1"),
        (2, "grounded_extraction/v2"),
        (3, "grounded_extraction/v1"),
    ):
        assembled(number, name)
    first, second = sorted(reader.search_prompt_versions(mine), key=lambda one: one.version)
    assert [(one.version, one.template) for one in (first, second)] == [
        (1, texts["grounded_extraction/v1"]),
        (2, texts["grounded_extraction/v2"]),
    ]
    assert first.tags == {
        "ratchet.prompt": "grounded_extraction/v1", "ratchet.prompt_sha256": prompts["grounded_extraction/v1"].sha256,
        "ratchet.candidate": "a_b/r3",
    }  # fmt: skip
    assert (alias(mine, "candidate"), alias(mine, "live")) == (1, None)
    experiment = reader.get_experiment_by_name("a_b").experiment_id
    assert reader.get_prompt(mine).tags == {"ratchet.domain": "a_b", "_mlflow_experiment_ids": f",{experiment},"}

    for number, name, version in ((1, "grounded_extraction/v1", 1), (2, "grounded_extraction/v2", 2), (1, "grounded_extraction/v1", 1)):
        released(number, name)
        released(number, name)
        assert alias(mine, "live") == version, "a rollback moves it back"
    assert reader.get_prompt_version(mine, 2).tags["ratchet.release"] == "a_b/r2"

    # Another domain whose name the underscore fits, and a family of its own that goes live.
    assembled(1, "grounded_extraction/v1", domain="axb")
    tracking.publish_release(site, {"domain": "axb", "candidate_id": "axb/r1", "prompt": "grounded_extraction/v1",
                                    "prompt_sha256": prompts["grounded_extraction/v1"].sha256})  # fmt: skip
    released(4, "chat/v1")
    assert (alias("a_b-chat", "live"), alias(mine, "live"), alias("axb-grounded_extraction", "live")) == (1, None, 1)

    # What was assembled before prompts were registered comes from its file while that says the same.
    prompts["grounded_extraction/v1"] = Prompt("grounded_extraction/v1", "0" * 64, "", prompts["chat/v1"]._template)
    released(5, "grounded_extraction/v1")
    assert (alias("a_b-chat", "live"), alias(mine, "live")) == (None, None)
    tracking.publish(site, adapter(site, "9" * 16) | {"domain": "a_b"})
    assembled(6, "adapter/v1")
    assert alias("a_b-adapter-prompt", "candidate") == 1


def test_mlflow_down_is_said_at_once(settings: Settings) -> None:
    down = settings.model_copy(update={"ports": Ports(mlflow=free_port())})
    began = time.monotonic()
    with pytest.raises(Unavailable, match="MLflow does not answer"):
        tracking.publish(down, adapter(down))
    with pytest.raises(Unavailable, match="MLflow does not answer"):
        tracking.publish_prompt(down, {"domain": "regulatory"})
    assert time.monotonic() - began < 2


def test_a_server_that_accepts_and_stays_silent_is_unavailable(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "_PROBE_SECONDS", 0.3)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        hung = settings.model_copy(update={"ports": Ports(mlflow=silent.getsockname()[1])})
        with pytest.raises(Unavailable):
            tracking.publish(hung, adapter(hung))


def test_an_adapter_that_is_gone(settings: Settings) -> None:
    with pytest.raises(NotFound, match="is gone"):
        tracking.publish(settings, {"adapter_id": "adapter-1", "path": "adapter/1"})
