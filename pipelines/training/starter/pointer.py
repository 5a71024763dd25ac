"""Teaches some heads where to look: pointer losses on their attention.

The generator knows the place that each answer token is copied from, so three kinds of heads can be told:
- in the last layer, look at the place that the next token is copied from;
- in the layer before, look at the place that this token was copied from (from the citation's bracket: the span's end);
- before that, look from any token of a passage at the passage's number, so that the number travels with the text.

Without it, short runs learned what kind of answer a question has, and copied nothing. The idea is that of pointer networks
(Vinyals et al., 2015), here for training alone: the model that ships is a plain Llama.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import LlamaForCausalLM
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from pipelines.training.starter.batches import Batch


@dataclass(frozen=True)
class Told:
    """Heads of one layer, and the field of `Batch` that says where they should look; its weight in the loss."""

    layer: int
    heads: slice
    field: str
    weight: float


TOLD = (
    Told(-1, slice(0, 2), "source", 1.0),
    Told(-2, slice(3, 4), "origin", 0.3),
    Told(-3, slice(3, 4), "number", 0.3),
)


class Pointer:
    """Keeps the queries and keys of the told heads in a forward pass, and scores them."""

    def __init__(self, model: LlamaForCausalLM) -> None:
        self._model = model
        self._kept: dict[tuple[int, str], Tensor] = {}
        for told in TOLD:
            attention = model.model.layers[told.layer].self_attn
            self._watch(attention.q_proj, told, "query", attention.head_dim)
            self._watch(attention.k_proj, told, "key", attention.head_dim)

    def _watch(self, linear: nn.Module, told: Told, name: str, width: int) -> None:
        def keep(_module: nn.Module, _inputs: object, out: Tensor) -> None:
            rows, length, _ = out.shape
            self._kept[told.layer, name] = out.view(rows, length, -1, width)[:, :, told.heads].transpose(1, 2)

        linear.register_forward_hook(keep)

    def losses(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The weighted sum, and that of the last layer alone: mean negative log-probabilities of the places."""
        found = [self._loss(told, batch) for told in TOLD]
        total = torch.stack([told.weight * loss for told, loss in zip(TOLD, found, strict=True)]).sum()
        return total, found[0].detach()

    def _loss(self, told: Told, batch: Batch) -> Tensor:
        query, key = self._kept[told.layer, "query"], self._kept[told.layer, "key"]
        cos, sin = self._model.model.rotary_emb(query, batch.position)
        query, key = apply_rotary_pos_emb(query, key, cos, sin)
        scores = query @ key.mT * query.size(-1) ** -0.5 + batch.mask
        place: Tensor = getattr(batch, told.field)
        wanted = place >= 0
        # (tokens, heads, length), gathered at each token's place.
        chosen = torch.log_softmax(scores.transpose(1, 2)[wanted], -1)
        at = place[wanted][:, None, None].expand(-1, chosen.size(1), 1)
        return -chosen.gather(-1, at).sum() / max(1, at.numel())
