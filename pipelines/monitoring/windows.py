"""Windows over the traffic log: how many requests, how fast, how good, of a whole domain or of each release, prompt, tenant or slice.

Shadow records never count: nobody was answered. `panes.py` says how overlapping windows come out of one pass over the records.
"""

# ruff: noqa: S608 -- no part of a query comes from outside: column names and expressions are this module's, numbers are numbers.

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from pipelines.errors import BadInput
from pipelines.monitor_config import By, Monitors
from pipelines.monitoring import measures as known
from pipelines.monitoring import panes, topics
from pipelines.monitoring.measures import COLUMNS, MEASURES, OK, Measure
from pipelines.monitoring.source import CALLERS, Source, moment, text

EVERYTHING = "all"
OTHER = "other"
"""The slice of what no slice matches."""
NOBODY = "none"
"""The group of records without a release, prompt or tenant."""
_LIMIT = 1e9
"""A time or a score beyond it, or one that is no number, is not counted."""


@dataclass(frozen=True, slots=True)
class Window:
    """What was seen from `begin` until before `end`. A measure that nothing was counted for is None.

    `topics`: answers by section. `counted`: how many observations each measure that comes from them rests on.
    """

    begin: datetime
    end: datetime
    group: str
    requests: int
    values: dict[str, float | None]
    topics: dict[str, int] = field(default_factory=dict)
    counted: dict[str, int] = field(default_factory=dict)


def windows(
    source: Source,
    by: By,
    *,
    begin: datetime,
    end: datetime,
    seconds: float,
    every: float,
    config: Monitors,
    measures: Collection[str] | None = None,
) -> list[Window]:
    """Every window of `seconds` that lies whole between `begin` and `end`, a new one each `every` seconds, in the order of time and group.

    By "all", every window is there; else those of each group that have a record. `measures`: some of `MEASURES`; None: all of them.
    Those that come from observations are None here (`observed.joined` fills them); topics are counted where "topic_distance" is asked
    for. BadInput for an unknown measure, or for times that make no window.
    """
    wanted = known.known(measures)
    if seconds <= 0 or every <= 0:
        raise BadInput("a window needs a length, and a time until the next", where="windows", todo="give seconds above 0")
    made = panes.plan(begin, end, seconds, every)
    if not made.count:
        return []
    records = _records(group_sql(by, config), made)
    about = topics.counted(source, records, made) if "topic_distance" in wanted else {}
    ends = timedelta(seconds=made.seconds)
    made_of = [
        Window(made.begins(number), made.begins(number) + ends, name, requests, values, about.get((name, number), {}))
        for name, number, requests, values in _counted(source, records, by, made, wanted, config)
    ]
    return sorted(made_of, key=lambda one: (one.begin, one.group))


def group_sql(by: By, config: Monitors) -> str:
    """The SQL of the group of a record. BadInput for a slice that DuckDB cannot read: its expressions (RE2) cannot look around or back."""
    if by == "all":
        return f"'{EVERYTHING}'"
    if by != "slice":
        return f"coalesce({by}, '{NOBODY}')"
    import duckdb

    cases = []
    for one in config.slices:
        try:
            duckdb.execute("SELECT regexp_matches('', ?)", [one.key])
        except duckdb.Error:
            todo = "look-around and back-references cannot be used here"
            raise BadInput(f"{one.key!r} cannot be matched", where=f"monitors.slices.{one.name}", todo=todo) from None
        cases.append(f"WHEN regexp_matches({topics.DOCUMENT}, {text(one.key)}) THEN {text(one.name)}")
    return f"CASE {' '.join(cases)} ELSE '{OTHER}' END" if cases else f"'{OTHER}'"


def records_sql(group: str, begin: datetime, end: datetime, more: str = "") -> str:
    """The records of callers of that time, each with its group `grp`, the columns that measures name, and what `more` adds."""
    columns = ", ".join(f"{_guard(sql)} AS {name}" for name, sql in COLUMNS.items())
    return (
        f'(SELECT *, {columns}, {group} AS grp{more} FROM {{records}} WHERE {CALLERS} AND "at" >= {moment(begin)} AND "at" < {moment(end)})'
    )


def _records(group: str, made: panes.Plan) -> str:
    """The records that are looked at, each with the pane that it lies in."""
    pane = f', cast((epoch_us("at") - epoch_us({moment(made.begin)})) // {made.pane} AS INTEGER) AS pane'
    return records_sql(group, made.begin, made.end, pane)


def _guard(sql: str) -> str:
    """Nearly no request has a finding: CASE spares looking for one where there is none."""
    if not sql.startswith("{guard:"):
        return sql
    return f"(CASE WHEN coalesce(len(guards), 0) = 0 THEN false ELSE len(list_filter(guards, lambda x: {sql[7:-1]})) > 0 END)"


def _counters(wanted: Collection[str]) -> dict[str, str]:
    """SQL of the whole numbers that the measures are made of, by a name each; measures that need the same share it."""
    found = {"requests": "count(*)"}
    for name in wanted:
        one = MEASURES[name]
        if one.source != "log" or one.kind == "quantile":
            continue
        found[f"of {one.of}"] = f"coalesce(count_if({one.of}), 0)"
        if name in ("cost_per_request", "cost_per_hour") or (one.kind == "count" and one.sql != "1"):
            found[f"sum {one.sql}"] = f"coalesce(sum({one.sql}), 0)"
        elif one.kind == "share":
            found[name] = f"coalesce(count_if(({one.of}) AND ({one.sql})), 0)"
        elif one.kind == "mean":
            usable = f"({one.of}) AND abs({one.sql}) < {_LIMIT}"
            found[f"of {name}"] = f"coalesce(count_if({usable}), 0)"
            found[name] = f"coalesce(sum(try_cast(round({one.sql} * {panes.MICRO}) AS BIGINT)) FILTER ({usable}), 0)"
    return found


def _counted(
    source: Source, records: str, by: By, made: panes.Plan, wanted: tuple[str, ...], config: Monitors
) -> Iterator[tuple[str, int, int, dict[str, float | None]]]:
    """Group, number of the window, requests and values."""
    import numpy as np

    counters, quantiles = _counters(wanted), _quantiles(wanted)
    sums = ", ".join(f"cast({sql} AS BIGINT) AS c{k}" for k, sql in enumerate(counters.values()))
    bins = "".join(f", list({panes.bin_sql(one)}) FILTER ({OK} AND {one} >= 0 AND {one} < {_LIMIT}) AS {one}" for one in quantiles)
    table = source.arrow(f"SELECT grp, pane, {sums}{bins} FROM {records} GROUP BY grp, pane ORDER BY grp, pane").combine_chunks()
    pane = table.column("pane").to_numpy()
    held = np.empty((len(table), len(counters)), dtype=np.int64)
    for k in range(len(counters)):
        held[:, k] = table.column(f"c{k}").to_numpy()
    spent = _spent(pane, held, counters, made)
    spans = _spans(table.column("grp"))
    if by == "all" and not spans:
        spans = {EVERYTHING: slice(0, 0)}
    for name, span in spans.items():
        dense = np.zeros((made.panes, len(counters)), dtype=np.int64)
        dense[pane[span]] = held[span]
        found = dict(zip(counters, panes.slide(dense, made).T, strict=True))
        there = np.arange(made.count) if by == "all" else np.flatnonzero(found["requests"])
        values = {one: _value(one, MEASURES[one], found, spent, made, config) for one in wanted if _is_summed(MEASURES[one])}
        for column, names in quantiles.items():
            panes_of, numbers = _flat(table.column(column), pane, span)
            levels = panes.quantiles(panes_of, numbers, tuple(MEASURES[one].level for one in names), made)
            values |= {one: levels[:, k] for k, one in enumerate(names)}
        rows = [_plain(values[one][there]) if one in values else [None] * len(there) for one in wanted]
        for number, requests, *row in zip(there.tolist(), found["requests"][there].tolist(), *rows, strict=True):
            yield name, number, requests, dict(zip(wanted, row, strict=True))


def _is_summed(one: Measure) -> bool:
    return one.source == "log" and one.kind != "quantile"


def _spent(pane: Any, held: Any, counters: Mapping[str, str], made: panes.Plan) -> Any:
    """Tokens of all groups together by window; None where no cost is asked for."""
    import numpy as np

    names = list(counters)
    if "sum spent" not in names:
        return None
    every = np.bincount(pane, weights=held[:, names.index("sum spent")], minlength=made.panes).astype(np.int64)
    return panes.slide(every, made)


def _value(name: str, one: Measure, sums: Mapping[str, Any], spent: Any, made: panes.Plan, config: Monitors) -> Any:
    """Of each window, float, NaN where there is none."""
    import numpy as np

    if name.startswith("cost_"):
        return _cost(name, sums, spent, made, config)
    if one.kind == "count":
        total = (sums["requests"] if one.sql == "1" else sums[f"sum {one.sql}"]).astype(np.float64)
        return total * 60.0 / made.seconds if one.per_minute else total
    if one.kind == "mean":
        return _ratio(sums[name], sums[f"of {name}"]) / panes.MICRO
    return _ratio(sums[name], sums[f"of {one.of}"])


def _cost(name: str, sums: Mapping[str, Any], spent: Any, made: panes.Plan, config: Monitors) -> Any:
    import numpy as np

    hours = made.seconds / 3600.0
    if not config.cost_per_1000_tokens and not config.cost_per_gpu_hour:
        return np.full(made.count, np.nan)
    part = np.nan_to_num(_ratio(sums["sum spent"], spent))
    money = sums["sum spent"] * config.cost_per_1000_tokens / 1000.0 + part * config.cost_per_gpu_hour * hours
    return money / hours if name == "cost_per_hour" else _ratio(money, sums["requests"])


def _ratio(above: Any, below: Any) -> Any:
    import numpy as np

    return np.divide(above, below, out=np.full(len(below), np.nan), where=below > 0)


def _plain(values: Any) -> list[float | None]:
    import numpy as np

    found = values.astype(object)
    found[np.isnan(values)] = None
    return list(found.tolist())


def _spans(groups: Any) -> dict[str, slice]:
    """Where the rows of each group lie, of a column that is sorted by it."""
    counts = groups.value_counts()
    found, start = {}, 0
    for name, count in sorted((one["values"], one["counts"]) for one in counts.to_pylist()):
        found[name], start = slice(start, start + count), start + count
    return found


def _quantiles(wanted: Collection[str]) -> dict[str, list[str]]:
    """Measures by the column that they are quantiles of."""
    found: dict[str, list[str]] = {}
    for name in wanted:
        if MEASURES[name].kind == "quantile":
            found.setdefault(MEASURES[name].sql, []).append(name)
    return found


def _flat(lists: Any, pane: Any, span: slice) -> tuple[Any, Any]:
    """Of every value in some rows' lists, its row's pane, and itself."""
    import numpy as np

    held = lists.chunk(0) if lists.num_chunks else None
    if held is None or span.stop == span.start:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    offsets = held.offsets.to_numpy()[span.start : span.stop + 1]
    return np.repeat(pane[span], np.diff(offsets)), held.values.to_numpy()[offsets[0] : offsets[-1]]
