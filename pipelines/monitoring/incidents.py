"""Turns what detectors raise into incidents: one for all that goes wrong at the same time, however often it is seen.

Everything is in the control database, one transaction for what one round saw: a watcher that was killed sees the same again, and adds
nothing. An incident that is open takes up what is raised of its domain within `alerts.group_minutes` of its start, and at any time what is
of one of its own rules and groups. It is over when all its signals are, or when a person says so (`desk.py`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from pipelines.config import DomainConfig, Settings
from pipelines.governance import audit
from pipelines.monitor_config import Monitors, Rule, Severity
from pipelines.monitoring import alerts, cause
from pipelines.monitoring.detectors import Signal
from pipelines.monitoring.lease import alone
from pipelines.state.database import transaction
from pipelines.state.models import Incident

ACTOR = "watcher"
RUNBOOK = "docs/runbooks/incident.md"
OWN: dict[str, tuple[Severity, str]] = {
    "dag_failed": ("ticket", RUNBOOK),
    "domain_file": ("note", "docs/runbooks/watcher.md"),
    "watcher": ("ticket", "docs/runbooks/watcher.md"),
}
"""Rules that no domain file has: a DAG that failed, a domain file that cannot be read, a domain that cannot be watched."""
WORSE: tuple[Severity, ...] = ("note", "ticket", "page")
SHOWN = 20
"""Signals of one round that requests are looked for."""
log = logging.getLogger("ratchet.watcher")
Traces = Callable[[Rule, str], list[str]]
"""Request ids that show what a rule saw in a group."""


def take(
    settings: Settings,
    domain: DomainConfig,
    signals: Sequence[Signal],
    now: datetime,
    *,
    drill: bool = False,
    windows: cause.Windows | None = None,
    traces: Traces | None = None,
) -> list[Incident]:
    """Write down what was raised and what is over; returns the incidents that changed, as they are then.

    `windows` (`Recent.latest`) and `traces` are asked for the traffic mix and for requests that show it; without them neither is told.
    What concerns a drill and what does not are never one incident.
    """
    return take_named(settings, domain.domain, domain.monitors, signals, now, drill=drill, windows=windows, traces=traces)


def take_named(
    settings: Settings,
    domain: str,
    monitors: Monitors,
    signals: Sequence[Signal],
    now: datetime,
    *,
    drill: bool = False,
    windows: cause.Windows | None = None,
    traces: Traces | None = None,
) -> list[Incident]:
    """`take` for a domain whose file cannot be read, and for what belongs to the site."""
    if not signals:
        return []
    rules = {rule.name: rule for rule in monitors.watched()}
    # Reads files: not in the transaction, whose lock everybody waits for.
    raised = [one for one in signals if one.kind == "raised"]
    shown: dict[str, list[str]] = {}
    causes: dict[str, Any] = {}
    try:
        if raised:
            causes = cause.probable(settings, domain, min(one.at for one in raised), windows=windows)
        if traces is not None:
            shown = {_key(one): traces(rules[one.rule], one.group) for one in raised[:SHOWN] if one.rule in rules}
    except Exception as error:  # that something is wrong is told all the same
        log.error("%s: cause and traces could not be looked at: %s", domain, type(error).__name__)
    with transaction(settings) as session:
        alone(session)
        known = open_of(session, domain)
        open_now = [row for row in known if row.drill == drill]
        changed: dict[str, Incident] = {}
        told: dict[str, list[str]] = {}
        for one in signals:
            found = next((row for row in open_now if _has(row, one)), None)
            if one.kind == "cleared":
                # A drill's signal may end after the drill.
                found = found or next((row for row in known if _has(row, one)), None)
                if found is not None and _clear(found, one, now):
                    changed[found.id] = found
                continue
            if found is not None and found.signals[_key(one)]["over"] is None:
                _worse(found, one)
                continue
            severity, runbook = facts_of(rules, one.rule)
            if found is None:
                found = _joins(open_now, monitors, now)
            if found is None:
                found = _opened(session, domain, one, severity, runbook, now, causes, drill)
                open_now.append(found)
                told.setdefault(found.id, []).append("opened")
            else:
                _joined(found, one, now)
                if WORSE.index(severity) > WORSE.index(found.severity):
                    note(found, now, f"it is a {severity} now, no longer a {found.severity}: {one.rule}")
                    found.severity, found.runbook = severity, runbook
                    told.setdefault(found.id, []).append(f"escalated-{severity}")
            _add(found, one, severity, runbook, shown.get(_key(one), []))
            changed[found.id] = found
        for row in changed.values():
            if all(one["over"] for one in row.signals.values()):
                end(session, row, now, ACTOR, "all of it is well again")
                told.setdefault(row.id, []).append("closed")
        session.flush()
        for name, events in told.items():
            # One that came and went within a round is told once, as over.
            for event in events if "closed" not in events else events[-1:]:
                alerts.queue(session, monitors.alerts, changed[name], event, now)
        return list(changed.values())


def open_of(session: Session, domain: str, drill: bool | None = None) -> list[Incident]:
    """The domain's incidents that are open or acknowledged, oldest first."""
    query = select(Incident).where(Incident.domain == domain, Incident.state != "closed").order_by(Incident.number)
    if drill is not None:
        query = query.where(Incident.drill == drill)
    return list(session.scalars(query))


def note(row: Incident, at: datetime, what: str, by: str = ACTOR) -> None:
    """One more line of the timeline, in words."""
    events = [*row.timeline.get("events", []), {"at": at.isoformat(timespec="seconds"), "what": what, "by": by}]
    row.timeline = {"events": events}


def mark(row: Incident, key: str, **facts: Any) -> None:
    """Replace facts of one signal."""
    row.signals = row.signals | {key: row.signals[key] | facts}


def end(session: Session, row: Incident, now: datetime, by: str, reason: str) -> None:
    """Close it, in the caller's transaction."""
    row.state, row.closed_at = "closed", now
    note(row, now, f"closed: {reason}", by)
    audit.record(session, actor=by, action="incident.closed", subject=row.id, detail={"reason": reason})


def facts_of(rules: Mapping[str, Rule], name: str) -> tuple[Severity, str]:
    """(severity, runbook) of a rule of the domain's file, or of our own."""
    if (rule := rules.get(name)) is not None:
        return rule.severity, rule.runbook
    return OWN.get(name, ("ticket", RUNBOOK))


def _key(one: Signal) -> str:
    return f"{one.rule}/{one.group}"


def _has(row: Incident, one: Signal) -> bool:
    return _key(one) in row.signals


def _joins(rows: Iterable[Incident], monitors: Monitors, now: datetime) -> Incident | None:
    within = timedelta(minutes=monitors.alerts.group_minutes)
    return next((row for row in reversed([*rows]) if row.state != "closed" and now - row.opened_at <= within), None)


def _opened(
    session: Session, domain: str, one: Signal, severity: Severity, runbook: str, now: datetime, causes: dict[str, Any], drill: bool
) -> Incident:
    number = (session.scalar(select(func.max(Incident.number)).where(Incident.domain == domain)) or 0) + 1
    row = Incident(
        id=f"{domain}-i{number}", domain=domain, number=number, title=_named(one), severity=severity, state="open", signals={},
        cause=causes, timeline={}, runbook=runbook[:120], opened_at=now, drill=drill,
    )  # fmt: skip
    session.add(row)
    note(row, now, f"opened as a {severity}: {one.rule} of {one.group}: {one.why}" + (" (a drill)" if drill else ""))
    if likeliest := causes.get("likeliest"):
        note(row, now, f"probable cause: {likeliest}")
    session.flush()
    detail = {"rule": one.rule, "group": one.group, "severity": severity, "drill": drill}
    audit.record(session, actor=ACTOR, action="incident.opened", subject=row.id, detail=detail)
    return row


def _named(one: Signal) -> str:
    return one.rule if one.group == "all" else f"{one.rule} of {one.group}"


def _joined(row: Incident, one: Signal, now: datetime) -> None:
    again = " again" if _has(row, one) else ""
    note(row, now, f"raised{again}: {one.rule} of {one.group}: {one.why}")


def _add(row: Incident, one: Signal, severity: Severity, runbook: str, requests: list[str]) -> None:
    before = row.signals.get(_key(one), {})
    kept = {name: before[name] for name in ("acted", "held") if name in before}
    row.signals = row.signals | {
        _key(one): {
            "rule": one.rule, "group": one.group, "severity": severity, "runbook": runbook, "since": one.at.isoformat(),
            "value": one.value, "worst": one.value, "expected": one.expected, "why": one.why, "over": None,
            "requests": requests or before.get("requests", []), **kept,
        }
    }  # fmt: skip


def _worse(row: Incident, one: Signal) -> None:
    """It was raised before: a watcher that was started anew, or two processes, saw the same."""
    known = row.signals[_key(one)]
    if abs(one.value - known["expected"]) > abs(known["worst"] - known["expected"]):
        mark(row, _key(one), worst=one.value)


def _clear(row: Incident, one: Signal, now: datetime) -> bool:
    if row.signals[_key(one)]["over"] is not None:
        return False
    mark(row, _key(one), over=one.at.isoformat())
    note(row, now, f"over: {one.rule} of {one.group}: {one.why}")
    return True
