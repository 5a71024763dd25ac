"""One domain as the watcher sees it: its file, what was asked lately, and what its detectors remember.

A round reads what is new, shows every rule the window that ends now, and writes down what that begins or ends: first the incidents, then
what the detectors remember. Killed in between, the next watcher sees the same signal again, and the open incident takes it up once.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select

from pipelines.config import DomainConfig, Settings, load_domain
from pipelines.errors import BadInput
from pipelines.monitor_config import Burn, By, Monitors, Rule
from pipelines.monitoring import actions, desk, detectors, incidents, learning, texts, topics, traces
from pipelines.monitoring.detectors import Seen, Signal
from pipelines.monitoring.measures import MEASURES
from pipelines.monitoring.recent import Recent
from pipelines.monitoring.windows import Window
from pipelines.registry import pointer
from pipelines.state.database import reading, transaction
from pipelines.state.models import MonitorMark, Pointer

DETECTOR = "detector:"
DRILL = "drill"
"""Name of the mark that says until when what is seen is a drill: `{"until": ISO 8601}`."""
GONE: dict[By, timedelta] = {
    "release": timedelta(minutes=10), "prompt": timedelta(minutes=10), "tenant": timedelta(hours=24), "slice": timedelta(hours=24),
}  # fmt: skip
"""After so long without a request a group is taken to be no more; a release or a prompt only when it is not live. `all` never is: that
nobody asks any more may be the fault."""
TEXTS_EVERY, TEXTS = timedelta(minutes=1), 200
"""Of kept answers so many are measured so often where a rule watches what they say; the hourly run takes the rest."""
CLOCK = timedelta(seconds=30)
"""A clock that was put back by more is begun anew with."""
_States = dict[str, dict[str, Any]]


class Watched:
    """Of one domain. `config` is the last good one; None until there is one."""

    def __init__(self, settings: Settings, name: str) -> None:
        self.settings, self.name = settings, name
        self.config: DomainConfig | None = None
        self.last: datetime | None = None
        """When it was last looked at."""
        self._stamp: tuple[int, int] | None = None
        self._recent: Recent | None = None
        self._states: _States | None = None
        self._written: dict[str, str] = {}
        self._texts_at: datetime | None = None

    # --- its file ------------------------------------------------------------------------------------------------------

    def read_config(self) -> bool:
        """Read the domain's file where it changed; whether it did. ConfigError for a broken file: then the last good one holds."""
        path = self.settings.configs / "domains" / f"{self.name}.yaml"
        found = path.stat()
        stamp = (found.st_mtime_ns, found.st_size)
        if stamp == self._stamp:
            return False
        config = load_domain(self.name, self.settings)
        for rule in config.monitors.watched():
            if rule.measure not in MEASURES:
                raise BadInput(
                    f"there is no measure {rule.measure!r}", where=f"{path}: monitors.rules.{rule.name}", todo="see docs/measures.md"
                )
        if self.config is None or self.config.monitors != config.monitors:
            self._forget()
        self.config, self._stamp = config, stamp
        return True

    def due(self, now: datetime) -> bool:
        """Whether a new window begins. A clock that was put back does not stop it."""
        if self.config is None:
            return False
        return self.last is None or not timedelta(0) <= now - self.last < timedelta(seconds=self.config.monitors.every_seconds - 0.5)

    # --- a round -------------------------------------------------------------------------------------------------------

    def look(self, now: datetime) -> list[str]:
        """One round; a line for everything that happened. After an exception the next round begins from what was written down."""
        if self.config is None:
            return []
        if self.last is not None and now < self.last - CLOCK:
            self._forget()  # what was read up to a later time would not be read again
        self.last = now
        try:
            return self._look(self.config, now)
        except BaseException:
            self._forget()
            raise

    def _forget(self) -> None:
        self._states, self._written = None, {}
        if self._recent is not None:
            close = getattr(self._recent, "close", None)
            if close is not None:
                close()
        self._recent = None

    def _look(self, config: DomainConfig, now: datetime) -> list[str]:
        monitors = config.monitors
        if self._recent is None:
            self._recent = Recent(self.settings, config)
        recent = self._recent
        recent.take_in(now)
        if self._states is None:
            self._states = self._load(monitors)
        states = copy.deepcopy(self._states)
        at = pointer.current(self.settings, self.name)
        self._accepted(monitors, states)
        self._read_texts(config, now)
        signals = [*self._removed(monitors, now), *self._changed(monitors, states, now)]
        references = learning.references(self.settings, config, states, now)
        for rule, seen in self._seen(monitors, recent, references, at.live_id if at else None, now):
            of_rule = states.setdefault(rule.name, {})
            if (signal := detectors.look(rule, of_rule.setdefault(seen.group, {}), seen)) is not None:
                signals.append(signal)
        signals += self._gone(monitors, states, at, now)

        def shown(rule: Rule, group: str) -> list[str]:
            begin = now - timedelta(seconds=max(monitors.window_seconds, 300.0))
            return traces.showing(recent.source, monitors, rule, group, begin, now)

        changed = incidents.take(self.settings, config, signals, now, drill=self._drill(now), windows=recent.latest, traces=shown)
        self._save(states)
        self._states = states
        said = [f"{one.kind}: {one.rule} of {one.group}: {one.why}" for one in signals]
        said += [f"{row.id} is {row.state}, a {row.severity}" for row in changed]
        return said + actions.act(self.settings, config, now)

    def _seen(
        self, monitors: Monitors, recent: Recent, references: dict[str, dict[str, dict[str, int]]], live: str | None, now: datetime
    ) -> Iterator[tuple[Rule, Seen]]:
        """What every rule is shown: the window that ends now, of each group."""
        rules = monitors.watched()
        for by in dict.fromkeys(rule.by for rule in rules):
            mine = [rule for rule in rules if rule.by == by]
            plain = [rule for rule in mine if not isinstance(rule, Burn)]
            if plain:
                for window in recent.latest(by, now, monitors.window_seconds, {rule.measure for rule in plain}):
                    reference = references.get(by, {}).get(window.group)
                    if "topic_distance" in window.values and reference:
                        window = topics.with_distance([window], reference)[0]
                    for rule in plain:
                        yield rule, seen_of(rule, window, live, monitors.window_seconds)
            burning = [rule for rule in mine if isinstance(rule, Burn)]
            yield from self._burning(burning, by, recent, live, now)

    def _burning(self, rules: list[Burn], by: By, recent: Recent, live: str | None, now: datetime) -> Iterator[tuple[Rule, Seen]]:
        lengths = sorted({minutes for rule in rules for pair in rule.windows for minutes in (pair.long_minutes, pair.short_minutes)})
        measures = {rule.measure for rule in rules}
        found = {minutes: {one.group: one for one in recent.latest(by, now, minutes * 60, measures)} for minutes in lengths}
        for rule in rules:
            mine = sorted({minutes for pair in rule.windows for minutes in (pair.long_minutes, pair.short_minutes)})
            # The longest has every group that a shorter one has, and those that are quiet now.
            for group in found[mine[-1]]:
                spans = {minutes: _span(rule, found[minutes].get(group)) for minutes in mine}
                value, n = spans[mine[0]]
                release = group if by == "release" else live
                yield rule, Seen(at=now, group=group, value=value, n=n, spans=spans, release=release, seconds=mine[0] * 60)

    def _gone(self, monitors: Monitors, states: _States, at: Pointer | None, now: datetime) -> Iterator[Signal]:
        """End what is raised of groups that are no more, and forget them."""
        live = {at.live_id, at.canary_id} if at is not None else set()
        for rule in monitors.watched():
            if rule.by not in GONE:
                continue
            for group, state in list(states.get(rule.name, {}).items()):
                last = state.get("last")
                if group in live or (last is not None and now.timestamp() - last < GONE[rule.by].total_seconds()):
                    continue
                if last is None and not state.get("raised"):
                    continue  # learned, and not seen yet
                if (signal := detectors.gone(rule, state, group, now)) is not None:
                    yield signal
                del states[rule.name][group]

    def _removed(self, monitors: Monitors, now: datetime) -> Iterator[Signal]:
        """What is open of a rule that is not in the file any more is over."""
        names = {rule.name for rule in monitors.watched()} | incidents.OWN.keys()
        with reading(self.settings) as session:
            rows = incidents.open_of(session, self.name)
        for row in rows:
            for one in row.signals.values():
                if one["rule"] not in names and not one["over"]:
                    yield Signal("cleared", one["rule"], one["group"], now, 0.0, 0.0, "the rule is not in the domain's file any more")

    @staticmethod
    def _changed(monitors: Monitors, states: _States, now: datetime) -> Iterator[Signal]:
        """A rule that judges by other figures than it did begins anew."""
        for rule in monitors.watched():
            for group, state in states.get(rule.name, {}).items():
                if state.get("raised") and state.get("of") != detectors.mark(rule):
                    state.clear()
                    yield Signal("cleared", rule.name, group, now, 0.0, 0.0, "the rule was changed, and judges anew")

    def _read_texts(self, config: DomainConfig, now: datetime) -> None:
        """Measure kept answers where a rule watches that: the hourly run comes too late for it."""
        if not any(rule.measure in texts.MEASURES for rule in config.monitors.watched()):
            return
        if self._texts_at is None or not timedelta(0) <= now - self._texts_at < TEXTS_EVERY:
            self._texts_at = now
            texts.read(self.settings, config, now, most=TEXTS)

    # --- what is remembered ---------------------------------------------------------------------------------------------

    def _load(self, monitors: Monitors) -> _States:
        names = {f"{DETECTOR}{rule.name}": rule.name for rule in monitors.watched()}
        with reading(self.settings) as session:
            rows = session.scalars(select(MonitorMark).where(MonitorMark.domain == self.name, MonitorMark.name.in_(names)))
            return {names[row.name]: dict(row.state) for row in rows}

    def _save(self, states: _States) -> None:
        """In one transaction, those that changed."""
        told = {name: json.dumps(state, sort_keys=True) for name, state in states.items()}
        if not (new := {name for name, text in told.items() if self._written.get(name) != text}):
            return
        with transaction(self.settings) as session:
            for name in sorted(new):
                session.merge(MonitorMark(domain=self.name, name=f"{DETECTOR}{name}", state=json.loads(told[name])))
        self._written = told

    def _accepted(self, monitors: Monitors, states: _States) -> None:
        """What a person said is as it should be (`desk.close`)."""
        with reading(self.settings) as session:
            if session.get(MonitorMark, (self.name, desk.ACCEPT)) is None:
                return
        rules = {rule.name: rule for rule in monitors.watched()}
        with transaction(self.settings) as session:
            mark = session.get(MonitorMark, (self.name, desk.ACCEPT))
            for key in mark.state.get("signals", []) if mark is not None else []:
                name, _, group = key.partition("/")
                if name in rules and group in states.get(name, {}):
                    states[name][group] = detectors.accept(rules[name], states[name][group])
            if mark is not None:
                session.delete(mark)

    def _drill(self, now: datetime) -> bool:
        with reading(self.settings) as session:
            mark = session.get(MonitorMark, (self.name, DRILL))
        return mark is not None and datetime.fromisoformat(mark.state["until"]) > now


def seen_of(rule: Rule, window: Window, live: str | None, seconds: float) -> Seen:
    """A window as a rule is shown it. What is observed rests on its observations, not on the requests."""
    observed = MEASURES[rule.measure].source == "observed"
    n = window.counted.get(rule.measure, 0) if observed else window.requests
    release = window.group if rule.by == "release" else live
    return Seen(at=window.end, group=window.group, value=window.values.get(rule.measure), n=n, release=release, seconds=seconds)


def _span(rule: Rule, window: Window | None) -> tuple[float | None, int]:
    return (None, 0) if window is None else (window.values.get(rule.measure), window.requests)
