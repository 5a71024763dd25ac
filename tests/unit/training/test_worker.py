from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines import locks
from pipelines.errors import BadInput, Conflict, RatchetError
from pipelines.training import checkpoints, worker

from .conftest import MakeJob

# peft 0.21 reads a property that transformers 5.23 renames.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")


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


def test_two_trainings_over_one_work_folder(job: MakeJob) -> None:
    asked = job("a")
    asked.work.mkdir()
    with locks.alone_now(asked.work / "lock"), pytest.raises(Conflict, match="already runs"):
        worker.run(asked)


@pytest.mark.slow
def test_what_the_process_says_reaches_the_caller(job: MakeJob, tmp_path: Path) -> None:
    asked = job("a")
    with pytest.raises(BadInput, match="there is no such folder"):
        worker.train(asked.training_set, str(tmp_path / "nowhere"), asked.recipe, asked.out, asked.work, 1)
    assert not asked.out.exists()
    with pytest.raises(RatchetError, match="not a finished training set"):
        worker.train(tmp_path / "empty", asked.base, asked.recipe, asked.out, asked.work, 1)
