"""LoRA adapters of one base side by side: each row of a batch uses its own.

The adapters of a linear layer are stacked, A [adapters * rank, in] and B [out, adapters * rank], and a row is multiplied with all of them
at once, with zeros in between for those that are not its own: three operations whatever the number of adapters. What Punica (Chen et al.,
2023, arXiv:2310.18547) and S-LoRA (Sheng et al., 2023, arXiv:2311.03285) gather in a kernel of their own is here two ordinary products,
which any device has; it costs little while adapters * rank stays below the layer's own width. Ranks are padded to the largest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

NONE = -1
"""The number of no adapter."""


@dataclass
class Chosen:
    """What the next forward pass uses: nothing, one adapter for all rows (`one`), or `mask` [rows, 1, width] over the columns `columns`
    of the stack (None: all of them)."""

    one: slice | None = None
    mask: Any = None
    columns: Any = None


class LoraLinear(nn.Linear):  # type: ignore[misc]
    """A linear layer of the base that knows its stack. A layer becomes one by its class alone: it stays the same object."""

    chosen: Chosen
    stack_a: Any
    stack_b: Any

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        """[..., in] -> [..., out]."""
        out = nn.functional.linear(given, self.weight, self.bias)
        chosen = self.chosen
        if chosen.one is not None:
            narrow = nn.functional.linear(given, self.stack_a[chosen.one])
            return out + nn.functional.linear(narrow, self.stack_b[:, chosen.one])
        if chosen.mask is None:
            return out
        first, second = self.stack_a, self.stack_b
        if chosen.columns is not None:
            first, second = first.index_select(0, chosen.columns), second.index_select(1, chosen.columns)
        return out + nn.functional.linear(nn.functional.linear(given, first) * chosen.mask, second)


class Stacks:
    """The adapters installed on a base. Only the thread that runs the base may call it."""

    def __init__(self, base: Any) -> None:
        self.base = base
        self.layers: dict[str, Any] = {}
        self.chosen = Chosen()
        self.places = self.rank = 0
        self._free: list[int] = []
        parameter = next(base.parameters())
        self._dtype, self._device = parameter.dtype, parameter.device

    def install(self, pairs: Mapping[str, tuple[Any, Any]]) -> int:
        """Put an adapter beside the others; returns its number. `pairs`: layer -> (A [rank, in], B [out, rank], scaled)."""
        rank = max(first.shape[0] for first, _ in pairs.values())
        if not self._free or rank > self.rank:
            self._grow(self.places + (0 if self._free else max(1, self.places)), max(rank, self.rank))
        for name in pairs.keys() - self.layers.keys():
            self._wrap(name)
        number = self._free.pop(0)
        for name, (first, second) in pairs.items():
            layer, begin = self.layers[name], number * self.rank
            layer.stack_a[begin : begin + first.shape[0]] = first
            layer.stack_b[:, begin : begin + first.shape[0]] = second
        return number

    def remove(self, number: int) -> None:
        """Forget an adapter that no row uses. Its place is zeros for the next, which may touch other layers or be narrower."""
        own = slice(number * self.rank, (number + 1) * self.rank)
        for layer in self.layers.values():
            layer.stack_a[own] = 0
            layer.stack_b[:, own] = 0
        self._free.append(number)

    def select(self, numbers: Sequence[int]) -> None:
        """The adapter of each row from now on; NONE for a row that has none."""
        used = sorted(set(numbers) - {NONE})
        chosen = self.chosen
        chosen.one = chosen.mask = chosen.columns = None
        if not used:
            return
        if len(set(numbers)) == 1:
            chosen.one = slice(used[0] * self.rank, (used[0] + 1) * self.rank)
            return
        few = 2 * len(used) <= self.places
        order = used if few else list(range(self.places))
        own = torch.tensor([[float(number == each) for each in order] for number in numbers], device=self._device, dtype=self._dtype)
        chosen.mask = own.repeat_interleave(self.rank, 1)[:, None]
        if few:
            wanted = torch.tensor(order, device=self._device)[:, None] * self.rank + torch.arange(self.rank, device=self._device)
            chosen.columns = wanted.reshape(-1)

    def _wrap(self, name: str) -> None:
        layer = self.base.get_submodule(name)
        layer.chosen = self.chosen
        layer.stack_a = torch.zeros(self.places * self.rank, layer.in_features, dtype=self._dtype, device=self._device)
        layer.stack_b = torch.zeros(layer.out_features, self.places * self.rank, dtype=self._dtype, device=self._device)
        layer.__class__ = LoraLinear
        self.layers[name] = layer

    def _grow(self, places: int, rank: int) -> None:
        for layer in self.layers.values():
            first = layer.stack_a.view(self.places, self.rank, -1)
            second = layer.stack_b.view(layer.stack_b.shape[0], self.places, self.rank)
            wider_a = first.new_zeros(places, rank, first.shape[2])
            wider_a[: self.places, : self.rank] = first
            wider_b = second.new_zeros(second.shape[0], places, rank)
            wider_b[:, : self.places, : self.rank] = second
            layer.stack_a, layer.stack_b = wider_a.view(places * rank, -1), wider_b.view(second.shape[0], -1)
        self._free += range(self.places, places)
        self.places, self.rank = places, rank
