"""How trainings on two ranks end before their time: hung, asked to stop, started on too little."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from pipelines.errors import BadInput, Interrupted, Stalled
from pipelines.training import builds, progress
from pipelines.writing import write_json

from .conftest import MakeJob
from .test_deepspeed import train
from .test_endings import start, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def ranks_of(agent: int) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{agent}/task/{agent}/children").read_text().split()]


def test_a_rank_that_hangs_is_killed_and_so_are_the_others(job: MakeJob) -> None:
    asked = job("a", ranks=2, zero=2, steps=5000, checkpoint_every=1000, step_seconds=15)
    process = start(asked)
    wait_for(asked.work, progress.FILE, process)
    ranks = ranks_of(process.pid)
    assert len(ranks) == 2
    os.kill(ranks[1], signal.SIGSTOP)
    stopped = time.monotonic()
    assert process.wait(timeout=200) == Stalled.exit_code
    assert time.monotonic() - stopped < 150
    assert "rank 0 did not finish step" in (asked.work / "fault.json").read_text()
    assert not any(Path(f"/proc/{pid}").exists() for pid in ranks)


def test_sigterm_to_the_agent_stops_the_ranks_at_one_step(job: MakeJob) -> None:
    asked = job("a", ranks=2, zero=2, steps=5000, checkpoint_every=1000)
    process = start(asked)
    wait_for(asked.work, progress.FILE, process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=200) == Interrupted.exit_code
    assert list(asked.work.glob("checkpoint-??????/rank-1.safetensors"))


def test_a_build_that_a_killed_training_left_half_done_does_not_hold_up_the_next(
    job: MakeJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a folder of its own: what is compiled already is taken along, so that only the guard is new."""
    built = tmp_path / "built" / "deepspeed_shm_comm"
    for before in builds.folder().rglob(built.name):
        shutil.copytree(before, built)
    built.mkdir(parents=True, exist_ok=True)
    guard = built / "lock"
    guard.touch()
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(built.parent))
    assert train(job("a", ranks=2, zero=2, steps=2)).steps == 2
    assert list(guard.parent.glob("*.so")) and not guard.exists()


def test_more_ranks_than_sequences(job: MakeJob) -> None:
    asked = job("a", ranks=2, zero=2, early_stopping={"held_out": 0.5})
    few = asked.training_set / "sequences.safetensors"
    from safetensors.numpy import load_file, save_file

    from pipelines.training.training_set import facts_of

    facts = facts_of(asked.training_set).model_copy(update={"sequences": 2})
    save_file({name: tensor[:2] for name, tensor in load_file(few).items()}, few)
    write_json(asked.training_set / "facts.json", facts.model_dump(mode="json"))
    with pytest.raises(BadInput, match="2 ranks, but only 1 sequences to train on"):
        train(asked)
