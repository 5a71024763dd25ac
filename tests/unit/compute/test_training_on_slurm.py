"""A real fine-tuning on the two nodes of a real Slurm job, by the same command that Airflow's task submits."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from test_slurm import TWO, log, until, wait

from pipelines.compute import jobs
from pipelines.config import PROJECT, Settings, load_domain, profile_of
from pipelines.intake import landing
from pipelines.samples import write
from pipelines.steps import ingest, publish


@pytest.mark.slow
@pytest.mark.services
@pytest.mark.usefixtures("slurm_conf")
def test_training_over_two_nodes_loses_one_and_resumes_on_a_clear(settings: Settings, tmp_path: Path) -> None:
    settings = settings.model_copy(update={"configs": tmp_path / "configs"})
    shutil.copytree(PROJECT / "configs", settings.configs)
    (settings.configs / "compute" / "two.yaml").write_text(yaml.safe_dump(TWO.model_dump(mode="json")), encoding="utf-8")
    path = settings.configs / "domains" / "regulatory.yaml"
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    recipe = {
        "ranks": 2,
        "zero": 2,
        "steps": 30,
        "checkpoint_every": 3,
        "examples": 24,
        "sequence_tokens": 256,
        "batch_sequences": 2,
    }
    path.write_text(yaml.safe_dump(values | {"compute": {"train": "two"}, "recipe": recipe}), encoding="utf-8")
    version = dataset_version(settings, tmp_path)

    def start() -> None:
        argv = ["-m", "pipelines", "step", "train", "--domain", "regulatory", "--arg", f"version={version}"]
        jobs.start(settings, "train", argv, profile_of(load_domain("regulatory", settings), "train", settings))

    def said() -> str:
        return "\n".join([log(settings, "train"), *(p.read_text(errors="replace")[-3000:] for p in settings.var.glob("work/*/train.log"))])

    start()
    until(lambda: list(settings.var.glob("work/*/checkpoint-*")) or jobs.poll(settings, "train") == "done", 150, said)
    assert jobs.poll(settings, "train") == "running", said()
    subprocess.run(["scontrol", "update", "nodename=n2", "state=down", "reason=test"], check=True)
    wait(settings, "train", "lost")
    assert "NODE_FAIL" in jobs.note(settings, "train")
    # It refuses where the node's daemon was quicker and has brought it back itself.
    subprocess.run(["scontrol", "update", "nodename=n2", "state=resume"], check=False, capture_output=True)
    start()
    wait(settings, "train", "done", seconds=150)
    assert jobs.result(settings, "train")["rc"] == 0, said()
    facts = json.loads(next(settings.artifacts.glob("adapter/*/facts.json")).read_text(encoding="utf-8"))
    assert facts["ranks"] == 2 and facts["resumed_at"] >= 3 and len(facts["history"]) == 30


def dataset_version(settings: Settings, tmp_path: Path) -> str:
    write.write(tmp_path / "samples", seed=7)
    files = sorted((tmp_path / "samples" / "regulatory" / "01-base").iterdir())
    landing.deliver(settings, "regulatory", files, uploader="steward", source="test", effective="2014-01-01")
    arrivals = ingest.claim(settings, "regulatory", "regulatory.ingest", "run")
    for arrival in arrivals:
        ingest.prepare(settings, "regulatory", arrival)
    return publish.publish(settings, "regulatory", arrivals)[0]
