from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.config import Recipe, Settings
from pipelines.corpus.documents import Document
from pipelines.errors import BadInput, Conflict, RatchetError
from pipelines.training import checkpoints, examples, training_set, worker
from pipelines.training.prompt import Prompt

from .conftest import RULE, domain_of

# peft 0.21 reads a property that transformers 5.23 renames.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

RECIPE = Recipe(examples=24, sequence_tokens=256, steps=6, warmup_steps=2, batch_sequences=2, checkpoint_every=2, rank=4, dropout=0.1)

MakeJob = Callable[..., worker.Job]


@pytest.fixture
def job(documents: list[Document], base: str, settings: Settings, tmp_path: Path) -> MakeJob:
    made = examples.make(documents, domain_of(RULE, recipe=RECIPE, passages=2), exclude_keys=set(), seed=3)
    training_set.build(made, RECIPE, base, Prompt.load("grounded_extraction/v1", settings), tmp_path / "set")

    def make(name: str, **recipe: object) -> worker.Job:
        changed = RECIPE.model_copy(update=recipe)
        return worker.Job(
            training_set=tmp_path / "set", base=base, recipe=changed, out=tmp_path / name, work=tmp_path / f"{name}-work", threads=1
        )

    return make


def test_the_adapter_loads_and_learned_something(job: MakeJob, base: str) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    facts = worker.run(job("a", steps=12, learning_rate=1e-2))
    out = job("a").out
    assert sorted(path.name for path in out.iterdir()) == ["adapter_config.json", "adapter_model.safetensors", "facts.json"]
    assert worker.facts_of_adapter(out) == facts
    assert facts.history[-1]["loss"] < facts.history[0]["loss"]
    assert [row["step"] for row in facts.history] == list(range(1, 13))
    assert str(out.parent) not in (out / "facts.json").read_text() + (out / "adapter_config.json").read_text()
    model = AutoModelForCausalLM.from_pretrained(base)
    ids = torch.arange(3, 20).unsqueeze(0)
    with torch.no_grad():
        before = model(input_ids=ids).logits
        after = PeftModel.from_pretrained(model, str(out))(input_ids=ids).logits
    assert not torch.allclose(before, after, atol=1e-4)


def test_a_resumed_run_ends_in_the_very_same_adapter(job: MakeJob) -> None:
    whole = worker.run(job("whole"))
    broken = job("broken")
    worker.run(broken)
    newest = broken.work / "checkpoint-000006"
    (newest / "rank-0.safetensors").write_bytes(b"torn")
    again = worker.run(broken)
    assert again.resumed_at == 4
    assert again.weights_sha256 == whole.weights_sha256
    assert [row["loss"] for row in again.history] == [row["loss"] for row in whole.history]


def test_checkpoints_of_another_job_and_unsealed_ones_are_passed_over(job: MakeJob) -> None:
    work = job("a").work
    worker.run(job("a"))
    assert sorted(path.name for path in work.glob("checkpoint-*")) == ["checkpoint-000004", "checkpoint-000006"]
    assert worker.run(job("a", learning_rate=5e-4)).resumed_at is None
    identity = json.loads((work / "checkpoint-000006" / "checkpoint.json").read_bytes())["identity"]
    assert checkpoints.newest(work, "another") is None
    assert checkpoints.newest(work, identity).step == 6
    (work / "checkpoint-000006" / "checkpoint.json").unlink()
    assert checkpoints.newest(work, identity).step == 4
    assert worker.run(job("a", learning_rate=2e-4, steps=3)).resumed_at is None
    assert sorted(path.name for path in work.glob("checkpoint-*")) == ["checkpoint-000002", "checkpoint-000003"]


def test_nothing_on_disk_is_a_pickle(job: MakeJob) -> None:
    worker.run(job("a"))
    files = [path for folder in (job("a").out, job("a").work) for path in folder.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".safetensors", ".json", ""}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_kill_9_then_the_same_call_resumes(job: MakeJob) -> None:
    whole = worker.run(job("whole", steps=60))
    killed = job("killed", steps=60)
    killed.work.mkdir()
    (killed.work / "job.json").write_text(killed.model_dump_json())
    process = subprocess.Popen([sys.executable, "-m", "pipelines.training.worker", "--job", str(killed.work / "job.json")])
    deadline = time.monotonic() + 120
    while not list(killed.work.glob("checkpoint-??????")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (killed.out / "facts.json").exists()
    facts = worker.train(killed.training_set, killed.base, killed.recipe, killed.out, killed.work, killed.threads)
    assert facts.resumed_at is not None and 0 < facts.resumed_at < 60
    assert facts.weights_sha256 == whole.weights_sha256


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_deepspeed_on_two_ranks_gives_the_same_kind_of_adapter_and_resumes(job: MakeJob, base: str) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    asked = job("zero", profile="deepspeed_zero2")
    arguments = (asked.training_set, asked.base, asked.recipe, asked.out, asked.work, 2)
    first = worker.train(*arguments)
    assert first.ranks == 2 and first.resumed_at is None
    PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), str(asked.out))
    (asked.work / "checkpoint-000006" / "rank-1.safetensors").unlink()
    (asked.out / "facts.json").unlink()
    second = worker.train(*arguments)
    assert second.resumed_at == 4
    assert [row["loss"] for row in second.history] == [row["loss"] for row in first.history]
    assert second.weights_sha256 == first.weights_sha256


def test_two_trainings_over_one_work_folder(job: MakeJob) -> None:
    asked = job("a")
    held = worker._lock(asked.work)
    with pytest.raises(Conflict, match="already runs"):
        worker.run(asked)
    os.close(held)


@pytest.mark.slow
def test_what_the_process_says_reaches_the_caller(job: MakeJob, tmp_path: Path) -> None:
    asked = job("a")
    with pytest.raises(BadInput, match="the base model does not load"):
        worker.train(asked.training_set, str(tmp_path / "nowhere"), asked.recipe, asked.out, asked.work, 1)
    assert not asked.out.exists()
    with pytest.raises(RatchetError, match="not a finished training set"):
        worker.train(tmp_path / "empty", asked.base, asked.recipe, asked.out, asked.work, 1)


def test_batches_and_rates_are_functions_of_the_step() -> None:
    rows = [row for step in range(5) for row in worker.batch_rows(10, 2, step, seed=1)]
    assert sorted(rows) == list(range(10))
    assert worker.batch_rows(10, 2, 3, seed=1) == rows[6:8]
    assert [row for step in range(5, 10) for row in worker.batch_rows(10, 2, step, seed=1)] != rows
    rates = [worker.learning_rate(RECIPE, step) for step in range(6)]
    assert rates[0] == RECIPE.learning_rate / 2 and max(rates) == RECIPE.learning_rate and 0 < rates[-1] < RECIPE.learning_rate / 3
