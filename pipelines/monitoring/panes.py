"""Sliding windows out of panes: the log is gone through once, into steps that do not overlap, and every window is the sum of its steps.

Li, Maier, Tufte, Papadimos and Tucker, "No pane, no gain" (SIGMOD Record 34, 2005). Counts and means come out exactly as if each window had
been counted by itself: what is added up are whole numbers (of figures with a fraction, millionths), so neither the order of the records
nor that of the panes changes a digit. Quantiles come from histograms that can be added: DDSketch (Masson, Rim and Lee, VLDB 2019) with a
relative error of 1 %.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

GAMMA = 1.01 / 0.99
"""Of the histogram's bins, each that much wider than the one before: (1 + e) / (1 - e) for an error e of 1 %."""
MICRO = 1_000_000
LEAST_MS = 0.001
"""What took no time is counted as this: the logarithm of 0 is none."""
_CELLS = 4_000_000
"""Figures of a histogram that are held at once."""


@dataclass(frozen=True, slots=True)
class Plan:
    """`count` windows of `width` panes each, a new one every `step` panes, the first from `begin` on; a pane is `pane` microseconds."""

    begin: datetime
    pane: int
    width: int
    step: int
    count: int

    @property
    def panes(self) -> int:
        """From the first window's begin to the last one's end."""
        return (self.count - 1) * self.step + self.width if self.count else 0

    @property
    def end(self) -> datetime:
        """Of the last window."""
        return self.begin + timedelta(microseconds=self.pane * self.panes)

    @property
    def seconds(self) -> float:
        """Of a window."""
        return self.pane * self.width / MICRO

    def begins(self, window: int) -> datetime:
        """When the n-th window, from 0, begins."""
        return self.begin + timedelta(microseconds=self.pane * self.step * window)


def plan(begin: datetime, end: datetime, seconds: float, every: float) -> Plan:
    """The windows of `seconds`, one every `every` seconds, that lie whole between `begin` and `end`. Both are taken to the millisecond."""
    width, step = (max(round(one * 1000), 1) * 1000 for one in (seconds, every))
    room = (end - begin) // timedelta(microseconds=1) - width
    pane = math.gcd(width, step)
    return Plan(begin, pane, width // pane, step // pane, room // step + 1 if room >= 0 else 0)


def slide(panes: Any, made: Plan) -> Any:
    """Sums over each window, int64 (windows, ...), of whole numbers by pane, int64 (panes, ...)."""
    import numpy as np

    total = np.zeros((len(panes) + 1, *panes.shape[1:]), dtype=np.int64)
    np.cumsum(panes, axis=0, out=total[1:])
    first = np.arange(made.count) * made.step
    return total[first + made.width] - total[first]


def bin_sql(column: str) -> str:
    """The number of the bin that a column's value falls into, a small integer for values up to 10^9."""
    return f"try_cast(ceil(ln(greatest({column}, {LEAST_MS})) / {math.log(GAMMA)!r}) AS SMALLINT)"


def quantiles(pane: Any, number: Any, levels: tuple[float, ...], made: Plan) -> Any:
    """Quantiles of each window, float (windows, levels), NaN where nothing was counted.

    `pane`, in rising order, and `number`: of every value the pane that it is of, and its bin. The q-quantile is the smallest value that at
    least a share q of the values do not exceed, within 1 % of it.
    """
    import numpy as np

    found = np.full((made.count, len(levels)), np.nan)
    if not len(pane):
        return found
    bins, column = np.unique(number, return_inverse=True)
    values = 2.0 * GAMMA ** bins.astype(np.float64) / (GAMMA + 1.0)
    for first, last in _pieces(len(bins), made):
        begin = first * made.step
        length = (last - first - 1) * made.step + made.width
        low, high = np.searchsorted(pane, (begin, begin + length))
        at = (pane[low:high] - begin) * len(bins) + column[low:high]
        held = np.bincount(at, minlength=length * len(bins)).reshape(length, len(bins))
        part = Plan(made.begin, made.pane, made.width, made.step, last - first)
        below = np.cumsum(slide(held, part), axis=1)
        total = below[:, -1]
        for k, level in enumerate(levels):
            # A hair less: 0.95 * 20 is 19 and not what floating point makes of it.
            rank = np.maximum(np.ceil(level * total - 1e-9), 1)
            where = (below >= rank[:, None]).argmax(axis=1)
            found[first:last, k] = np.where(total > 0, values[where], np.nan)
    return found


def _pieces(bins: int, made: Plan) -> Iterator[tuple[int, int]]:
    at_once = max(_CELLS // max(bins * made.step, 1), made.width // made.step, 1)
    for first in range(0, made.count, at_once):
        yield first, min(first + at_once, made.count)
