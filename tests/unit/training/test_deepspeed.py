"""Two ranks on the CPU over gloo."""

from __future__ import annotations

from typing import Any

import pytest

from pipelines.training import worker

from .conftest import MakeJob

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def train(job: worker.Job) -> worker.TrainingFacts:
    return worker.train(job.training_set, job.base, job.recipe, job.out, job.work, 2)


@pytest.mark.parametrize(
    "change",
    [
        {"zero": 2},
        {"zero": 3},
        {"zero": 3, "offload": "cpu", "method": "full", "early_stopping": {"held_out": 0.3, "every": 3}},
    ],
    ids=str,
)
def test_two_ranks_walk_the_curve_of_one_and_resume(change: dict[str, Any], job: MakeJob, base: str) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    common = {"batch_sequences": 4, "dropout": 0.0, "learning_rate": 1e-2} | {
        key: value for key, value in change.items() if key not in ("zero", "offload")
    }
    if "method" in change:
        common.pop("dropout")
    single = worker.run(job("single", **common))
    asked = job("zero", ranks=2, **(common | change))
    first = train(asked)
    assert first.ranks == 2 and first.resumed_at is None and first.trained_parameters == single.trained_parameters
    assert [row["loss"] for row in first.history] == pytest.approx([row["loss"] for row in single.history], rel=0.01)
    if asked.recipe.method == "full":
        AutoModelForCausalLM.from_pretrained(str(asked.out))
        assert first.history[-1]["held_out_loss"] == pytest.approx(single.history[-1]["held_out_loss"], rel=0.01)
    else:
        PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), str(asked.out))
    (asked.work / "checkpoint-000006" / "rank-1.safetensors").unlink()
    (asked.out / "facts.json").unlink()
    second = train(asked)
    assert second.resumed_at == 4
    assert second.history[-1]["loss"] == pytest.approx(first.history[-1]["loss"], abs=1e-4)
