"""Teaches the last layer where to look: a pointer loss on the attention of some of its heads.

The generator knows the place that each answer token is copied from. At the position that predicts the token, the heads
`HEADS` of the last layer should look at that place. Without it, short runs learned what kind of answer a question has, and
copied nothing; the idea is that of pointer networks (Vinyals et al., 2015), here for training alone: the model that ships
is a plain Llama.
"""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import LlamaForCausalLM
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from pipelines.training.starter.batches import Batch

HEADS = 2


class Pointer:
    """Keeps the last layer's queries and keys of a forward pass, and scores them against the known sources."""

    def __init__(self, model: LlamaForCausalLM) -> None:
        self._model = model
        self._kept: dict[str, Tensor] = {}
        attention = model.model.layers[-1].self_attn
        self._width: int = attention.head_dim
        attention.q_proj.register_forward_hook(lambda _module, _input, out: self._keep("query", out))
        attention.k_proj.register_forward_hook(lambda _module, _input, out: self._keep("key", out))

    def _keep(self, name: str, out: Tensor) -> None:
        rows, length, _ = out.shape
        self._kept[name] = out.view(rows, length, -1, self._width)[:, :, :HEADS].transpose(1, 2)

    def loss(self, batch: Batch) -> Tensor:
        """Mean negative log-probability of the sources under the heads' attention."""
        query, key = self._kept["query"], self._kept["key"]
        cos, sin = self._model.model.rotary_emb(query, batch.position)
        query, key = apply_rotary_pos_emb(query, key, cos, sin)
        scores = query @ key.mT * self._width**-0.5 + batch.mask
        wanted = batch.source >= 0
        chosen = torch.log_softmax(scores.transpose(1, 2)[wanted], -1)
        # (tokens, heads, length), gathered at each token's source.
        at = batch.source[wanted][:, None, None].expand(-1, HEADS, 1)
        return -chosen.gather(-1, at).mean()
