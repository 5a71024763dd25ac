"""The key-value cache of a running batch: rows come and go while the others go on.

All rows end at the same column, so that one step writes one column; a shorter row has empty columns before it, which the mask hides.
Buffers have room to grow: a step writes in place, where transformers' own cache copies everything for every token.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer

SPARE = 128
"""Columns to grow into: a buffer is copied once in so many tokens."""


class Layer(DynamicLayer):  # type: ignore[misc, unused-ignore]
    """Keys and values of one layer, [rows, heads, columns, width of a head]."""

    def __init__(self, rows: Rows) -> None:
        super().__init__()
        self.rows = rows
        self.is_initialized = True

    def update(self, key_states: Any, value_states: Any, *_: Any, **__: Any) -> tuple[Any, Any]:
        """Write the column of this step; keys and values of all columns in use, as views."""
        rows = self.rows
        for buffer, fresh in ((self.keys, key_states), (self.values, value_states)):
            buffer[: rows.count, :, rows.end : rows.end + 1] = fresh
        return tuple(buffer[: rows.count, :, rows.start : rows.end + 1] for buffer in (self.keys, self.values))

    def get_seq_length(self, *_: Any) -> int:
        """Columns in use before this step."""
        return self.rows.end - self.rows.start

    def get_mask_sizes(self, query: Any) -> tuple[int, int]:
        """(columns with this step's, offset). Some versions of transformers give positions for the number of queries."""
        return self.get_seq_length() + (query if isinstance(query, int) else query.shape[0]), 0


class Rows:
    """The rows of a batch. `first` holds each row's first column, [rows], on the device and, as `firsts`, on the host."""

    def __init__(self) -> None:
        self.count = self.start = self.end = 0
        self.rows = self.columns = 0
        self.firsts: list[int] = []
        self.cache: Any = None

    def adopt(self, prefilled: Any, lengths: list[int], pads: Any) -> None:
        """Take the rows of a prefilled batch, left-padded to its longest. `pads` [rows, width] is true where there is no token."""
        width = max(lengths)
        if self.cache is None:
            self.cache = DynamicCache()
            self.cache.layers = [Layer(self) for _ in prefilled.layers]
        if not self.count:
            self.start = self.end = width if width < self.columns else 0
        if self.count + len(lengths) > self.rows or width > self.end or self.end >= self.columns:
            self._move(prefilled, self.count + len(lengths), max(width, self.end - self.start))
        into, columns = slice(self.count, self.count + len(lengths)), slice(self.end - width, self.end)
        hidden = pads[:, None, :, None] if len(set(lengths)) > 1 else None
        for layer, source in zip(self.cache.layers, prefilled.layers, strict=True):
            for buffer, fresh in ((layer.keys, source.keys), (layer.values, source.values)):
                # What padding left there may be anything, and nothing times infinity is no number.
                buffer[into, :, columns] = fresh if hidden is None else fresh.masked_fill(hidden, 0)
        self.count += len(lengths)
        self.firsts += [self.end - length for length in lengths]
        self.start = min(self.firsts)

    def before_step(self) -> None:
        """Make sure there is a column to write."""
        if self.end >= self.columns:
            self._move(self.cache, self.rows, self.end - self.start)

    def after_step(self) -> None:
        """The column was written."""
        self.end += 1

    def drop(self, places: list[int]) -> None:
        """Remove rows. The last row takes a removed one's place: callers who keep lists of their own do the same, highest place first."""
        for place in sorted(places, reverse=True):
            last = self.count - 1
            for layer in self.cache.layers:
                for buffer in (layer.keys, layer.values):
                    if place != last:
                        buffer[place, :, self.start : self.end] = buffer[last, :, self.start : self.end]
                    buffer[last, :, self.start : self.end] = 0
            self.firsts[place] = self.firsts[last]
            self.firsts.pop()
            self.count = last
        self.start = min(self.firsts, default=self.end)

    def _move(self, source: Any, rows: int, width: int) -> None:
        """Into larger buffers, the columns in use at their left."""
        self.rows = self.rows if rows <= self.rows else max(rows, 2 * self.rows)
        self.columns = width + SPARE
        used, shift = self.end - self.start, width - self.end
        for layer, like in zip(self.cache.layers, source.layers, strict=True):
            for name in ("keys", "values"):
                shape = getattr(like, name).shape
                fresh = torch.zeros(
                    (self.rows, shape[1], self.columns, shape[3]), dtype=getattr(like, name).dtype, device=getattr(like, name).device
                )
                if self.count:
                    fresh[: self.count, :, width - used : width] = getattr(layer, name)[: self.count, :, self.start : self.end]
                setattr(layer, name, fresh)
        self.firsts = [first + shift for first in self.firsts]
        self.start, self.end = width - used, width
