"""A running batch: prompts join it, every step writes one token for each row, rows leave when they are done.

Greedy. One transfer from the device to the host per step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers.cache_utils import DynamicCache

from pipelines.serving.engine.cache import Rows

Token = tuple[int, float]
"""A token id and its log-probability."""
PREFILL = 8192
"""Prompt tokens, padding included, that one prefill computes at most: the running rows wait for it."""
WASTE = 1.25
"""A prefill's tokens with padding, over those without, at most."""


class Batch:
    """The rows that one module tree decodes together. `select`, told the adapter of each row, makes the tree use them."""

    def __init__(self, model: Any, pad: int, select: Any = None) -> None:
        self.model, self.pad, self._select = model, pad, select
        self.device = next(model.parameters()).device
        # A mask made here spares transformers' own, which asks the device a question each step. It knows no window.
        config = model.config
        whole = set(getattr(config, "layer_types", None) or ["full_attention"]) == {"full_attention"}
        self._plain = whole and getattr(config, "_attn_implementation", "") == "sdpa" and not getattr(config, "sliding_window", None)
        self.clear()

    def clear(self) -> None:
        """Forget all rows."""
        self.torn = False
        """Whether a fault came while rows were being added: what the batch holds is then worth nothing."""
        self.rows = Rows()
        self.adapters: list[int] = []
        self._feed: Any = None
        self._places: Any = None
        self._first: Any = None
        self._columns: Any = None

    def __len__(self) -> int:
        return len(self.adapters)

    @torch.inference_mode()  # type: ignore[untyped-decorator]
    def join(self, prompts: Sequence[Sequence[int]], adapters: Sequence[int]) -> list[Token]:
        """Compute the prompts and add them as the last rows; the first token of each. `adapters`: numbers that `select` knows."""
        lengths = [len(prompt) for prompt in prompts]
        width = max(lengths)
        ids = torch.tensor([[self.pad] * (width - len(prompt)) + list(prompt) for prompt in prompts], device=self.device)
        padded = min(lengths) < width
        lacking = torch.tensor([width - length for length in lengths], device=self.device)
        columns = torch.arange(width, device=self.device)
        places = (columns[None] - lacking[:, None]).clamp(min=0)
        pads = columns[None] < lacking[:, None]
        if self._select is not None:
            self._select(adapters)
        cache = DynamicCache()
        tokens, feed = self._forward(ids, (~pads).long() if padded else None, places, cache)
        self.torn = True
        self.rows.adopt(cache, lengths, pads)
        self.adapters += adapters
        self._feed = feed if self._feed is None else torch.cat([self._feed, feed])
        last = places[:, -1] + 1
        self._places = last if self._places is None else torch.cat([self._places, last])
        self._changed()
        self.torn = False
        return tokens

    @torch.inference_mode()  # type: ignore[untyped-decorator]
    def step(self) -> list[Token]:
        """The next token of each row, in the rows' order."""
        columns = self.rows.columns
        self.rows.before_step()
        if columns != self.rows.columns:
            self._changed()
        firsts, start, end = self.rows.firsts, self.rows.start, self.rows.end
        mask = None
        if min(firsts) < max(firsts):
            mask = self._columns[start : end + 1][None] >= self._first[:, None]
            mask = mask[:, None, None] if self._plain else mask.long()
        tokens, self._feed = self._forward(self._feed[:, None], mask, self._places[:, None], self.rows.cache)
        self.rows.after_step()
        self._places = self._places + 1
        return tokens

    @torch.inference_mode()  # type: ignore[untyped-decorator]
    def drop(self, places: Sequence[int]) -> None:
        """Remove rows; the last takes a removed one's place, the highest place first."""
        if len(places) == len(self):
            # Nothing to move, and whatever the rows held is forgotten with them.
            self.clear()
            return
        order = list(range(len(self)))
        for place in sorted(places, reverse=True):
            order[place] = order[-1]
            order.pop()
        self.rows.drop(list(places))
        self.adapters = [self.adapters[place] for place in order]
        chosen = torch.tensor(order, device=self.device)
        self._feed, self._places = self._feed[chosen], self._places[chosen]
        self._changed()

    def _forward(self, ids: Any, mask: Any, places: Any, cache: Any) -> tuple[list[Token], Any]:
        out = self.model(input_ids=ids, attention_mask=mask, position_ids=places, past_key_values=cache, use_cache=True, logits_to_keep=1)
        best, token = torch.log_softmax(out.logits[:, -1].float(), -1).max(-1)
        # Token ids stay exact in float32: no vocabulary has 2**24.
        numbers, logs = torch.stack([token.float(), best]).tolist()
        return list(zip(map(int, numbers), logs, strict=True)), token

    def _changed(self) -> None:
        """After rows came, went or moved."""
        self._first = torch.tensor(self.rows.firsts, device=self.device)
        self._columns = torch.arange(self.rows.columns, device=self.device)
        if self._select is not None:
            self._select(self.adapters)


def portions(lengths: Sequence[int]) -> list[list[int]]:
    """Places of prompts, in groups that are prefilled together: of like length, and not too many tokens."""
    groups: list[list[int]] = []
    total = 0
    for place in sorted(range(len(lengths)), key=lengths.__getitem__):
        padded = lengths[place] * (len(groups[-1]) + 1) if groups else 0
        if groups and padded <= PREFILL and padded <= WASTE * (total + lengths[place]):
            groups[-1].append(place)
            total += lengths[place]
        else:
            groups.append([place])
            total = lengths[place]
    return groups
