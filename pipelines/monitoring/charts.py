"""Plots over time as SVG for the monitoring page: no script, no style of their own, every colour a class of the page's style sheet.

Matplotlib draws, by its object interface and SVG backend; `plain_svg` makes of it what a strict content policy lets through.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Literal

from pipelines.monitoring import plain_svg
from pipelines.monitoring.plain_svg import CLASSES, INK

Unit = Literal["count", "share", "ms", "tokens", "money", "value"]
WIDTH, HEIGHT = plain_svg.SIZE
LINES = 6
"""More in one plot are not told apart: the page shows those with the most requests."""
JOINED = 12
_BRIM = 5.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 48.0, 6.0, 16.0, 18.0
_TEXT = 10.5
_NEAR = 24.0
"""Pixels between two labels on the time axis that do not run into one another."""
_RENDERING = threading.Lock()


@dataclass(frozen=True, slots=True)
class Line:
    """One value per window; None where nothing was measured."""

    name: str
    values: Sequence[float | None]


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that changed: a release went live, one was taken back, a canary got a share."""

    at: datetime
    label: str
    kind: Literal["release", "revert", "canary"]
    says: str
    href: str = "#change-1"


@dataclass(frozen=True, slots=True)
class Band:
    """A time in which something was wrong."""

    begin: datetime
    end: datetime
    says: str
    href: str


@dataclass(frozen=True, slots=True)
class Chart:
    """One plot: windows of `seconds` from `begin` on, a value of each line and a link for each."""

    name: str
    title: str
    unit: Unit
    begin: datetime
    seconds: float
    lines: Sequence[Line]
    links: Sequence[str] = ()
    marks: Sequence[Mark] = ()
    bands: Sequence[Band] = ()
    bars: bool = False
    zero: bool = True
    """Whether the axis begins at nought."""
    sparse: bool = False
    """Measured now and then only: values that are no more than `JOINED` windows apart are one line."""

    @property
    def count(self) -> int:
        """Windows."""
        return max((len(line.values) for line in self.lines), default=0)

    @property
    def end(self) -> datetime:
        """Of the last window."""
        return self.begin + timedelta(seconds=self.seconds * self.count)

    @property
    def empty(self) -> bool:
        """Nothing was measured in the whole time."""
        return not any(value is not None for line in self.lines for value in line.values)


def shown(value: float | None, unit: Unit) -> str:
    """A figure as people read it: `4.2 %`, `1.3 s`, `12 k`."""
    if value is None:
        return "–"
    if unit == "share":
        return f"{100 * value:.3g} %" if abs(value) < 0.995 else f"{100 * value:.0f} %"
    if unit == "ms":
        return f"{value / 1000:.3g} s" if abs(value) >= 1000 else f"{value:.3g} ms"
    if unit in ("count", "tokens"):
        return f"{value / 1e6:.3g} M" if abs(value) >= 1e6 else f"{value / 1e3:.3g} k" if abs(value) >= 1e4 else f"{value:.4g}"
    return f"{value:.3g}"


def summary(chart: Chart) -> str:
    """The plot in words, a sentence per line: the last value, the middle one, and the highest with its time."""
    said = []
    for line in chart.lines:
        seen = [(value, place) for place, value in enumerate(line.values) if value is not None]
        if not seen:
            continue
        ordered = sorted(value for value, _ in seen)
        high, place = max(seen)
        at = chart.begin + timedelta(seconds=chart.seconds * place)
        last, middle = shown(seen[-1][0], chart.unit), shown(ordered[len(ordered) // 2], chart.unit)
        said.append(f"{line.name}: {last} last, {middle} in the middle, {shown(high, chart.unit)} at most ({at:%d %b %H:%M}).")
    return " ".join(said) or "Nothing was measured in this time."


def svg(chart: Chart) -> str:
    """The plot as an `<svg>` element, about 20 kB for a hundred windows. Links are not stops of the Tab key: the page's table has them."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH / 72, HEIGHT / 72), dpi=72)
    FigureCanvasSVG(figure)
    figure.patch.set_visible(False)
    box = (_LEFT / WIDTH, _BOTTOM / HEIGHT, 1 - (_LEFT + _RIGHT) / WIDTH, 1 - (_TOP + _BOTTOM) / HEIGHT)
    axes = figure.add_axes(box)
    axes.set_axis_off()
    last = max(chart.count, 1) * chart.seconds
    low, high, ticks = _scale(chart)
    axes.set_xlim(0, last)
    axes.set_ylim(low, high)
    titles = _behind(axes, chart, last, low, high)
    _frame(axes, chart, last, low, ticks)
    _lines(axes, chart, low)
    titles |= _before(axes, chart, last, low, high)
    out = io.StringIO()
    with _RENDERING, rc_context({"svg.fonttype": "none", "path.simplify": False}):  # rcParams are the process's
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return plain_svg.stripped(out.getvalue(), chart.name, chart.title, summary(chart), titles, _columns(chart))


# --- drawing ----------------------------------------------------------------------------------------------------------


def _behind(axes: Any, chart: Chart, last: float, low: float, high: float) -> dict[str, str]:
    from matplotlib.collections import PolyCollection

    spans = [
        (max((band.begin - chart.begin).total_seconds(), 0.0), min((band.end - chart.begin).total_seconds(), last), band)
        for band in chart.bands
    ]
    spans = [(begin, max(end, begin + last / 200), band) for begin, end, band in spans if begin < last and end > 0]
    if spans:
        # Above the plot, where no window's link lies over it, it can be clicked.
        top = high + (high - low) * _BRIM / (HEIGHT - _TOP - _BOTTOM)
        shapes = [[(begin, low), (begin, top), (end, top), (end, low)] for begin, end, _ in spans]
        urls = [band.href for _, _, band in spans]
        axes.add_collection(
            PolyCollection(shapes, facecolors=INK["band"], edgecolors="none", urls=urls, clip_on=False, zorder=0), autolim=False
        )
    return {band.href: band.says for _, _, band in spans}


def _frame(axes: Any, chart: Chart, last: float, low: float, ticks: Sequence[float]) -> None:
    axes.hlines(ticks, 0, last, colors=INK["grid"], linewidth=1, clip_on=False, zorder=1)
    for tick in ticks:
        axes.annotate(
            shown(tick, chart.unit), (0, tick), (-6, 0), textcoords="offset points", ha="right", va="center", color=INK["axis"], size=_TEXT
        )
    for at, label in _times(chart.begin, chart.begin + timedelta(seconds=last)):
        axes.annotate(label, (at, low), (0, -6), textcoords="offset points", ha="center", va="top", color=INK["axis"], size=_TEXT)


def _lines(axes: Any, chart: Chart, low: float) -> None:
    from math import nan

    width = chart.seconds
    for number, line in enumerate(chart.lines[:LINES]):
        ink = INK[CLASSES[number]]
        values = [nan if value is None else float(value) for value in line.values]
        if chart.bars and len(chart.lines) == 1:
            from matplotlib.collections import PolyCollection

            shapes = [
                [(place * width, low), (place * width, value), ((place + 0.82) * width, value), ((place + 0.82) * width, low)]
                for place, value in enumerate(values)
                if value == value
            ]
            axes.add_collection(PolyCollection(shapes, facecolors=ink, edgecolors="none", clip_on=False, zorder=2), autolim=False)
            continue
        for part in _parts(values, JOINED if chart.sparse else 1):
            places = [(place + 0.5) * width for place in part]
            if len(part) == 1:  # a line through one point is none
                places = [part[0] * width, (part[0] + 1) * width]
            axes.plot(
                places, [values[place] for place in part] * (2 if len(part) == 1 else 1), color=ink, linewidth=1.6,
                solid_capstyle="round", solid_joinstyle="round", clip_on=False, zorder=3 + number,
            )  # fmt: skip


def _parts(values: Sequence[float], apart: int) -> list[list[int]]:
    """Places of the values that are there, in runs within which none is further than `apart` from the one before."""
    parts: list[list[int]] = []
    for place, value in enumerate(values):
        if value == value:
            if parts and place - parts[-1][-1] <= apart:
                parts[-1].append(place)
            else:
                parts.append([place])
    return parts


def _before(axes: Any, chart: Chart, last: float, low: float, high: float) -> dict[str, str]:
    titles: dict[str, str] = {}
    ends = -_NEAR
    scale = (WIDTH - _LEFT - _RIGHT) / last
    for mark in sorted(chart.marks, key=lambda one: one.at):
        at = (mark.at - chart.begin).total_seconds()
        if not 0 <= at <= last:
            continue
        ink = INK[f"mark-{mark.kind}"]
        dashes = {"release": "solid", "revert": "solid", "canary": (0, (2, 3))}[mark.kind]
        axes.vlines(at, low, high, colors=ink, linewidth=1.3, linestyles=dashes, clip_on=False, zorder=15)
        if mark.kind != "canary" and at * scale - ends >= _NEAR:
            axes.annotate(
                mark.label, (at, high), (0, 4), textcoords="offset points", ha="center", va="bottom", color=ink, size=_TEXT, url=mark.href
            )
            ends = at * scale
            titles[mark.href] = mark.says
    return titles


def _columns(chart: Chart) -> str:
    """A link over each window. Matplotlib would draw a hundred shapes that nobody sees."""
    wide, high = (WIDTH - _LEFT - _RIGHT) / max(chart.count, 1), HEIGHT - _TOP - _BOTTOM
    return "".join(
        plain_svg.column(_LEFT + place * wide, _TOP, wide, high, href, _told(chart, place)) for place, href in enumerate(chart.links)
    )


def _told(chart: Chart, place: int) -> str:
    begin = chart.begin + timedelta(seconds=chart.seconds * place)
    end = begin + timedelta(seconds=chart.seconds)
    figures = [f"{line.name} {shown(line.values[place], chart.unit)}" for line in chart.lines[:LINES] if place < len(line.values)]
    return f"{begin:%d %b %H:%M}–{end:%H:%M} UTC: {', '.join(figures)}"


def _scale(chart: Chart) -> tuple[float, float, list[float]]:
    """Lowest and highest value of the axis, and where it is labelled."""
    from matplotlib.ticker import MaxNLocator

    values = [float(value) for line in chart.lines[:LINES] for value in line.values if value is not None] or [0.0, 1.0]
    low, high = (min(0.0, *values) if chart.zero else min(values)), max(values)
    if high - low < 1e-9:
        room = abs(high) or (0.1 if chart.unit == "share" else 1.0)
        low, high = (low, high + room) if chart.zero else (low - 0.05, high + 0.05)
    ticks = [float(tick) for tick in MaxNLocator(nbins=4, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)]
    return ticks[0], ticks[-1], ticks


@lru_cache(maxsize=64)
def _times(begin: datetime, end: datetime) -> tuple[tuple[float, str], ...]:
    """Seconds after `begin` and label of each tick of the time axis, UTC."""
    from matplotlib import dates

    untyped: Any = dates

    locator = untyped.AutoDateLocator(tz=UTC, minticks=4, maxticks=8)
    ticks = locator.tick_values(begin, end)
    labels = untyped.ConciseDateFormatter(locator, tz=UTC).format_ticks(ticks)
    placed = [((untyped.num2date(tick, tz=UTC) - begin).total_seconds(), str(label)) for tick, label in zip(ticks, labels, strict=True)]
    return tuple((at, label) for at, label in placed if 0 <= at <= (end - begin).total_seconds())
