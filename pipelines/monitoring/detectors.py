"""From windows to signals. Pure: a rule, what is remembered of it, what is seen now.

    state = learn(rule, past)         once for each rule and group, from the windows of the reference time
    signal = look(rule, state, seen)  for each new window; changes `state`, which the watcher keeps as JSON

`threshold.py`, `burn.py` and `shift.py` say of one window whether it is bad; what they share is here: so many bad windows in a row raise,
so many good ones clear, a window with too few requests says neither. Clocks: a window that ends where the last one did, or before, is not
judged; after a jump back, or an hour without windows, rows of bad or good ones begin anew.

Does not cover a group that has no traffic any more (a release that was reverted): what is raised of it stays so. `gone` ends it.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pipelines.monitor_config import Burn, Rule, Shift, Threshold
from pipelines.monitoring import burn, reference, shift, threshold
from pipelines.monitoring.seen import Seen, Signal, State, Verdict

__all__ = ["Seen", "Signal", "accept", "gone", "learn", "look", "mark"]

GAP_SECONDS = 3600.0
"""Without a window for so long, what came before says nothing about now."""
_NOT_JUDGED = {"name", "severity", "action", "runbook"}


def look(rule: Rule, state: State, seen: Seen) -> Signal | None:
    """What this window begins or ends, if anything. `state`, which may be empty, is changed in place; it stays JSON."""
    ended = _begin_anew(rule, state, seen) if state.get("of") != mark(rule) else None
    if ended is not None or not _clock(state, seen.at):
        return ended
    verdict = _judge(rule, state, seen)
    if verdict is None:
        return None
    state["bad"] = state["bad"] + 1 if verdict.bad else 0
    state["good"] = state["good"] + 1 if verdict.good else 0
    if not state["raised"] and state["bad"] >= rule.hold:
        state["raised"] = True
        return _signal("raised", rule, seen, verdict)
    if state["raised"] and state["good"] >= rule.clear:
        state["raised"] = False
        if isinstance(rule, Shift):
            shift.calm(state)
        return _signal("cleared", rule, seen, verdict)
    return None


def learn(rule: Rule, past: Sequence[Seen], state: State | None = None) -> State:
    """A starting state from the windows of the reference time, of one group, cut as they will be when they are looked at.

    Windows in which something was wrong are better left out; a few do no harm. A release that went live in the last
    `shift.PROBATION_HOURS` is left out: it is judged by the time before it. With a `state` of the same rule, what is raised stays so, and
    only the reference is new.
    """
    begun: State = _fresh(rule)
    if state is not None and state.get("of") == begun["of"]:
        begun = copy.deepcopy(state)
    if isinstance(rule, Shift):
        seen = sorted(past, key=lambda one: one.at)
        shift.take(begun, reference.fit(rule, seen), seen)
    return begun


def accept(rule: Rule, state: State) -> State:
    """A state in which what the measure is now is what it should be: for when a person closes an incident as no fault. Not raised."""
    taken = copy.deepcopy(state) if state.get("of") == mark(rule) else _fresh(rule)
    taken.update(raised=False, bad=0, good=0)
    if isinstance(rule, Shift):
        shift.accept(taken)
    return taken


def gone(rule: Rule, state: State, group: str, at: datetime) -> Signal | None:
    """Ends what is raised of a group that is no more; None where nothing is. `state` is changed in place."""
    if not state.get("raised"):
        return None
    state.update(raised=False, bad=0, good=0)
    return Signal("cleared", rule.name, group, at, 0.0, 0.0, f"{group} has no traffic any more")


def mark(rule: Rule) -> str:
    """What of a rule decides how a window is judged, as 12 hex digits: a state made by another rule is dropped."""
    said: dict[str, Any] = rule.model_dump(mode="json", exclude=_NOT_JUDGED)
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:12]


def _judge(rule: Rule, state: State, seen: Seen) -> Verdict | None:
    match rule:
        case Threshold():
            return threshold.judge(rule, seen)
        case Burn():
            return burn.judge(rule, seen)
        case Shift():
            return shift.judge(rule, state, seen)


def _fresh(rule: Rule) -> State:
    return {"of": mark(rule), "raised": False, "bad": 0, "good": 0, "last": None}


def _begin_anew(rule: Rule, state: State, seen: Seen) -> Signal | None:
    raised = bool(state.get("raised"))
    state.clear()
    state.update(_fresh(rule))
    if not raised:
        return None
    return Signal("cleared", rule.name, seen.group, seen.at, seen.value or 0.0, 0.0, "the rule was changed, and judges anew")


def _clock(state: State, at: datetime) -> bool:
    """Whether the window is one to judge. Remembers in `step` how long after the last one it ended, in seconds; 0 for the first."""
    now, last = at.timestamp(), state["last"]
    if last is not None and now == last:
        return False
    state["last"] = now
    step = 0.0 if last is None else now - last
    state["step"] = max(0.0, step)
    if step < 0 or step > GAP_SECONDS:
        state.update(bad=0, good=0)
        shift.calm(state)
    return step >= 0


def _signal(kind: Any, rule: Rule, seen: Seen, verdict: Verdict) -> Signal:
    return Signal(kind, rule.name, seen.group, seen.at, verdict.value, verdict.expected, verdict.why)
