"""Attention over packed sequences, an example at a time: what the block-diagonal mask says, without the work that the mask throws away.

With a mask every token is compared with its whole row. Examples of a few hundred tokens in rows of 1024 need a third to a tenth of that,
and a causal block without a mask lets the kernel skip its upper half. For CPUs, where no kernel for sequences of unequal length exists.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

NAME = "ratchet_packed"


def use(model: Any) -> bool:
    """Let a model attend so, where its attention is the plain one; says whether. Position ids must restart at 0 with each example."""
    from transformers import AttentionInterface

    config = model.config.get_text_config()
    if getattr(config, "attn_logit_softcapping", None) is not None or getattr(config, "attention_chunk_size", None) is not None:
        return False
    AttentionInterface.register(NAME, attend)
    model.set_attn_implementation(NAME)
    return True


def attend(
    _module: Any,
    query: Any,
    key: Any,
    value: Any,
    attention_mask: Any,
    scaling: float | None = None,
    dropout: float = 0.0,
    *,
    position_ids: Any = None,
    sliding_window: int | None = None,
    **_: Any,
) -> tuple[Any, None]:
    """query [rows, heads, tokens, size], key and value [rows, their heads, tokens, size]; gives [rows, tokens, heads, size], no weights.

    RuntimeError where it is called with a mask or a cache, or without position ids: then it would mix up texts.
    """
    import torch

    if attention_mask is not None or position_ids is None or key.shape[2] != query.shape[2]:
        raise RuntimeError("packed attention takes position ids, and neither mask nor cache")
    rows, _, length, _ = query.shape
    starts = position_ids.expand(rows, length) == 0
    starts[:, 0] = True
    out = torch.empty_like(query)
    for row, marks in enumerate(starts):
        begins = [*marks.nonzero().flatten().tolist(), length]
        for begin, end in pairwise(begins):
            where = slice(row, row + 1), slice(None), slice(begin, end)
            near = None if sliding_window is None or end - begin <= sliding_window else _band(end - begin, sliding_window, query.device)
            out[where] = torch.nn.functional.scaled_dot_product_attention(
                query[where],
                key[where],
                value[where],
                attn_mask=near,
                dropout_p=dropout,
                is_causal=near is None,
                scale=scaling,
                enable_gqa=key.shape[1] != query.shape[1],
            )
    return out.transpose(1, 2).contiguous(), None


def _band(length: int, window: int, device: Any) -> Any:
    """Each token sees itself and the `window - 1` before it."""
    import torch

    ones = torch.ones(length, length, dtype=torch.bool, device=device)
    return ones.tril() & ones.triu(1 - window)
