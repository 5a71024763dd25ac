"""What Slurm's commands say, as commands of their names say it here: no Slurm is needed."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.compute import files, jobs
from pipelines.compute_config import Slurm
from pipelines.config import Settings


def says(folder: Path, command: str, line: str) -> None:
    (folder / command).write_text(f"#!/bin/sh\necho '{line}'\n", encoding="utf-8")
    (folder / command).chmod(0o755)


def test_a_job_that_only_slurmdbd_calls_running_is_lost(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    place = files.folder(settings, "job")
    place.mkdir(parents=True)
    profile = Slurm(kind="slurm", accounting=True, result_grace_seconds=0)
    (place / "profile.json").write_text(profile.model_dump_json(), encoding="utf-8")
    says(tmp_path, "squeue", "")
    says(tmp_path, "sacct", "7|RUNNING|None|2026-11-27T03:00:00")
    assert jobs.poll(settings, "job") == "lost"
    assert "job 7: RUNNING (its end is not on record: `sacctmgr show runawayjobs`)" in jobs.note(settings, "job")
    says(tmp_path, "squeue", "7|RUNNING|None|2026-11-27T03:00:00")
    assert jobs.poll(settings, "job") == "running"
    says(tmp_path, "squeue", "")
    says(tmp_path, "sacct", "7|CANCELLED by 0|None|2026-11-27T03:00:00")
    assert "job 7: CANCELLED, submitted" in jobs.note(settings, "job")
