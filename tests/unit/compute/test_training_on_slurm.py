"""A real fine-tuning on the two nodes of a real Slurm job, by the same command that Airflow's task submits."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from test_slurm import TWO, ids, log, until, wait

from pipelines.compute import jobs
from pipelines.config import PROJECT, Settings, load_domain, profile_of
from pipelines.intake import landing
from pipelines.samples import write
from pipelines.steps import ingest, publish
from pipelines.training import progress

pytestmark = [pytest.mark.slow, pytest.mark.services, pytest.mark.timeout(600), pytest.mark.usefixtures("slurm_conf")]

RECIPE = {"ranks": 2, "zero": 2, "steps": 30, "examples": 24, "sequence_tokens": 256, "batch_sequences": 2}


class Site:
    """One domain whose training goes to two nodes, and a version to train on."""

    def __init__(self, settings: Settings, tmp_path: Path, recipe: dict[str, Any]) -> None:
        self.settings = settings.model_copy(update={"configs": tmp_path / "configs"})
        shutil.copytree(PROJECT / "configs", self.settings.configs)
        profile = TWO.model_copy(update={"stop_seconds": 120.0})
        (self.settings.configs / "compute" / "two.yaml").write_text(yaml.safe_dump(profile.model_dump(mode="json")), encoding="utf-8")
        path = self.settings.configs / "domains" / "regulatory.yaml"
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        path.write_text(yaml.safe_dump(values | {"compute": {"train": "two"}, "recipe": recipe}), encoding="utf-8")
        self.version = self._version(tmp_path)

    def _version(self, tmp_path: Path) -> str:
        write.write(tmp_path / "samples", seed=7)
        files = sorted((tmp_path / "samples" / "regulatory" / "01-base").iterdir())
        landing.deliver(self.settings, "regulatory", files, uploader="steward", source="test", effective="2014-01-01")
        arrivals = ingest.claim(self.settings, "regulatory", "regulatory.ingest", "run")
        for arrival in arrivals:
            ingest.prepare(self.settings, "regulatory", arrival)
        return publish.publish(self.settings, "regulatory", arrivals)[0]

    def start(self) -> None:
        argv = ["-m", "pipelines", "step", "train", "--domain", "regulatory", "--arg", f"version={self.version}"]
        jobs.start(self.settings, "train", argv, profile_of(load_domain("regulatory", self.settings), "train", self.settings))

    def running_until(self, true: Callable[[], Any]) -> None:
        until(lambda: true() or jobs.poll(self.settings, "train") == "done", 150, self.said)
        assert jobs.poll(self.settings, "train") == "running", self.said()

    def work(self, pattern: str) -> list[Path]:
        return sorted(self.settings.var.glob(f"work/*/{pattern}"))

    def steps(self) -> int:
        """That the training says it has done."""
        return max((now.step for path in self.work(progress.FILE) if (now := progress.read(path.parent))), default=0)

    def said(self) -> str:
        return "\n".join([log(self.settings, "train"), *(path.read_text(errors="replace")[-3000:] for path in self.work("train.log"))])

    def facts(self) -> dict[str, Any]:
        """Of the adapter, once it is made."""
        wait(self.settings, "train", "done", seconds=150)
        assert jobs.result(self.settings, "train")["rc"] == 0, self.said()
        facts: dict[str, Any] = json.loads(next(self.settings.artifacts.glob("adapter/*/facts.json")).read_text(encoding="utf-8"))
        return facts


def test_training_over_two_nodes_loses_one_and_resumes_on_a_clear(settings: Settings, tmp_path: Path) -> None:
    site = Site(settings, tmp_path, RECIPE | {"checkpoint_every": 3})
    site.start()
    site.running_until(lambda: site.work("checkpoint-*"))
    subprocess.run(["scontrol", "update", "nodename=n2", "state=down", "reason=test"], check=True)
    wait(settings, "train", "lost")
    assert "NODE_FAIL" in jobs.note(settings, "train")
    # It refuses where the node's daemon was quicker and has brought it back itself.
    subprocess.run(["scontrol", "update", "nodename=n2", "state=resume"], check=False, capture_output=True)
    site.start()
    facts = site.facts()
    assert facts["ranks"] == 2 and facts["resumed_at"] >= 3 and len(facts["history"]) == 30


def test_training_over_two_nodes_that_is_told_to_end_saves_on_both_and_resumes(settings: Settings, tmp_path: Path) -> None:
    """As before the job's time limit, where Slurm tells the first process alone; and by a clear, which does the same."""
    site = Site(settings, tmp_path, RECIPE | {"checkpoint_every": 1000, "steps": 60})

    def before_the_time_limit() -> None:
        subprocess.run(["scancel", "--batch", "--signal=TERM", *ids(settings, "train")], check=True)
        wait(settings, "train", "lost", seconds=120)

    saved = 0
    for end in (before_the_time_limit, lambda: jobs.stop(site.settings, "train")):
        site.start()
        site.running_until(lambda reached=saved: site.steps() > reached)
        end()
        assert jobs.poll(settings, "train") == "lost", site.said()
        newest = site.work("checkpoint-??????")[-1:]
        assert newest, site.said()
        assert {path.name for path in newest[0].glob("rank-*")} == {"rank-0.safetensors", "rank-1.safetensors"}, site.said()
        before, saved = saved, int(newest[0].name.split("-")[1])
        assert before < saved < 60
    site.start()
    facts = site.facts()
    assert facts["resumed_at"] == saved and len(facts["history"]) == 60
