"""What a domain's detectors take as usual before they have seen anything: the windows of the reference time, from warehouse and log."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select

from pipelines.config import DomainConfig, Settings
from pipelines.monitor_config import By, Rule, Shift
from pipelines.monitoring import detectors, topics, windows
from pipelines.monitoring.detectors import Seen
from pipelines.monitoring.history import history
from pipelines.monitoring.measures import MEASURES
from pipelines.monitoring.windows import Window
from pipelines.state.database import reading, transaction
from pipelines.state.models import MonitorMark, Tenure

TOPICS = "topics"
WINDOWS = {"all": 100_000}
"""At most so many windows are learned from, the newest; of groups, whose number nobody knows, a fifth of it."""
FEW = 200
"""Answers with a topic; with fewer there is no reference, and it is looked for again."""
ANEW_HOURS = {"few": 1.0, "enough": 7 * 24.0}
"""After so long the mix of topics is taken anew."""

_Mix = dict[str, dict[str, dict[str, int]]]
"""Answers by topic, of each `by` and group."""


def references(settings: Settings, config: DomainConfig, states: dict[str, dict[str, Any]], now: datetime) -> _Mix:
    """Learn for the rules that have no state yet, into `states`; returns the mixes of topics that windows are compared with.

    Of a domain without a past nothing is learned: the detectors then gather their first reference themselves, and say nothing meanwhile.
    """
    rules = config.monitors.watched()
    mix, old = _kept(settings, config.domain, now)
    by_topic = {rule.by for rule in rules if rule.measure == "topic_distance"}
    new = [rule for rule in rules if isinstance(rule, Shift) and not _known(rule, states.get(rule.name, {}))]
    again = by_topic if old else by_topic - mix.keys()
    for by in dict.fromkeys([*(rule.by for rule in new), *sorted(again)]):
        mine = [rule for rule in new if rule.by == by]
        past = _past(settings, config, by, {rule.measure for rule in mine}, now, topical=by in again)
        if by in again:
            groups = {group: topics.pooled(_apart(rows)) for group, rows in past.items()}
            mix[by] = {group: counts for group, counts in groups.items() if sum(counts.values()) >= FEW}
        live = _live_at(settings, config.domain)
        for rule in mine:
            states[rule.name] = {group: detectors.learn(rule, _shown(rule, rows, mix, live)) for group, rows in past.items()}
            # Learned once, though there was nothing: `_known` finds it.
            states[rule.name].setdefault(windows.EVERYTHING if by == "all" else "", detectors.learn(rule, []))
    if again:
        _keep(settings, config.domain, mix, now)
    return mix


def _known(rule: Rule, states: dict[str, Any]) -> bool:
    return any(state.get("of") == detectors.mark(rule) for state in states.values())


def _past(settings: Settings, config: DomainConfig, by: By, measures: set[str], now: datetime, *, topical: bool) -> dict[str, list[Window]]:
    """Windows of the reference time, by group, cut as they are when they are looked at."""
    monitors = config.monitors
    most = WINDOWS["all"] if by == "all" else WINDOWS["all"] // 5
    length = min(monitors.reference_days * 86_400, most * monitors.every_seconds)
    end = now - timedelta(seconds=monitors.window_seconds)
    begin = end - timedelta(seconds=length)
    wanted = {name for name in measures if MEASURES[name].source != "observed"} | ({"topic_distance"} if topical else set()) | {"requests"}
    source = history(settings, config.domain, begin, end)
    try:
        rows = windows.windows(
            source,
            by,
            begin=begin,
            end=end,
            seconds=monitors.window_seconds,
            every=monitors.every_seconds,
            config=monitors,
            measures=wanted,
        )
    finally:
        source.close()
    found: dict[str, list[Window]] = {}
    for row in rows:
        if row.requests:
            found.setdefault(row.group, []).append(row)
    return found


def _apart(rows: Sequence[Window]) -> list[Window]:
    """Those that do not overlap: every request once."""
    found: list[Window] = []
    for row in rows:
        if not found or row.begin >= found[-1].end:
            found.append(row)
    return found


def _shown(rule: Rule, rows: list[Window], mix: _Mix, live: Callable[[datetime], str | None]) -> list[Seen]:
    reference = mix.get(rule.by, {}).get(rows[0].group)
    if rule.measure == "topic_distance" and reference:
        rows = topics.with_distance(rows, reference)
    length = (rows[0].end - rows[0].begin).total_seconds()
    return [
        Seen(
            at=row.end, group=row.group, value=row.values.get(rule.measure), n=row.requests,
            release=row.group if rule.by == "release" else live(row.end), seconds=length,
        )
        for row in rows
    ]  # fmt: skip


def _live_at(settings: Settings, domain: str) -> Callable[[datetime], str | None]:
    """What was live at a time."""
    import bisect

    with reading(settings) as session:
        rows = session.scalars(select(Tenure).where(Tenure.domain == domain).order_by(Tenure.began_at, Tenure.id)).all()
    begins, names = [row.began_at for row in rows], [row.candidate_id for row in rows]

    def live(at: datetime) -> str | None:
        number = bisect.bisect_right(begins, at)
        return names[number - 1] if number else None

    return live


def _kept(settings: Settings, domain: str, now: datetime) -> tuple[_Mix, bool]:
    """The mixes that were written down, and whether it is time to take them anew."""
    with reading(settings) as session:
        row = session.get(MonitorMark, (domain, TOPICS))
    if row is None:
        return {}, False
    mix: _Mix = row.state["mix"]
    hours = (now - datetime.fromisoformat(row.state["at"])).total_seconds() / 3600
    return mix, hours < 0 or hours >= ANEW_HOURS["enough" if all(mix.values()) else "few"]


def _keep(settings: Settings, domain: str, mix: _Mix, now: datetime) -> None:
    with transaction(settings) as session:
        session.merge(MonitorMark(domain=domain, name=TOPICS, state={"mix": mix, "at": now.isoformat()}))
