"""What was measured beside the traffic log (`observations`, `feedback`), put into the windows that it is of."""

from __future__ import annotations

import bisect
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy import select

from pipelines.config import Settings
from pipelines.monitor_config import By
from pipelines.monitoring.measures import MEASURES, known
from pipelines.monitoring.windows import EVERYTHING, Window
from pipelines.state.database import reading
from pipelines.state.models import FeedbackRow, Observation

THUMBS = "thumbs_down_share"


_Row = tuple[datetime, float, float, int]
"""When, the value, what it weighs in a mean, and how many answers it rests on."""
_Series = dict[tuple[str, str], list[_Row]]
"""By group and measure."""


def joined(settings: Settings, domain: str, windows: Sequence[Window], by: By, measures: Collection[str] | None = None) -> list[Window]:
    """The same windows with the means of what was observed in them, and `counted`; in the order of time and group.

    An observation is of a release: by "prompt", "tenant" and "slice" they stay as they are. A release of which there are observations
    but no requests gets a window of its own. A figure weighs as many answers as it is the mean of, or what its `detail.weight` says.
    """
    wanted = [name for name in known(measures) if MEASURES[name].source == "observed"]
    if not windows or not wanted or by not in ("all", "release"):
        return list(windows)
    series = _read(settings, domain, min(one.begin for one in windows), max(one.end for one in windows), by, wanted)
    if not series:
        return list(windows)
    times = {name: [row[0] for row in rows] for name, rows in series.items()}
    every = {(one.begin, one.end, one.group): one for one in windows}
    for begin, end in {(one.begin, one.end) for one in windows}:
        for group, measure in series:
            low, high = (bisect.bisect_left(times[group, measure], at) for at in (begin, end))
            if low == high:
                continue
            rows = series[group, measure][low:high]
            one = every.get((begin, end, group)) or Window(begin, end, group, 0, _empty(windows[0]))
            weight = sum(row[2] for row in rows)
            value = sum(row[1] * row[2] for row in rows) / weight if weight > 0 else None
            every[begin, end, group] = replace(
                one, values=one.values | {measure: value}, counted=one.counted | {measure: sum(row[3] for row in rows)}
            )
    return [every[key] for key in sorted(every, key=lambda key: (key[0], key[2]))]


def _empty(like: Window) -> dict[str, float | None]:
    counts = ("requests", "requests_per_minute", "tokens_per_minute")
    return {name: 0.0 if name in counts else None for name in like.values}


def _read(settings: Settings, domain: str, begin: datetime, end: datetime, by: By, wanted: Collection[str]) -> _Series:
    """Each in the order of time."""
    found: _Series = {}

    def add(release: str | None, measure: str, row: _Row) -> None:
        group = EVERYTHING if by == "all" else release
        if group is not None:
            found.setdefault((group, measure), []).append(row)

    with reading(settings) as session:
        seen = select(Observation).where(
            Observation.domain == domain, Observation.measure.in_(sorted(wanted)), Observation.at >= begin, Observation.at < end
        )
        for one in session.scalars(seen.order_by(Observation.at, Observation.id)):
            add(one.release, one.measure, (one.at, one.value, float(one.detail.get("weight", one.n)), one.n))
        if THUMBS in wanted:
            said = select(FeedbackRow.at, FeedbackRow.release, FeedbackRow.rating).where(
                FeedbackRow.domain == domain,
                FeedbackRow.at >= begin,
                FeedbackRow.at < end,
                FeedbackRow.state == "received",
                FeedbackRow.rating != 0,
            )
            for at, release, rating in session.execute(said.order_by(FeedbackRow.at, FeedbackRow.id)):
                add(release, THUMBS, (at, float(rating < 0), 1.0, 1))
    return {key: sorted(rows, key=lambda row: row[0]) for key, rows in found.items()}
