"""What the monitoring page shows of a domain, as plain data: plots, figures per group, and single masked requests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from pipelines.config import DomainConfig, Settings
from pipelines.errors import BadInput
from pipelines.monitor_config import By
from pipelines.monitoring import history, observed
from pipelines.monitoring import page_events as events
from pipelines.monitoring.charts import LINES, Band, Chart, Line, Mark, Unit
from pipelines.monitoring.measures import MEASURES
from pipelines.monitoring.windows import Window, windows

MAX_HOURS = 24 * 31
_WINDOWS = 96
"""In one plot, at most."""
_SECONDS = (60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800)
GROUPED: tuple[By, ...] = ("release", "tenant", "slice", "prompt")


@dataclass(frozen=True, slots=True)
class Plot:
    """Measures that are shown together. By group there is one line per group, of the first of them."""

    name: str
    title: str
    unit: Unit
    measures: tuple[tuple[str, str], ...]
    """Measure and what its line is called."""
    bars: bool = False
    zero: bool = True


PLOTS = (
    Plot("requests", "Requests", "count", (("requests", "requests"),), bars=True),
    Plot("errors", "Errors", "share", (("error_share", "failed"), ("refused_share", "refused"))),
    Plot("latency", "Latency", "ms", (("latency_p95", "p95"), ("latency_p50", "p50"), ("first_p95", "first token p95"))),
    Plot("tokens", "Tokens an answer", "tokens", (("tokens_out_mean", "out"), ("tokens_in_mean", "in"))),
    Plot("cost", "Cost an hour", "money", (("cost_per_hour", "cost"),)),
    Plot(
        "outcome", "Without an answer, without ground", "share",
        (("ungrounded_share", "ungrounded"), ("abstained_share", "abstained"), ("withheld_share", "withheld")),
    ),
    Plot("confidence", "Confidence", "value", (("confidence_mean", "mean"),), zero=False),
    Plot("routes", "Cache and routes", "share", (("cache_share", "cache"), ("small_share", "small"), ("provider_share", "provider"))),
    Plot("guards", "Guards", "share", (("injection_share", "injections"), ("toxic_share", "abuse"), ("identifier_share", "identifiers"))),
    Plot("groundedness", "Groundedness", "value", (("groundedness_mean", "measured"), ("judged_mean", "judged")), zero=False),
    Plot("probes", "Probes", "share", (("probe_wrong_share", "wrong"), ("inconsistent_share", "inconsistent"), ("bias_gap", "bias gap"))),
    Plot(
        "drift", "Drift", "value",
        (("drift_questions", "questions"), ("drift_topics", "topics"), ("drift_retrieval", "retrieval"), ("drift_answers", "answers")),
    ),
    Plot("thumbs", "Thumbs down", "share", (("thumbs_down_share", "of judgements"),)),
)  # fmt: skip
MEASURED = tuple(dict.fromkeys(measure for plot in PLOTS for measure, _ in plot.measures))

Link = Callable[[datetime, datetime, str], str]
"""Address of the list of requests from one moment to another, of a group (`all` for every one)."""


@dataclass(frozen=True, slots=True)
class Page:
    """Everything over time. `rows` are the windows of the whole domain, newest first, `groups` the whole time's figures per group."""

    begin: datetime
    end: datetime
    seconds: float
    by: By
    charts: tuple[Chart, ...]
    missing: tuple[str, ...]
    """Titles of plots of which nothing was measured."""
    marks: tuple[Mark, ...]
    rows: tuple[Window, ...]
    groups: tuple[Window, ...]
    left_out: int
    """Groups that are not drawn."""


def span(hours: float, moment: datetime) -> tuple[datetime, datetime, float]:
    """Begin and end of what is shown, and seconds of a window: at most 96 of them, on round times. BadInput for a bad number of hours."""
    if not 0 < hours <= MAX_HOURS:
        raise BadInput(f"{hours:g} hours cannot be shown", where="hours", todo=f"ask for more than 0 and at most {MAX_HOURS}")
    seconds = next((one for one in _SECONDS if hours * 3600 / one <= _WINDOWS), _SECONDS[-1])
    end = datetime.fromtimestamp((moment.timestamp() // seconds + 1) * seconds, UTC)
    count = max(round(hours * 3600 / seconds), 1)
    return end - timedelta(seconds=seconds * count), end, float(seconds)


def page(settings: Settings, domain: DomainConfig, *, hours: float, by: By, moment: datetime, link: Link) -> Page:
    """The plots of the last hours. One read of the traffic; `link` says where a window's requests are listed."""
    begin, end, seconds = span(hours, moment)
    asked: dict[str, Any] = {"begin": begin, "end": end, "config": domain.monitors, "measures": MEASURED}
    whole = (end - begin).total_seconds()
    groups: list[Window] = []
    grouped: list[Window] = []
    with closing(history.history(settings, domain.domain, begin, end)) as source:
        every = windows(source, by="all", seconds=seconds, every=seconds, **asked)
        if by != "all":
            groups = windows(source, by=by, seconds=whole, every=whole, **asked)
            grouped = windows(source, by=by, seconds=seconds, every=seconds, **asked)
    every = observed.joined(settings, domain.domain, every, "all", MEASURED)
    grouped = observed.joined(settings, domain.domain, grouped, by, MEASURED) if by != "all" else every
    groups = sorted(observed.joined(settings, domain.domain, groups, by, MEASURED), key=lambda one: (-one.requests, one.group))
    count = round(whole / seconds)
    values = _table(grouped, begin, seconds, count, moment)
    names = [one.group for one in groups][:LINES] if by != "all" else ["all"]
    marks, bands = events.marks(settings, domain.domain, begin, end), events.bands(settings, domain.domain, begin, min(end, moment))
    steps = [begin + timedelta(seconds=seconds * k) for k in range(count + 1)]
    links = tuple(link(steps[k], steps[k + 1], "all") for k in range(count))
    charts = [_chart(plot, values, names, by, begin, seconds, count, marks, bands, links) for plot in PLOTS]
    return Page(
        begin=begin,
        end=end,
        seconds=seconds,
        by=by,
        charts=tuple(chart for chart in charts if not chart.empty),
        missing=tuple(plot.title for plot, chart in zip(PLOTS, charts, strict=True) if chart.empty),
        marks=tuple(marks),
        rows=tuple(sorted((row for row in every if row.requests), key=lambda one: one.begin, reverse=True)),
        groups=tuple(groups[: 4 * LINES]),
        left_out=max(len(groups) - len(names), 0) if by != "all" else 0,
    )


def _table(
    found: Sequence[Window], begin: datetime, seconds: float, count: int, moment: datetime
) -> dict[tuple[str, str], list[float | None]]:
    """(group, measure) -> a value per window. Of one that is not over there is no count yet: it would look like a fall."""
    table: dict[tuple[str, str], list[float | None]] = {}
    for one in found:
        place = round((one.begin - begin).total_seconds() / seconds)
        if not 0 <= place < count:
            continue
        told = one.values | {"requests": float(one.requests)}
        for measure, value in told.items():
            if one.end > moment and MEASURES[measure].kind == "count":
                continue
            table.setdefault((one.group, measure), [None] * count)[place] = value
    return table


def _chart(
    plot: Plot, values: dict[tuple[str, str], list[float | None]], names: Sequence[str], by: By,
    begin: datetime, seconds: float, count: int, marks: Sequence[Mark], bands: Sequence[Band], links: Sequence[str],
) -> Chart:  # fmt: skip
    nothing: list[float | None] = [None] * count
    if by == "all":
        lines = [Line(label, values.get(("all", measure), nothing)) for measure, label in plot.measures]
        lines = [line for line in lines if any(value is not None for value in line.values)] or lines[:1]
    else:
        lines = [Line(name, values.get((name, plot.measures[0][0]), nothing)) for name in names]
    title = plot.title if by == "all" or len(plot.measures) == 1 else f"{plot.title}: {plot.measures[0][1]}"
    sparse = all(MEASURES[measure].source == "observed" for measure, _ in plot.measures)
    return Chart(plot.name, title, plot.unit, begin, seconds, lines, links, marks, bands, plot.bars, plot.zero, sparse)
