"""The model that a recipe trains: the base with an adapter of the recipe's kind, or all of the base; and how the result is written."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from pipelines.config import PROJECT, Recipe
from pipelines.errors import BadInput
from pipelines.manifest import sha256, sha256_file
from pipelines.training.training_set import IGNORED
from pipelines.writing import write_json

WEIGHTS = "adapter_model.safetensors"


def build(base: str, recipe: Recipe, device: str, precision: str) -> Any:
    """The model on `device`, ready to train: what does not learn is frozen, in bf16 where the precision is; what learns is fp32.

    LoRA: Hu et al. 2021, arXiv 2106.09685; rsLoRA: 2312.03732; DoRA: 2402.09353; QLoRA: 2305.14314. BadInput for what does not load.
    """
    import torch
    from transformers import AutoModelForCausalLM

    dtype = torch.bfloat16 if precision == "bf16" and recipe.method != "full" else torch.float32
    options: dict[str, Any] = {"dtype": dtype, "use_safetensors": True, "local_files_only": True}
    if recipe.method == "qlora":
        options |= {"quantization_config": four_bit(device), "device_map": {"": device}}
    try:
        model = AutoModelForCausalLM.from_pretrained(base, **options)
    except (OSError, ValueError) as error:
        raise BadInput(f"the base model does not load: {reason(error)}", where=base, todo="check base.model of the domain") from None
    return prepare(model if recipe.method == "qlora" else model.to(device), recipe)


def prepare(model: Any, recipe: Recipe) -> Any:
    """The loaded (or fake, or random) model with the recipe's adapter on it, or with all its weights learning."""
    import torch

    torch.manual_seed(recipe.seed)
    if recipe.gradient_checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
    if recipe.method == "qlora":
        from peft import prepare_model_for_kbit_training

        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    if recipe.method == "full":
        model.requires_grad_(True)
    else:
        from peft import get_peft_model

        try:
            model = get_peft_model(model, _adapter_config(recipe))
        except ValueError as error:
            known = sorted({name.rpartition(".")[2] for name, part in model.named_modules() if isinstance(part, torch.nn.Linear)})
            raise BadInput(
                f"the adapter does not fit the base: {reason(error)}", where="recipe.target_modules", todo=f"its layers: {', '.join(known)}"
            ) from None
    model.config.use_cache = False
    return model


def _adapter_config(recipe: Recipe) -> Any:
    from peft import LoraConfig

    named = recipe.target_modules
    return LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        lora_dropout=recipe.dropout,
        target_modules=list(named) if isinstance(named, tuple) else named,
        use_rslora=recipe.method == "rslora",
        use_dora=recipe.method == "dora",
        bias="none",
        task_type="CAUSAL_LM",
    )


def four_bit(device: str) -> Any:
    """4-bit NormalFloat with double quantisation. BadInput without a GPU or without bitsandbytes."""
    from importlib.util import find_spec

    missing = [
        name for name, there in (("a CUDA GPU", device.startswith("cuda")), ("bitsandbytes", find_spec("bitsandbytes"))) if not there
    ]
    if missing:
        raise BadInput(
            f"qlora needs {' and '.join(missing)} here", where="recipe.method", todo="use lora, or a compute profile that has them"
        )
    import torch
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=torch.bfloat16
    )


def summed_loss(model: Any, batch: dict[str, Any], autocast: AbstractContextManager[Any]) -> Any:
    """Cross-entropy summed over the learned tokens of a batch ([sequences, tokens] each).

    The vocabulary is projected only at positions whose next token is learned: about one in fifteen, and the projection is a third of
    a small model's work. No attention mask and no cache: only so do position ids that restart keep packed examples apart.
    """
    import torch

    following = torch.full_like(batch["labels"], IGNORED)
    following[:, :-1] = batch["labels"][:, 1:]
    learned = following != IGNORED
    with autocast:
        output = model(input_ids=batch["input_ids"], position_ids=batch["position_ids"], logits_to_keep=learned, use_cache=False)
    logits = output.logits.reshape(-1, output.logits.shape[-1])
    return torch.nn.functional.cross_entropy(logits.float(), following[learned], reduction="sum")


def autocast(device: str, precision: str) -> AbstractContextManager[Any]:
    """bf16 autocast, or nothing."""
    import torch

    return torch.autocast(device.partition(":")[0], dtype=torch.bfloat16) if precision == "bf16" else nullcontext()


# --- the result ---------------------------------------------------------------------------------------------------------


def write(model: Any, recipe: Recipe, base: str, out: Path) -> str:
    """An adapter as peft reads it, or a whole model folder with its tokenizer; safetensors, no path of this machine. Returns the
    SHA-256 of the weights: of the file, or over the files of a model that is split into several."""
    out.mkdir(parents=True, exist_ok=True)
    if recipe.method == "full":
        from transformers import AutoTokenizer

        model.config.use_cache = True
        model.save_pretrained(out)
        AutoTokenizer.from_pretrained(base, local_files_only=True).save_pretrained(out)
        files = sorted(out.glob("*.safetensors"))
        return sha256_file(files[0]) if len(files) == 1 else sha256([(path.name, sha256_file(path)) for path in files])
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    config = model.peft_config["default"]
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in get_peft_model_state_dict(model).items()}
    temporary = out / f"{WEIGHTS}.tmp-{os.getpid()}"
    save_file(weights, temporary, metadata={"format": "pt"})
    temporary.rename(out / WEIGHTS)
    settings = {name: sorted(value) if isinstance(value, set) else value for name, value in config.to_dict().items()}
    write_json(out / "adapter_config.json", settings | {"inference_mode": True, "base_model_name_or_path": base_name(base)})
    return sha256_file(out / WEIGHTS)


def keep(trained: Mapping[str, Any], path: Path, step: int) -> None:
    """The weights that learn, as they are after `step` steps, renamed into place."""
    from safetensors.torch import save_file

    temporary = path.with_name(f"{path.name}.tmp")
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in trained.items()}, temporary, metadata={"step": str(step)})
    temporary.rename(path)


def bring_back(trained: Mapping[str, Any], path: Path) -> None:
    """What `keep` kept."""
    from safetensors.torch import load_file

    for name, tensor in load_file(path).items():
        trained[name].data.copy_(tensor)


def base_name(base: str) -> str:
    """The base as the project names it: relative where it lies in the project, the hub's name for a snapshot of the hub cache."""
    path = Path(base)
    if path.parent.name == "snapshots" and path.parent.parent.name.startswith("models--"):
        return path.parent.parent.name.removeprefix("models--").replace("--", "/")
    return path.relative_to(PROJECT).as_posix() if path.is_relative_to(PROJECT) else path.name if path.is_absolute() else base


def reason(error: Exception) -> str:
    """An error of a library on one line."""
    return " ".join(str(error).split())[:300]
