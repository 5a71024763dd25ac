"""Every method on a random model of every architecture: trains, saves safetensors, and loads elsewhere with the same logits."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import BadInput
from pipelines.training import methods, probe, worker
from pipelines.training.training_set import TENSORS

from .conftest import MakeJob

pytestmark = pytest.mark.slow

SHAPE = {
    "vocab_size": 400, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "max_position_embeddings": 256, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
}  # fmt: skip
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen2": {},
    "qwen3": {"head_dim": 16},
    "mistral": {"sliding_window": 64},
    "gemma2": {"head_dim": 16, "sliding_window": 64, "query_pre_attn_scalar": 16},
    "gemma3_text": {"head_dim": 16, "sliding_window": 64, "query_pre_attn_scalar": 16},
}


def random_base(kind: str, tokenizer_from: str, folder: Path) -> str:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **(SHAPE | ARCHITECTURES[kind])), dtype=torch.float32)
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(Path(tokenizer_from) / name, folder / name)
    return str(folder)


def logits_of(job: worker.Job) -> Any:
    """What a reader of the saved result computes."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    whole = job.recipe.method == "full"
    model = AutoModelForCausalLM.from_pretrained(str(job.out) if whole else job.base, dtype=torch.float32)
    model = model if whole else PeftModel.from_pretrained(model, str(job.out))
    with torch.no_grad():
        return model.eval()(input_ids=torch.arange(3, 20).unsqueeze(0)).logits


def trained_logits(job: worker.Job, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Train, and ask the model in memory at the moment it is written."""
    import torch

    seen: list[Any] = []
    original = methods.write

    def spy(model: Any, *rest: Any) -> str:
        with torch.no_grad():
            seen.append(model.eval()(input_ids=torch.arange(3, 20).unsqueeze(0)).logits)
        return original(model, *rest)

    monkeypatch.setattr(methods, "write", spy)
    worker.run(job)
    monkeypatch.undo()
    return seen[0]


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_lora_and_full_on_every_architecture(kind: str, job: MakeJob, base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    folder = random_base(kind, base, tmp_path / "model")
    for method in ("lora", "full"):
        asked = job(method, base=folder, steps=2, learning_rate=1e-2, method=method)
        expected = trained_logits(asked, monkeypatch)
        assert torch.allclose(expected, logits_of(asked), atol=1e-5)
        assert list(asked.out.glob("*.safetensors")) and not [*asked.out.glob("*.bin"), *asked.out.glob("*.pt")]


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_packed_examples_do_not_see_each_other_in_any_architecture(kind: str, job: MakeJob, base: str, tmp_path: Path) -> None:
    from contextlib import nullcontext
    from itertools import pairwise

    import torch
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(random_base(kind, base, tmp_path / "model"), dtype=torch.float32).eval()
    data = {name: tensor[:1].long() for name, tensor in load_file(job("a").training_set / TENSORS).items()}
    starts = [*(data["position_ids"][0] == 0).nonzero().flatten().tolist(), data["input_ids"].shape[1]]
    assert len(starts) > 3
    with torch.no_grad():
        packed = methods.summed_loss(model, data, nullcontext())
        parts = [{name: tensor[:, a:b] for name, tensor in data.items()} for a, b in pairwise(starts)]
        alone = sum(float(methods.summed_loss(model, part, nullcontext())) for part in parts)
    assert float(packed) == pytest.approx(alone, rel=1e-5)


@pytest.mark.parametrize(
    "change",
    [
        {"method": "rslora"},
        {"method": "dora"},
        {"target_modules": ("q_proj", "v_proj")},
        {"gradient_checkpointing": True},
        {"precision": "bf16"},
        {"schedule": "cosine", "weight_decay": 0.1},
    ],
    ids=str,
)
def test_other_recipes_load_with_the_same_logits(change: dict[str, Any], job: MakeJob, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    asked = job("a", steps=2, learning_rate=1e-2, **change)
    expected = trained_logits(asked, monkeypatch)
    # In bf16 the frozen weights are rounded while training, and whole where the adapter is served.
    assert torch.allclose(expected.float(), logits_of(asked), atol=2e-2 if change.get("precision") == "bf16" else 1e-5)
    config = json.loads((asked.out / "adapter_config.json").read_text())
    assert config["use_rslora"] == (change.get("method") == "rslora") and config["use_dora"] == (change.get("method") == "dora")
    if "target_modules" in change:
        assert config["target_modules"] == ["q_proj", "v_proj"]


def test_checkpointing_and_accumulation_change_memory_not_the_result(job: MakeJob) -> None:
    whole = worker.run(job("whole", batch_sequences=4, dropout=0.0))
    for name, change in (("again", {"gradient_checkpointing": True}), ("pieces", {"accumulate": 4})):
        other = worker.run(job(name, batch_sequences=4, dropout=0.0, **change))
        assert [row["loss"] for row in other.history] == pytest.approx([row["loss"] for row in whole.history], abs=1e-5)


def test_a_layer_that_is_not_there_is_named_with_those_that_are(job: MakeJob) -> None:
    with pytest.raises(BadInput, match="does not fit the base") as caught:
        worker.run(job("a", target_modules=("qkv",)))
    assert "q_proj" in caught.value.todo


def test_qlora_without_a_gpu_is_refused(job: MakeJob) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(BadInput, match="qlora needs a CUDA GPU"):
        worker.run(job("a", method="qlora"))


def test_auto_takes_the_faster_precision_records_it_and_keeps_it(job: MakeJob, monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([2.0, 1.0])
    monkeypatch.setattr(probe, "milliseconds", lambda *_: next(times))
    facts = worker.run(job("a", precision="auto", steps=2))
    assert facts.precision.precision == "bf16" and facts.precision.milliseconds == {"fp32": 2.0, "bf16": 1.0}
    again = worker.run(job("a", precision="auto", steps=2))  # would raise StopIteration, were it timed again
    assert again.resumed_at == 2 and again.precision == facts.precision
    assert worker.run(job("a", precision="fp32", steps=2)).resumed_at is None


def test_the_probe_times_both(job: MakeJob) -> None:
    chosen = worker.run(job("a", precision="auto", steps=1)).precision
    assert min(chosen.milliseconds.values()) > 0
    assert chosen.precision == min(chosen.milliseconds, key=lambda name: chosen.milliseconds[name])
