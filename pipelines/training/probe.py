"""Which precision is faster here, by trying: two layers of the base, with random weights, forward and backward in each.

Two layers have the shapes of all of them, and cost a fraction of the time and memory of the whole. bf16 is 1.6 to 3.8 times as fast on
a CPU with AMX or AVX512-BF16, and slower than fp32 on one without, where it is emulated.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from pipelines.config import Recipe
from pipelines.recipe_config import Precision
from pipelines.training import methods
from pipelines.writing import write_json

LAYERS = 2
REPEATS = 3
FILE = "precision.json"

log = logging.getLogger("ratchet.training")


class Probe(BaseModel):
    """`milliseconds` per forward and backward of one micro-batch through `LAYERS` layers; the best of `REPEATS`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    precision: Precision
    asked: str
    milliseconds: dict[str, float] = {}


def decide(work: Path, base: str, recipe: Recipe, device: str, batch: dict[str, Any]) -> Probe:
    """What the recipe says, or the faster. Kept in `work`: a resumed run must not decide anew, for its checkpoints are of one precision."""
    if recipe.precision != "auto":
        return Probe(precision=recipe.precision, asked=recipe.precision)
    if recipe.method == "qlora":
        return Probe(precision="bf16", asked="auto")  # what the 4-bit weights are computed in
    if (known := read(work)) is not None:
        return known
    times = {precision: round(milliseconds(base, recipe, device, precision, batch), 2) for precision in ("fp32", "bf16")}
    faster: Precision = "bf16" if times["bf16"] < times["fp32"] else "fp32"
    log.info("precision %s: fp32 takes %.1f ms, bf16 %.1f ms", faster, times["fp32"], times["bf16"])
    probe = Probe(precision=faster, asked="auto", milliseconds=times)
    write_json(work / FILE, probe.model_dump(mode="json"))
    return probe


def read(work: Path) -> Probe | None:
    """What was decided in this work folder."""
    try:
        return Probe.model_validate_json((work / FILE).read_bytes())
    except (OSError, ValidationError):
        return None


def shallow(base: str, layers: int) -> Any:
    """The base's config with fewer layers."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(base, local_files_only=True)
    shape = config.get_text_config()
    shape.num_hidden_layers = min(layers, shape.num_hidden_layers)
    if getattr(shape, "layer_types", None):
        shape.layer_types = shape.layer_types[: shape.num_hidden_layers]
    return config


def milliseconds(base: str, recipe: Recipe, device: str, precision: str, batch: dict[str, Any]) -> float:
    """Of one forward and backward through `LAYERS` layers; the best of `REPEATS`."""
    import torch
    from transformers import AutoModelForCausalLM

    dtype = torch.bfloat16 if precision == "bf16" and recipe.method != "full" else torch.float32
    model = methods.prepare(AutoModelForCausalLM.from_config(shallow(base, LAYERS), dtype=dtype).to(device), recipe).train()
    moved = {name: tensor.to(device) for name, tensor in batch.items()}
    best = float("inf")
    for _ in range(REPEATS + 1):  # the first one also allocates
        began = time.perf_counter()
        methods.summed_loss(model, moved, methods.autocast(device, precision)).backward()
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - began)
        model.zero_grad(set_to_none=True)
    return best * 1000
