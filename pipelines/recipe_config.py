"""How one training is run: one YAML is one run. The domain file's `recipe:` holds it, or names a file under configs/recipes/.

Light on purpose (no torch): Airflow reads it. What depends on the machine (a GPU, bitsandbytes, memory) is checked by the preflight.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from pipelines.errors import ConfigError
from pipelines.parsing import did_you_mean, parse, read_yaml
from pipelines.strict import Share, Strict

Method = Literal["lora", "rslora", "dora", "qlora", "full"]
Precision = Literal["fp32", "bf16"]

_ADAPTER_ONLY = {"rank": 16, "alpha": 32, "dropout": 0.0, "target_modules": "all-linear"}
"""What only an adapter has, with its default; full fine-tuning refuses them."""


class EarlyStopping(Strict):
    """Stop when the loss on a held-out part of the training set no longer falls; the best weights seen are the ones kept."""

    held_out: float = Field(0.1, gt=0.0, le=0.5, description="share of the sequences that is not trained on")
    every: int = Field(25, ge=1, description="steps between two looks at the held-out part")
    patience: int = Field(3, ge=1, description="looks without improvement before it stops")
    min_delta: float = Field(0.0, ge=0.0, description="a smaller fall of the loss than this is no improvement")


class Divergence(Strict):
    """Stop when the loss stays far above its best."""

    factor: float = Field(5.0, gt=1.0, description="how many times the best mean loss")
    steps: int = Field(10, ge=1, description="for so many steps in a row; the best is the lowest mean over as many")


class Recipe(Strict):
    """How an adapter, or a whole model, is trained."""

    method: Method = Field(
        "lora", description="rslora scales by alpha / sqrt(rank); dora adds a magnitude; qlora needs a GPU; full trains all"
    )
    target_modules: Literal["all-linear"] | tuple[str, ...] | None = Field(
        None, description="linear layers that get an adapter, by name: all-linear unless named; not with full"
    )
    rank: int | None = Field(None, ge=1, description="of the adapter: 16 unless given; not with full")
    alpha: int | None = Field(None, ge=1, description="scale of the adapter: 32 unless given; not with full")
    dropout: Share | None = Field(None, description="before the adapter: 0 unless given; not with full")
    learning_rate: float = Field(1e-3, gt=0, description="peak, of AdamW with betas 0.9 and 0.999")
    schedule: Literal["linear", "cosine", "constant"] = Field("linear", description="after the warm-up, towards zero or constant")
    warmup_steps: int = Field(10, ge=0, description="linear rise to the peak")
    weight_decay: float = Field(0.0, ge=0, description="of matrices; vectors (norms, biases, magnitudes) do not decay")
    max_grad_norm: float = Field(1.0, gt=0, description="gradients are scaled down to this global norm")
    steps: int | None = Field(None, ge=1, description="optimiser steps: 200 unless steps or epochs are given")
    epochs: float | None = Field(None, gt=0, description="passes over the training set, instead of steps")
    batch_sequences: int = Field(8, ge=1, description="sequences of one optimiser step, over all ranks and pieces")
    accumulate: int = Field(1, ge=1, description="pieces that each rank's share of a batch is computed in: less memory, same result")
    sequence_tokens: int = Field(512, ge=64, description="length of a packed sequence")
    precision: Literal["auto", "fp32", "bf16"] = Field("auto", description="auto: both are timed on this hardware and the faster is taken")
    gradient_checkpointing: bool = Field(False, description="recompute activations in the backward pass: less memory, a third more work")
    early_stopping: EarlyStopping | None = None
    divergence: Divergence | None = Divergence()
    zero: Literal[0, 1, 2, 3] = Field(0, description="DeepSpeed ZeRO stage: what the ranks share out (1 optimiser, 2 gradients, 3 weights)")
    offload: Literal["none", "cpu"] = Field("none", description="cpu: optimiser state (and under ZeRO-3 the weights) wait in host memory")
    ranks: int = Field(1, ge=1, description="processes, one per device; more than one runs under DeepSpeed")
    deepspeed: str | None = Field(
        None, pattern=r"^[a-z0-9_]+$", description="file under configs/deepspeed, without .json; default zero<stage>, zero<stage>_offload"
    )
    examples: int = Field(1500, ge=8, description="training examples made at most")
    checkpoint_every: int = Field(25, ge=1, description="steps")
    keep_checkpoints: int = Field(2, ge=1, description="newest ones kept; with 1 there is none to fall back to")
    step_seconds: float = Field(1800.0, gt=0, description="a rank that takes longer for one step is stalled, and all are killed")
    seed: int = 7

    @model_validator(mode="before")
    @classmethod
    def _defaults_that_depend(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        filled = dict(values)
        if filled.get("method") != "full":
            filled |= {key: default for key, default in _ADAPTER_ONLY.items() if filled.get(key) is None}
        if filled.get("steps") is None and filled.get("epochs") is None:
            filled["steps"] = 200
        return filled

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Recipe:
        if self.method == "full" and (given := [key for key in _ADAPTER_ONLY if getattr(self, key) is not None]):
            raise ValueError(f"method full trains every weight, so {', '.join(given)} mean nothing: drop them, or use lora")
        if self.target_modules == ():
            raise ValueError("target_modules is empty: name at least one layer, or all-linear")
        if self.steps is not None and self.epochs is not None:
            raise ValueError(f"steps ({self.steps}) and epochs ({self.epochs:g}) are both given: keep one")
        if self.batch_sequences % (self.ranks * self.accumulate):
            raise ValueError(
                f"{self.batch_sequences} batch_sequences do not divide into {self.ranks} ranks x {self.accumulate} pieces (accumulate):"
                f" use a multiple of {self.ranks * self.accumulate}"
            )
        if self.offload == "cpu" and self.zero == 0:
            raise ValueError("offload: cpu moves what ZeRO shares out, and zero is 0: use zero 1, 2 or 3")
        if self.method == "qlora" and self.distributed:
            raise ValueError("qlora runs on one rank without ZeRO: set ranks 1 and zero 0, or use lora with ZeRO")
        if self.deepspeed and not self.distributed:
            raise ValueError("deepspeed names a file, but with ranks 1 and zero 0 DeepSpeed does not run: set zero or ranks")
        return self

    @property
    def distributed(self) -> bool:
        """Whether it runs under torchrun and DeepSpeed."""
        return self.ranks > 1 or self.zero > 0

    @property
    def micro_sequences(self) -> int:
        """Sequences that one rank computes at once."""
        return self.batch_sequences // (self.ranks * self.accumulate)

    def total_steps(self, sequences: int) -> int:
        """Optimiser steps over so many sequences to train on."""
        if self.epochs is None:
            return self.steps or 0
        return max(1, math.ceil(self.epochs * sequences / self.batch_sequences))


def resolve(given: Any, configs: Path) -> Any:
    """The values of a domain file's `recipe:`, a named recipe filled in: `recipe: NAME`, or `recipe: {from: NAME, <key>: <value> ...}`.

    ConfigError for a name without a file. Keys are checked by whoever validates the result.
    """
    inline = {"from": given} if isinstance(given, str) else given
    if not isinstance(inline, Mapping) or "from" not in inline:
        return given
    own = {key: value for key, value in inline.items() if key != "from"}
    folder, name = configs / "recipes", str(inline["from"])
    known = sorted(path.stem for path in folder.glob("*.yaml"))
    if name not in known:
        hint = did_you_mean(name, known)
        raise ConfigError(f"there is no recipe {name!r}", where=str(folder), todo=f"{hint}known recipes: {', '.join(known) or 'none'}")
    shared = read_yaml(folder / f"{name}.yaml")
    parse(Recipe, shared, str(folder / f"{name}.yaml"))
    replaced = {"steps", "epochs"} if own.keys() & {"steps", "epochs"} else set()
    if own.get("method") == "full":
        replaced |= _ADAPTER_ONLY.keys()
    shared = {key: value for key, value in shared.items() if key not in replaced}
    return {**shared, **own}


def deepspeed_config(recipe: Recipe, precision: str, configs: Path) -> dict[str, Any]:
    """DeepSpeed's JSON of this recipe: the file under configs/deepspeed, with everything that the recipe decides filled in.

    ConfigError for a file that is missing, is no JSON, or says otherwise than the recipe: both values are named. A value `auto` in the
    file, as in Hugging Face's examples, is the recipe's. https://www.deepspeed.ai/docs/config-json/
    """
    name = recipe.deepspeed or f"zero{recipe.zero}{'_offload' if recipe.offload == 'cpu' else ''}"
    path = configs / "deepspeed" / f"{name}.json"
    known = sorted(file.stem for file in path.parent.glob("*.json"))
    if name not in known:
        raise ConfigError("there is no such DeepSpeed file", where=str(path), todo=f"known files: {', '.join(known) or 'none'}")
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"not readable as JSON: {error}", where=str(path), todo="mend the file") from None
    if "scheduler" in config:
        raise ConfigError(f"says scheduler, the recipe says schedule: {recipe.schedule}", where=str(path), todo="drop it from the file")
    owned: dict[str, tuple[str, object]] = {
        "train_batch_size": ("batch_sequences", recipe.batch_sequences),
        "train_micro_batch_size_per_gpu": ("batch_sequences / (ranks x accumulate)", recipe.micro_sequences),
        "gradient_accumulation_steps": ("accumulate", recipe.accumulate),
        "gradient_clipping": ("max_grad_norm", recipe.max_grad_norm),
        "optimizer.params.lr": ("learning_rate", recipe.learning_rate),
        "optimizer.params.weight_decay": ("weight_decay", recipe.weight_decay),
        "zero_optimization.stage": ("zero", recipe.zero),
        "zero_optimization.offload_optimizer.device": ("offload", recipe.offload),
        "zero_optimization.offload_param.device": ("offload", recipe.offload if recipe.zero == 3 else "none"),
        "bf16.enabled": ("precision", {"bf16": True, "fp32": False}.get(precision, precision)),
        "fp16.enabled": ("precision", False),
    }
    for dotted, (key, wanted) in owned.items():
        *parents, last = dotted.split(".")
        place = config
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                raise ConfigError(f"{parent} must be a mapping", where=str(path), todo="mend the file")
        said = place.get(last, "auto")
        if said not in ("auto", wanted):
            raise ConfigError(
                f"the file says {dotted}: {json.dumps(said)}, the recipe says {key}: {json.dumps(wanted)}",
                where=str(path),
                todo="make them agree, or drop it from the file: the recipe fills it in",
            )
        place[last] = wanted
    return config
