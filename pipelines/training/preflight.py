"""What a training will take, before anything is spent: memory by its parts and time by its operations, against what this host has.

Memory of weights, gradients and optimiser states is arithmetic over the parameters (Rajbhandari et al. 2020, ZeRO, section 3: with Adam
a learning parameter costs 4 + 4 bytes of moments and 4 of its fp32 self beside its gradient; stages 1, 2, 3 share out moments, gradients,
weights). Activations are counted, not guessed: one and two layers of this very model run forward on fake tensors, which have shapes but no
memory, and what autograd would keep for the backward pass is added up.

Operations: 6 per weight and token where every weight learns, 4 where they are frozen (no gradient of the weights; Kaplan et al. 2020,
arXiv 2001.08361, section 2.1: 2 forward, 4 backward), 2 more for recomputing under gradient checkpointing. Attention's own, quadratic in
the length of an example, are left out: packed examples are short. The speed is that of the precision probe on this hardware.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from pipelines.config import Recipe
from pipelines.errors import BadInput
from pipelines.training import base_model, methods, probe
from pipelines.training.training_set import IGNORED, OFFLINE

GB = 1e9
LEARNED_SHARE = 0.1
"""Of the tokens, assumed where no training set is at hand: the loss is on answers only."""

ALLOWANCE = 0.10
"""For what allocators round up and files mapped into memory: docs/measurements.md has estimates beside peaks."""


class Part(BaseModel):
    """Memory of one kind, with the arithmetic in words."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    what: str
    bytes: float
    because: str


class Sizes(BaseModel):
    """Parameters: all, those that learn, those of the embedding (which cost memory but no operations)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    parameters: int
    learning: int
    embedding: int


class Estimate(BaseModel):
    """Of one device: a GPU with one rank on it, or this host with all of them. `seconds` is None where nothing was timed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    device: str
    parts: tuple[Part, ...]
    capacity: float
    precision: str
    steps: int | None
    flops_per_step: float
    seconds: float | None

    @property
    def total(self) -> float:
        """Bytes."""
        return sum(part.bytes for part in self.parts)

    @property
    def fits(self) -> bool:
        return self.total <= self.capacity

    def arithmetic(self) -> str:
        """On one line, for an error message."""
        return " + ".join(f"{part.bytes / GB:.2f} {part.what}" for part in self.parts) + f" = {self.total / GB:.2f} GB"


def require_fit(estimate: Estimate) -> None:
    """BadInput, with the arithmetic, when it does not fit."""
    if not estimate.fits:
        raise BadInput(
            f"this training needs {estimate.arithmetic()}, and {estimate.device} has {estimate.capacity / GB:.2f} GB",
            where="recipe",
            todo="gradient_checkpointing: true, more accumulate, fewer batch_sequences or sequence_tokens, ZeRO over more ranks, or qlora",
        )


def estimate(
    base: str, recipe: Recipe, *, sequences: int | None = None, learned_share: float = LEARNED_SHARE, timed: bool = True
) -> Estimate:
    """What `recipe` on `base` takes on this host. `sequences`: of the training set, where there is one. BadInput for what cannot run."""
    os.environ.update(OFFLINE)
    import torch

    base_model.check(base)
    cuda = torch.cuda.is_available()
    if recipe.method == "qlora":
        methods.four_bit("cuda" if cuda else "cpu")
    times = _times(base, recipe, "cuda" if cuda else "cpu", learned_share) if timed else {}
    precision = recipe.precision if recipe.precision != "auto" else min(times, key=lambda name: times[name]) if times else "fp32"
    sizes, layers, shallow_sizes = measure(base, recipe)
    parts = _state(sizes, recipe, precision)
    parts.append(_activations(base, recipe, precision, layers, learned_share))
    if not cuda:
        parts = [part.model_copy(update={"bytes": part.bytes * recipe.ranks}) for part in parts]
        parts.append(Part(what="Python and libraries", bytes=_resident() * recipe.ranks, because=f"measured now, x {recipe.ranks} ranks"))
    sum_of_parts = sum(part.bytes for part in parts)
    parts.append(Part(what="allowance", bytes=ALLOWANCE * sum_of_parts, because=f"{ALLOWANCE:.0%}: measured short by 7 to 9 %"))
    steps = recipe.steps if sequences is None else recipe.total_steps(sequences)
    per_step = flops(sizes, recipe) * recipe.batch_sequences * recipe.sequence_tokens
    seconds = None
    if steps is not None and precision in times:
        probed = flops(shallow_sizes, recipe.model_copy(update={"gradient_checkpointing": False}))
        speed = probed * recipe.micro_sequences * recipe.sequence_tokens / (times[precision] / 1000)
        seconds = steps * per_step / (speed * (recipe.ranks if cuda else 1))
    return Estimate(
        device=torch.cuda.get_device_name(0) if cuda else "this host",
        parts=tuple(parts),
        capacity=capacity(),
        precision=precision,
        steps=steps,
        flops_per_step=per_step,
        seconds=seconds,
    )


def flops(sizes: Sizes, recipe: Recipe) -> float:
    """Per token."""
    dense = sizes.parameters - sizes.embedding
    frozen = dense - sizes.learning if recipe.method != "full" else 0
    again = 2 * dense if recipe.gradient_checkpointing else 0
    return 4.0 * frozen + 6.0 * (dense - frozen) + again


def measure(base: str, recipe: Recipe) -> tuple[Sizes, int, Sizes]:
    """(sizes of the model, its number of layers, sizes of `probe.LAYERS` layers of it), without its weights."""
    from transformers import AutoConfig

    layers = int(AutoConfig.from_pretrained(base, local_files_only=True).get_text_config().num_hidden_layers)
    one, two = (_sizes(base, recipe, count) for count in (1, 2))
    grown = {name: getattr(one, name) + (layers - 1) * (getattr(two, name) - getattr(one, name)) for name in Sizes.model_fields}
    return Sizes(**grown), layers, two if layers > 1 else one


def capacity() -> float:
    """Bytes that a training may have: of the GPU, else what the host has available, or the control group allows if that is less."""
    import torch

    if torch.cuda.is_available():
        return float(torch.cuda.get_device_properties(0).total_memory)
    lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    available = next(float(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    with suppress(OSError, ValueError):
        allowed = float(Path("/sys/fs/cgroup/memory.max").read_text(encoding="utf-8"))
        used = float(Path("/sys/fs/cgroup/memory.current").read_text(encoding="utf-8"))
        available = min(available, allowed - used)
    return available


# --- the parts ----------------------------------------------------------------------------------------------------------


def _state(sizes: Sizes, recipe: Recipe, precision: str) -> list[Part]:
    """Weights, gradients and optimiser states of one rank on its device."""
    frozen, learning, ranks = sizes.parameters - sizes.learning, sizes.learning, recipe.ranks
    half = precision == "bf16"
    wide = 0.55 if recipe.method == "qlora" else 2.0 if half else 4.0  # 4 bits and the scales of blocks of 64, themselves in 8 bits
    share = {stage: ranks if recipe.zero >= stage else 1 for stage in (1, 2, 3)}
    over = {stage: f" / {ranks} ranks" if share[stage] > 1 else "" for stage in share}
    learns = 2.0 if half and recipe.distributed else 4.0
    master = 4.0 if half and recipe.distributed else 0.0
    away = recipe.offload == "cpu"
    parts = [
        Part(what="frozen weights", bytes=frozen * wide / share[3], because=f"{frozen:,} x {wide:g} B{over[3]}"),
        Part(what="learning weights", bytes=learning * learns / share[3], because=f"{learning:,} x {learns:g} B{over[3]}"),
        Part(what="gradients", bytes=learning * learns / share[2], because=f"{learning:,} x {learns:g} B{over[2]}"),
        Part(what="Adam", bytes=learning * (8 + master) / share[1], because=f"{learning:,} x {8 + master:g} B{over[1]}"),
    ]
    import torch

    if away and torch.cuda.is_available():  # on the host's memory, not the device's
        parts = [part for part in parts if part.what == "gradients" or (part.what != "Adam" and recipe.zero < 3)]
    return [part for part in parts if part.bytes]


def _activations(base: str, recipe: Recipe, precision: str, layers: int, learned_share: float) -> Part:
    one, two = (_kept(base, recipe, precision, count, learned_share) for count in (1, 2))
    whole = two - one if layers > 1 else 0.0
    if recipe.gradient_checkpointing:
        kept = [
            _kept(base, recipe.model_copy(update={"gradient_checkpointing": False}), precision, count, learned_share) for count in (1, 2)
        ]
        workspace = kept[1] - kept[0]
    else:
        workspace = whole
    tokens = recipe.micro_sequences * recipe.sequence_tokens
    because = f"{tokens:,} tokens at once: {layers} x {whole / GB:.4f}, ends {(one - whole) / GB:.4f}, backward {workspace / GB:.4f} GB"
    return Part(what="activations", bytes=one + whole * (layers - 1) + workspace, because=because)


def _kept(base: str, recipe: Recipe, precision: str, layers: int, learned_share: float) -> float:
    """Bytes that autograd keeps between forward and backward, and twice the logits, for the gradient of the loss."""
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode

    seen: dict[int, int] = {}

    def pack(tensor: Any) -> Any:
        storage = tensor.untyped_storage()
        seen.setdefault(storage._cdata, storage.nbytes())
        return tensor

    length, size = recipe.sequence_tokens, recipe.micro_sequences
    model = _model(base, recipe, precision, layers).train()
    named = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
    with FakeTensorMode():
        made: dict[int, Any] = {}
        for _, tensor in named:
            made.setdefault(id(tensor), torch.empty(tensor.shape, dtype=tensor.dtype, requires_grad=tensor.requires_grad))
        values = {name: made[id(tensor)] for name, tensor in named}
        weights = {tensor.untyped_storage()._cdata for tensor in values.values()}
        ids = torch.zeros(size, length, dtype=torch.long)
        mask = torch.ones(size, 1, length, length, dtype=torch.bool)  # as packing makes it
        keep = max(1, round(length * learned_share))
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor), methods.autocast("cpu", precision):
            given = {"input_ids": ids, "attention_mask": mask, "logits_to_keep": keep, "use_cache": False}
            logits = torch.func.functional_call(model, values, kwargs=given).logits
            loss = torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), ids[:, :keep].flatten(), reduction="sum")
        ends = 2 * 4 * logits.numel()
        kept = sum(count for storage, count in seen.items() if storage not in weights)
        del loss
    return float(kept + ends)


def _sizes(base: str, recipe: Recipe, layers: int) -> Sizes:
    model = _model(base, recipe, "fp32", layers)
    embedding = model.get_input_embeddings().weight
    head = model.get_output_embeddings()
    tied = head is not None and head.weight is embedding
    return Sizes(
        parameters=sum(p.numel() for p in model.parameters()),
        learning=sum(p.numel() for p in model.parameters() if p.requires_grad),
        embedding=0 if tied else embedding.numel(),
    )


def _model(base: str, recipe: Recipe, precision: str, layers: int) -> Any:
    """On the meta device: shapes without memory."""
    import torch
    from transformers import AutoModelForCausalLM

    dtype = torch.bfloat16 if precision == "bf16" and recipe.method != "full" else torch.float32
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(probe.shallow(base, layers), dtype=dtype)
        return methods.prepare(model, recipe.model_copy(update={"method": "lora"}) if recipe.method == "qlora" else recipe)


def _times(base: str, recipe: Recipe, device: str, learned_share: float) -> dict[str, float]:
    """Milliseconds of the precision probe, on invented rows of the recipe's shape."""
    import torch

    shape = (recipe.micro_sequences, recipe.sequence_tokens)
    labels = torch.full(shape, IGNORED)
    labels[:, : max(2, round(shape[1] * learned_share))] = 1
    batch = {"input_ids": torch.ones(shape).long(), "labels": labels, "position_ids": torch.arange(shape[1]).expand(shape)}
    wanted = ("fp32", "bf16") if recipe.precision == "auto" else (recipe.precision,)
    return {precision: probe.milliseconds(base, recipe, device, precision, batch) for precision in wanted}


def _resident() -> float:
    """Bytes of this process now, which has imported what a training imports."""
    import psutil

    return float(psutil.Process().memory_info().rss)
