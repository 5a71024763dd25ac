"""Requests that show what a rule saw, found by the measure's own SQL: what is shown is what was counted."""

from __future__ import annotations

from datetime import datetime

from pipelines.monitor_config import Monitors, Rule
from pipelines.monitoring import windows
from pipelines.monitoring.measures import MEASURES
from pipelines.monitoring.source import Source, text

LIMIT = 10


def showing(source: Source, config: Monitors, rule: Rule, group: str, begin: datetime, end: datetime) -> list[str]:
    """Up to ten request ids of the group from `begin` until before `end`, the clearest first, then the newest.

    Of a share those that it counts (or does not, where the rule fears too few); of a number the farthest; else the newest.
    """
    one = MEASURES[rule.measure]
    down = getattr(rule, "below", None) is not None or getattr(rule, "direction", "up") == "down"
    wanted, order = f"grp = {text(group)} AND ({one.of})", ""
    if one.source == "log" and one.kind == "share":
        wanted += f" AND coalesce({one.sql}, false) = {str(not down).lower()}"
    elif one.source == "log" and one.sql != "1":
        wanted += f" AND {one.sql} IS NOT NULL"
        order = f"{one.sql} {'ASC' if down else 'DESC'}, "
    records = windows.records_sql(windows.group_sql(rule.by, config), begin, end)
    query = f'SELECT request_id FROM {records} WHERE {wanted} ORDER BY {order}"at" DESC, request_id LIMIT {LIMIT}'  # noqa: S608
    return [str(row["request_id"]) for row in source.arrow(query).to_pylist()]
