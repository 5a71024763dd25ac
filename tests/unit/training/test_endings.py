"""How a training ends before its last step, and what the next start makes of it."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import BadInput, Interrupted, RatchetError
from pipelines.training import loop, progress, schedule, watch, worker
from pipelines.training.training_set import HELD_OUT
from pipelines.writing import write_json

from .conftest import MakeJob

pytestmark = pytest.mark.slow

RECIPES: dict[str, dict[str, Any]] = {
    "lora, dropout, pieces, epochs": {"accumulate": 2, "steps": None, "epochs": 2.5},
    "dora, cosine": {"method": "dora", "schedule": "cosine", "weight_decay": 0.1},
    "full": {"method": "full", "weight_decay": 0.1},
    "bf16": {"precision": "bf16"},
}


@pytest.mark.parametrize("name", RECIPES)
def test_a_resumed_run_ends_in_the_very_same_weights(name: str, job: MakeJob) -> None:
    whole = worker.run(job("whole", **RECIPES[name]))
    broken = job("broken", **RECIPES[name])
    worker.run(broken)
    newest = sorted(broken.work.glob("checkpoint-*"))[-1]
    (newest / "rank-0.safetensors").write_bytes(b"torn")
    again = worker.run(broken)
    assert again.resumed_at is not None and 0 < again.resumed_at < whole.steps
    assert again.passed_over == (f"{newest.name}: rank-0.safetensors is missing or altered",)
    assert again.weights_sha256 == whole.weights_sha256
    assert [row["loss"] for row in again.history] == [row["loss"] for row in whole.history]


def test_so_many_checkpoints_are_kept(job: MakeJob) -> None:
    worker.run(job("a", keep_checkpoints=3, checkpoint_every=1))
    assert [path.name for path in sorted(job("a").work.glob("checkpoint-*"))] == [f"checkpoint-{step:06d}" for step in (4, 5, 6)]


def test_sigterm_saves_and_the_next_start_goes_on(job: MakeJob, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = worker.run(job("whole", checkpoint_every=100))
    asked = job("a", checkpoint_every=100)
    original = loop.Training.take_step

    def kill_at_3(self: loop.Training, step: int, stop: bool) -> bool:
        if step == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, step, stop)

    monkeypatch.setattr(loop.Training, "take_step", kill_at_3)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Interrupted, match="stopped on request after step 4 of 6") as caught:
        worker.run(asked)
    assert caught.value.exit_code == 75 and signal.getsignal(signal.SIGTERM) is before
    monkeypatch.undo()
    facts = worker.run(asked)
    assert facts.resumed_at == 4 and facts.weights_sha256 == whole.weights_sha256


def test_a_loss_that_is_no_number_names_the_step_and_the_documents(job: MakeJob) -> None:
    asked = job("a", learning_rate=1e30, steps=10)
    (asked.training_set / watch.SEQUENCES).unlink(missing_ok=True)  # as in a training set of an earlier version
    with pytest.raises(BadInput, match=r"not a number at step \d+; its batch held the sequences \d+"):
        worker.run(asked)
    members = [{"examples": [f"e{row}"], "documents": [f"doc-{row}"]} for row in range(100)]
    write_json(asked.training_set / watch.SEQUENCES, members)
    with pytest.raises(BadInput) as caught:
        worker.run(asked)
    step = int(caught.value.what.split("step ")[1].split(";")[0])
    sequences = loop.facts_of(asked.training_set).sequences
    rows = schedule.batch_rows(range(sequences), 2, step - 1, asked.recipe.seed)
    assert caught.value.what.endswith("the documents " + ", ".join(sorted({f"doc-{row}" for row in rows})))
    assert not asked.out.exists()


def test_divergence_stops_it_and_can_be_turned_off(job: MakeJob) -> None:
    wild = {"method": "full", "learning_rate": 1.0, "steps": 12, "warmup_steps": 6}
    with pytest.raises(BadInput, match=r"the loss diverged at step \d+: .* for 2 steps over 1.1 times its best"):
        worker.run(job("a", divergence={"factor": 1.1, "steps": 2}, **wild))
    assert worker.run(job("b", divergence=None, **wild)).steps == 12


def test_early_stopping_keeps_the_best_weights(job: MakeJob) -> None:
    rule = {"held_out": 0.3, "every": 2, "patience": 2}
    asked = job("a", early_stopping=rule, learning_rate=0.5, steps=40, schedule="constant", divergence=None)
    facts = worker.run(asked)
    assert facts.stopped is not None and facts.steps < 40
    looks = {int(row["step"]): row["held_out_loss"] for row in facts.history if "held_out_loss" in row}
    assert facts.best_step == min(looks, key=lambda step: looks[step]) < facts.steps
    best = worker.run(job("b", early_stopping=rule, learning_rate=0.5, steps=facts.best_step, schedule="constant", divergence=None))
    assert best.weights_sha256 == facts.weights_sha256
    again = worker.run(asked)
    assert (again.resumed_at, again.stopped, again.weights_sha256) == (facts.steps, facts.stopped, facts.weights_sha256)


def test_a_held_out_file_of_the_training_set_is_used_as_it_is(job: MakeJob) -> None:
    import shutil

    asked = job("a", early_stopping={"every": 3}, steps=3)
    shutil.copy(asked.training_set / "sequences.safetensors", asked.training_set / HELD_OUT)
    with_file = worker.run(asked)
    (asked.training_set / HELD_OUT).unlink()
    assert worker.run(job("b", early_stopping={"every": 3}, steps=3)).history[-1] != with_file.history[-1]


def test_progress_is_told_while_it_runs(job: MakeJob) -> None:
    worker.run(job("a"))
    told = progress.read(job("a").work)
    assert told is not None and (told.step, told.steps, told.eta_seconds) == (6, 6, 0)
    assert told.peak_mb > 10 and str(told).startswith("step 6 of 6: loss ")
    assert progress.read(job("a").out) is None


def test_a_disk_that_fills_up_costs_no_older_checkpoint(job: MakeJob) -> None:
    asked = job("a")
    worker.run(job("a", steps=4))
    old = {path: path.stat().st_mtime_ns for path in asked.work.glob("checkpoint-*/*")}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))  # the kernel refuses the rest of the file, as a full disk would
    try:
        with pytest.raises(RatchetError, match=r"the checkpoint of step 2 could not be written: .*"):
            worker.run(asked)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {path: path.stat().st_mtime_ns for path in asked.work.glob("checkpoint-*/*")} == old
    assert not list(asked.work.glob("*.tmp"))


def start(job: worker.Job) -> subprocess.Popen[bytes]:
    """The process, as `train` starts it."""
    job.work.mkdir(exist_ok=True)
    write_json(job.work / "job.json", job.model_dump(mode="json"))
    return subprocess.Popen([sys.executable, "-m", "pipelines.training.worker", "--job", str(job.work / "job.json")])


def wait_for(work: Path, pattern: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 200
    while not list(work.glob(pattern)) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ["lora, dropout, pieces, epochs", "full"])
def test_kill_9_then_the_same_call_resumes(name: str, job: MakeJob) -> None:
    change = RECIPES[name] | ({"epochs": 20.0} if "epochs" in RECIPES[name] else {"steps": 60})
    whole = worker.run(job("whole", **change))
    killed = job("killed", **change)
    process = start(killed)
    wait_for(killed.work, "checkpoint-??????", process)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (killed.out / "facts.json").exists()
    facts = worker.train(killed.training_set, killed.base, killed.recipe, killed.out, killed.work, killed.threads)
    assert facts.resumed_at is not None and 0 < facts.resumed_at < whole.steps
    assert facts.loss == pytest.approx(whole.loss, abs=1e-4)
    assert facts.weights_sha256 == whole.weights_sha256


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_sigterm_to_the_caller_reaches_the_training(job: MakeJob) -> None:
    asked = job("a", steps=5000, checkpoint_every=1000)
    call = textwrap.dedent("""
        import sys
        from pipelines import errors
        from pipelines.training import worker
        job = worker.Job.model_validate_json(sys.argv[1])
        try:
            worker.train(job.training_set, job.base, job.recipe, job.out, job.work, 1)
        except errors.Interrupted as error:
            print(error)
            sys.exit(error.exit_code)
    """)
    process = subprocess.Popen([sys.executable, "-c", call, asked.model_dump_json()], stdout=subprocess.PIPE, text=True)
    wait_for(asked.work, progress.FILE, process)
    for _ in range(5):  # whoever stops it may ask more than once
        process.send_signal(signal.SIGTERM)
        time.sleep(0.05)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 75 and "stopped on request after step" in out
    seal = json.loads((next(asked.work.glob("checkpoint-*")) / "checkpoint.json").read_bytes())
    assert 0 < seal["step"] < 5000
