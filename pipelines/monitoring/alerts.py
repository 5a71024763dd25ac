"""Tells people: an outbox in the control database, written in the transaction that opens or closes an incident, sent by the watcher.

A message is given to an address **at most once**: it is marked `sending` before it is handed over, and what was marked so when a watcher
was killed, or got no answer in time, is not sent again, because it may have arrived. A page must not get lost by that: five minutes later,
unless somebody has acknowledged it by then, it follows once more, saying so. What was refused, or could not be handed over, is tried again.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from pipelines.config import Settings, domain_names, load_domain
from pipelines.errors import RatchetError
from pipelines.governance import audit
from pipelines.monitor_config import Alerts
from pipelines.monitoring import message, senders
from pipelines.monitoring.lease import alone
from pipelines.monitoring.senders import Address, Sent
from pipelines.state.database import reading, transaction
from pipelines.state.models import AlertDelivery, Incident, Silence

FIRST_WAIT = timedelta(seconds=15)
LONGEST_WAIT = timedelta(minutes=15)
AGAIN = timedelta(minutes=5)
"""After so long a page that may or may not have arrived is told once more."""
HANDING_OVER = timedelta(seconds=2 * senders.SEND_SECONDS)
"""A message that is `sending` for longer was left so by a watcher that ended."""
LEFT = "the watcher ended while it was handed over: it may have arrived"
REMINDERS = ("repeated", "again")
"""Events that an acknowledgement makes needless."""
AT_ONCE, AT_MOST = 8, 64
"""Messages that are on their way at the same time, and of one round: the watcher must look again soon."""


def queue(session: Session, config: Alerts, row: Incident, event: str, now: datetime) -> int:
    """Put a message into the outbox, in the caller's transaction; returns for how many addresses. The same event again adds nothing.

    A note goes only to addresses that ask for notes. That it is over, or what was done, is told to whom the incident was told, wherever
    this runs: their addresses are in the outbox.
    """
    known = list(session.scalars(select(AlertDelivery).where(AlertDelivery.incident_id == row.id)))
    if event.startswith(("closed", "acted")):
        names = {one.address for one in known if one.state in ("waiting", "sending", "sent")}
    else:
        names = {one.id for one in senders.addresses(config) if row.severity in one.severities}
    new = sorted(names - {one.address for one in known if one.event == event})
    for name in new:
        session.add(AlertDelivery(incident_id=row.id, event=event, address=name, due_at=now, state="waiting", tries=0))
    session.flush()
    return len(new)


def deliver(settings: Settings, now: datetime, configs: Mapping[str, Alerts] | None = None) -> dict[str, int]:
    """Send what is due, of all domains. Returns counts: sent, failed (for good), waiting (to be tried again), unsure, silenced.

    Takes as long as the slowest receiver, at most `senders.SEND_SECONDS`. Only one watcher of a site may run it (`lease.py`). `configs`,
    by domain, stands in place of reading the domain files.
    """
    told = {"sent": 0, "failed": 0, "waiting": 0, "unsure": 0, "silenced": 0}
    if not _anything(settings):
        return told
    configs = _configs(settings) if configs is None else configs
    with transaction(settings) as session:
        alone(session)
        _left_behind(session, now)
        _owed(session, configs, now)
        told["silenced"] = _silenced(session, now)
        due = _due(session, now)
        work = []
        for one, row in due:
            config = configs.get(row.domain, Alerts())
            address = next((found for found in senders.addresses(config) if found.id == one.address), None)
            one.state, one.due_at, one.tries = "sending", now + HANDING_OVER, one.tries + 1
            text = (message.title(row, one.event), message.body(row, one.event, now))
            work.append(_Job(one.id, row.id, config, address, *text, "closed" if one.event.startswith("closed") else row.severity))
    if not work:
        return told

    with ThreadPoolExecutor(AT_ONCE) as pool:
        for job, sent in zip(work, pool.map(_hand_over, work), strict=True):
            told[_settle(settings, job.delivery, job.config, sent, now)] += 1
    return told


def try_all(settings: Settings, domain: str | None, by: str) -> list[dict[str, Any]]:
    """Send a test message to every address of a domain, or of all, now: `address`, `told_of`, `delivered`, `error` of each. Audited.

    NotFound and ConfigError as `load_domain`.
    """
    configs = {domain: load_domain(domain, settings).monitors.alerts} if domain else _configs(settings)
    found = {one.id: one for config in configs.values() for one in senders.addresses(config)}
    title = f"[test] ratchet, {domain or 'all domains'}"
    body = f"This is a test by {by}: alerts of {domain or 'every domain'} of this site come here. Nothing is wrong.\n"
    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = list(pool.map(lambda one: senders.send(one, title, body, "note"), found.values()))
    rows = [
        {"address": one.id, "told_of": ", ".join(one.severities), "delivered": sent.outcome == "sent", "error": sent.error}
        for one, sent in zip(found.values(), answers, strict=True)
    ]
    with transaction(settings) as session:
        detail = {"addresses": len(rows), "delivered": sum(sent.outcome == "sent" for sent in answers)}
        audit.record(session, actor=by, action="alerts.tested", subject=domain or "*", detail=detail)
    return rows


def silenced_by(session: Session, domain: str, rule: str, group: str, now: datetime) -> Silence | None:
    """The silence that covers a signal now, the longest of several."""
    return session.scalar(
        select(Silence)
        .where(Silence.domain == domain, Silence.until > now)
        .where(or_(Silence.rule.is_(None), Silence.rule == rule), or_(Silence.group.is_(None), Silence.group == group))
        .order_by(Silence.until.desc())
        .limit(1)
    )


def deliveries(settings: Settings, incident_id: str) -> list[AlertDelivery]:
    """What was told of an incident, to whom, and how that went; in the order of its events."""
    with reading(settings) as session:
        return list(session.scalars(select(AlertDelivery).where(AlertDelivery.incident_id == incident_id).order_by(AlertDelivery.id)))


class _Job(NamedTuple):
    delivery: int
    incident: str
    config: Alerts
    address: Address | None
    title: str
    body: str
    kind: str


def _hand_over(job: _Job) -> Sent:
    if job.address is None:
        return Sent("failed", f"the address is not in {job.config.urls_env} of the watcher")
    return senders.send(job.address, job.title, job.body, job.kind, job.incident)


# --- what is due ------------------------------------------------------------------------------------------------------


def _configs(settings: Settings) -> dict[str, Alerts]:
    """Of the domains whose file is whole; for another, and for the site, the defaults hold."""
    found = {}
    for name in domain_names(settings):
        try:
            found[name] = load_domain(name, settings).monitors.alerts
        except RatchetError:
            continue
    return found or {"": Alerts()}


def _anything(settings: Settings) -> bool:
    with reading(settings) as session:
        waits = select(AlertDelivery.id).where(AlertDelivery.state.in_(("waiting", "sending"))).limit(1)
        opened = select(Incident.id).where(Incident.state != "closed").limit(1)
        return session.scalar(waits) is not None or session.scalar(opened) is not None


def _left_behind(session: Session, now: datetime) -> None:
    for one in session.scalars(select(AlertDelivery).where(AlertDelivery.state == "sending", AlertDelivery.due_at < now)):
        _unsure(session, one, LEFT, now)


def _unsure(session: Session, one: AlertDelivery, why: str, now: datetime) -> None:
    """It may have arrived: never again as it is. A page is followed by another one, once."""
    one.state, one.error = "failed", why
    row = session.get_one(Incident, one.incident_id)
    follows = f"again-{one.event}"[:80]
    if row.severity != "page" or row.state != "open" or one.event.startswith(("again", "closed", "acted")):
        return
    known = select(AlertDelivery.id).where(AlertDelivery.incident_id == row.id, AlertDelivery.event == follows)
    if session.scalar(known.where(AlertDelivery.address == one.address)) is not None:
        return
    session.add(AlertDelivery(incident_id=row.id, event=follows, address=one.address, due_at=now + AGAIN, state="waiting", tries=0))


def _owed(session: Session, configs: Mapping[str, Alerts], now: datetime) -> None:
    """What the outbox should hold and does not: an incident that was opened where no address was known; a page that nobody took."""
    for row in session.scalars(select(Incident).where(Incident.state == "open")):
        config = configs.get(row.domain, Alerts())
        rows = list(session.scalars(select(AlertDelivery).where(AlertDelivery.incident_id == row.id)))
        if not rows:
            queue(session, config, row, "opened", now)
        elif row.severity == "page" and not any(one.state in ("waiting", "sending", "silenced") for one in rows):
            last = max(one.sent_at or one.due_at for one in rows)
            if now - last >= timedelta(hours=config.repeat_hours):
                number = 1 + len({one.event for one in rows if one.event.startswith("repeated-")})
                queue(session, config, row, f"repeated-{number}", now)


def _silenced(session: Session, now: datetime) -> int:
    """Hold back what a silence covers, and let go what none covers any more. What is over meanwhile is not told at all."""
    held = 0
    rows = session.execute(
        select(AlertDelivery, Incident)
        .join(Incident, Incident.id == AlertDelivery.incident_id)
        .where(AlertDelivery.state.in_(("waiting", "silenced")), Incident.state != "closed")
    ).all()
    covered: dict[str, bool] = {}
    for one, row in rows:
        if row.id not in covered:
            live = [signal for signal in row.signals.values() if not signal["over"]]
            covered[row.id] = bool(live) and all(silenced_by(session, row.domain, s["rule"], s["group"], now) for s in live)
        state = "silenced" if covered[row.id] else "waiting"
        if not (row.state != "open" and one.event.startswith(REMINDERS)):  # what an acknowledgement stopped stays so
            one.state = state
        held += state == "silenced"
    return held


def _due(session: Session, now: datetime) -> list[tuple[AlertDelivery, Incident]]:
    """One message per incident and address, the oldest. Of what is over before it could be told only that is told."""
    rows = session.execute(
        select(AlertDelivery, Incident)
        .join(Incident, Incident.id == AlertDelivery.incident_id)
        .where(AlertDelivery.state.in_(("waiting", "sending")))
        .order_by(AlertDelivery.id)
    ).all()
    ends = {(row.id, one.address) for one, row in rows if one.event.startswith("closed")}
    found: list[tuple[AlertDelivery, Incident]] = []
    seen: set[tuple[str, str]] = set()
    for one, row in rows:
        if one.event.startswith(REMINDERS) and row.state != "open":
            one.state, one.error = "silenced", f"it was {'closed' if row.state == 'closed' else 'acknowledged'} before it was due"
            continue
        if row.state == "closed" and not one.event.startswith("closed") and one.state == "waiting" and (row.id, one.address) in ends:
            one.state, one.error = "silenced", "it was over before this could be told: the last message says all of it"
            continue
        first = (row.id, one.address) not in seen
        seen.add((row.id, one.address))
        if first and one.state == "waiting" and one.due_at <= now:
            found.append((one, row))
    return found[:AT_MOST]


def _settle(settings: Settings, delivery: int, config: Alerts, sent: Sent, now: datetime) -> str:
    """Write down how it went; returns what to count it as."""
    with transaction(settings) as session:
        one = session.get_one(AlertDelivery, delivery)
        if one.state != "sending":  # another watcher took it for left behind
            return "unsure"
        if sent.outcome == "sent":
            one.state, one.sent_at, one.error = "sent", now, None
            return "sent"
        if sent.outcome == "unsure":
            _unsure(session, one, str(sent.error), now)
            return "unsure"
        one.error = sent.error
        if one.tries >= config.tries:
            one.state = "failed"
            return "failed"
        one.state, one.due_at = "waiting", now + min(FIRST_WAIT * 2 ** (one.tries - 1), LONGEST_WAIT)
        return "waiting"
