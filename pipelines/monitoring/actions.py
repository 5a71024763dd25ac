"""Does what a rule says should be done: throttle, switch a route off, go back to the release before. Actor `watcher`, every act audited.

Works with Airflow, MLflow and Triton down: it writes restraints and moves the one pointer, which gateways read. What an incident still asks
for is read from the control database, so a watcher that was killed in between does it afterwards, and what was done is not done again.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from pipelines.config import DomainConfig, Settings
from pipelines.errors import BadInput, Conflict, NotAllowed, NotFound
from pipelines.monitor_config import AlertOnly, Revert, RouteOff, Rule, Throttle
from pipelines.monitoring import alerts, cause, holdbacks, incidents
from pipelines.monitoring.incidents import ACTOR
from pipelines.monitoring.lease import alone
from pipelines.registry import partial, pointer
from pipelines.state.database import reading, transaction
from pipelines.state.models import AlertDelivery, AuditEvent, Candidate, Incident, Pointer, Tenure

NO_FLAP = timedelta(hours=24)
"""What an action of a rule went back to, the same rule does not take away again for so long."""
PARTS: dict[str, partial.Part] = {"adapter": "adapter", "prompt": "prompt", "index": "index"}


def act(settings: Settings, domain: DomainConfig, now: datetime) -> list[str]:
    """Do what the domain's open incidents ask for and what was not done yet; returns one line per thing done, or not done and why.

    Something is done for a signal once. What must wait (a canary under watch, a silence that holds actions back too) is looked at again
    in the next round. A fault of the database is raised; what cannot be done is told to people and written down.
    """
    rules = {rule.name: rule for rule in domain.monitors.watched()}
    with reading(settings) as session:
        due = [
            (row.id, key, rules[one["rule"]], one)
            for row in incidents.open_of(session, domain.domain)
            for key, one in row.signals.items()
            if not one["over"] and "acted" not in one and one["rule"] in rules and not isinstance(rules[one["rule"]].action, AlertOnly)
        ]
    said = []
    for incident, key, rule, signal in due:
        line = _one(settings, domain, incident, key, rule, signal, now)
        if line is not None:
            said.append(f"{incident}: {line}")
    return said


def _one(
    settings: Settings, domain: DomainConfig, incident: str, key: str, rule: Rule, signal: dict[str, Any], now: datetime
) -> str | None:
    with reading(settings) as session:
        silence = alerts.silenced_by(session, domain.domain, rule.name, signal["group"], now)
        held = f"silence {silence.id} of {silence.by} holds actions back too: {silence.why}" if silence and silence.actions_too else None
    if held is not None:
        return _wait(settings, incident, key, held, now)
    match rule.action:
        case Throttle() as action:
            subject = signal["group"] if rule.by == "tenant" else holdbacks.EVERYBODY
            who = f"the tenant {subject}" if rule.by == "tenant" else "every caller"
            what = f"{who} may ask {action.requests_per_minute} times a minute for {action.minutes:.0f} min"
            return _hold(settings, domain, incident, key, "throttle", subject, action, what, now)
        case RouteOff() as action:
            what = f"the route {action.route} is off for {action.minutes:.0f} min"
            return _hold(settings, domain, incident, key, "route_off", action.route, action, what, now)
        case Revert() as action:
            return _revert(settings, domain, incident, key, rule, action, signal, now)
    return None


def _hold(
    settings: Settings,
    domain: DomainConfig,
    incident: str,
    key: str,
    kind: str,
    subject: str,
    action: Throttle | RouteOff,
    what: str,
    now: datetime,
) -> str:
    per_minute = action.requests_per_minute if isinstance(action, Throttle) else None
    with transaction(settings) as session:
        alone(session)
        row = session.get_one(Incident, incident)
        if "acted" in row.signals[key]:
            return what
        holdbacks.hold(
            session, domain.domain, kind, subject, minutes=action.minutes, by=ACTOR, reason=f"{incident}: {key}", at=now,
            requests_per_minute=per_minute, incident_id=incident,
        )  # fmt: skip
        _did(session, domain, row, key, kind, what, now)
    return what


# --- going back -------------------------------------------------------------------------------------------------------


def _revert(
    settings: Settings, domain: DomainConfig, incident: str, key: str, rule: Rule, action: Revert, signal: dict[str, Any], now: datetime
) -> str | None:
    run = f"incident/{incident}/{rule.name}"
    with reading(settings) as session:
        at = session.get(Pointer, domain.domain)
        if at is not None and at.canary_id is not None:
            return _wait(settings, incident, key, f"{at.canary_id} is in canary: its rollout decides, nothing is reverted meanwhile", now)
        done = pointer.rolled_back(session, domain.domain, run)
        why_not = None if done else _why_not(session, domain, incident, rule, action, signal, at, now)
        only = action.only if action.only is not None or why_not or done or at is None else _what_is_new(session, str(at.live_id))
        live = at.live_id if at is not None else None
    if why_not is not None:
        return _not_done(settings, domain, incident, key, f"not reverted: {why_not}", now)
    try:
        # Two watchers may overlap for a round (`lease.py`), and one may crash before the next transaction: `run` finds what was done.
        target = done or partial.rollback(settings, domain.domain, actor=ACTOR, reason=f"{incident}: {signal['why']}", only=only, run=run)
    except (BadInput, Conflict, NotAllowed, NotFound) as error:
        return _not_done(settings, domain, incident, key, f"not reverted: {error}", now)
    what = f"went back to {target}" if done else f"went back from {live} to {target}" + (f", its {only} alone" if only else "")
    with transaction(settings) as session:
        alone(session)
        row = session.get_one(Incident, incident)
        if "acted" in row.signals[key]:
            return None
        _did(session, domain, row, key, "revert", what, now, to=target)
    return what


def _why_not(
    session: Session,
    domain: DomainConfig,
    incident: str,
    rule: Rule,
    action: Revert,
    signal: dict[str, Any],
    at: Pointer | None,
    now: datetime,
) -> str | None:
    """Why going back would be wrong, though it may be possible; None where it would not."""
    if at is None or at.live_id is None:
        return f"{domain.domain} has no live release"
    about = {"release": at.live_id, "prompt": session.get_one(Candidate, at.live_id).prompt}.get(rule.by)
    if about is not None and signal["group"] != about:
        return f"it is about {signal['group']}, and {at.live_id} is live"
    tenure = session.scalar(
        select(Tenure).where(Tenure.domain == domain.domain, Tenure.ended_at.is_(None)).order_by(Tenure.id.desc()).limit(1)
    )
    since = datetime.fromisoformat(signal["since"])
    backs = _rollbacks(session, domain.domain)
    if any(str(event.detail.get("run", "")).startswith(f"incident/{incident}/") for event in backs):
        return "this incident has already led to a revert"
    if tenure is not None and tenure.began_at >= since:
        return f"{at.live_id} went live after it began"
    if tenure is not None and now - tenure.began_at > timedelta(hours=action.within_hours):
        age = (now - tenure.began_at).total_seconds() / 3600
        return f"{at.live_id} has been live for {age:.0f} h, longer than {action.within_hours:g} h: it is not what changed"
    for event in backs:
        same_rule = str(event.detail.get("run", "")).endswith(f"/{rule.name}")
        if event.subject == at.live_id and event.actor == ACTOR and same_rule and now - datetime.fromisoformat(event.at) < NO_FLAP:
            return f"{at.live_id} is what this rule went back to at {event.at[:16]} UTC: it would go back and forth"
    if pointer.before(session, session.get_one(Candidate, at.live_id)) is None:
        return f"there is no release before {at.live_id} that ended well"
    return None


def _rollbacks(session: Session, domain: str) -> list[AuditEvent]:
    query = select(AuditEvent).where(AuditEvent.action == "release.rollback", AuditEvent.subject.startswith(f"{domain}/"))
    return list(session.scalars(query.order_by(AuditEvent.seq.desc()).limit(100)))


def _what_is_new(session: Session, live: str) -> partial.Part | None:
    """The part that alone differs from the release before; None, the whole, where several do or one that is not taken back by itself."""
    row = session.get_one(Candidate, live)
    earlier = pointer.before(session, row)
    new = cause.differing(row, session.get_one(Candidate, earlier)) if earlier is not None else []
    return PARTS.get(new[0]) if len(new) == 1 else None


# --- what is written down ---------------------------------------------------------------------------------------------


def _did(session: Session, domain: DomainConfig, row: Incident, key: str, do: str, what: str, now: datetime, **more: Any) -> None:
    incidents.mark(row, key, acted={"do": do, "what": what, "at": now.isoformat(timespec="seconds"), "ok": True, **more})
    incidents.note(row, now, f"{what} (because of {key})")
    _tell(session, domain, row, now)


def _not_done(settings: Settings, domain: DomainConfig, incident: str, key: str, what: str, now: datetime) -> str:
    with transaction(settings) as session:
        alone(session)
        row = session.get_one(Incident, incident)
        incidents.mark(row, key, acted={"do": "revert", "what": what, "at": now.isoformat(timespec="seconds"), "ok": False})
        incidents.note(row, now, f"{what} ({key})")
        _tell(session, domain, row, now)
    return what


def _wait(settings: Settings, incident: str, key: str, why: str, now: datetime) -> str | None:
    """Say once why it waits."""
    with transaction(settings) as session:
        alone(session)
        row = session.get_one(Incident, incident)
        if row.signals[key].get("held") == why:
            return None
        incidents.mark(row, key, held=why)
        incidents.note(row, now, f"nothing is done yet: {why} ({key})")
    return why


def _tell(session: Session, domain: DomainConfig, row: Incident, now: datetime) -> None:
    """Who was told that it began hears what was done; who was not yet will read it in the first message."""
    told = list(session.scalars(select(AlertDelivery.event).where(AlertDelivery.incident_id == row.id, AlertDelivery.state == "sent")))
    if told:
        number = 1 + len(
            {
                event
                for event in session.scalars(select(AlertDelivery.event).where(AlertDelivery.incident_id == row.id))
                if event.startswith("acted")
            }
        )
        alerts.queue(session, domain.monitors.alerts, row, f"acted-{number}", now)
