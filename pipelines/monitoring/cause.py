"""What changed last before something went wrong, by what the control database and the traffic of that time say.

Nothing here proves a cause: it says what is new, with its time, the likeliest first, so that a person looks there first. A change is the
likelier, the later it came before the signal; what changes answers (a release, a canary) stands before what changes only who asks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from pipelines.config import Settings
from pipelines.monitor_config import By
from pipelines.monitoring.windows import Window
from pipelines.state.database import reading
from pipelines.state.models import AuditEvent, Candidate, Restraint, RolloutRow, Tenure

LOOKS_BACK = timedelta(hours=72)
MIX_SECONDS = 600.0
"""Length of the two windows that are compared for the traffic mix: the ten minutes before the signal, and ten an hour earlier."""
MIX_BEFORE = timedelta(hours=1)
MIX_SHARE = 0.2
"""By so much must a tenant's, topic's or route's share of the requests have changed to be named."""
MIX_REQUESTS = 50
"""Fewer requests in either window say nothing about the mix."""
PARTS = {"base_sha256": "base model", "adapter_id": "adapter", "prompt_sha256": "prompt", "index_id": "index", "policy": "policy"}
ENGINE = {
    "engine.mended": "the engine {subject} crashed and was mended",
    "engine.lost": "the engine {subject} crashed and could not be mended: its instance is out",
}
Windows = Callable[..., Sequence[Window]]
"""`Recent.latest`: the window that ends at a time, per group."""
_WEIGHT = {"release": 1.0, "canary": 0.9, "engine": 0.8, "route": 0.7, "restraint": 0.6, "mix": 0.5}


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that changed."""

    kind: str
    """release | canary | engine | route | restraint | mix"""
    at: datetime
    says: str
    detail: dict[str, Any]


def probable(settings: Settings, domain: str, at: datetime, *, windows: Windows | None = None) -> dict[str, Any]:
    """`{"likeliest": sentence or None, "changes": [{"kind", "at", "says", "detail"}], "looked_at": [...]}`, the likeliest first.

    Without `windows` the traffic mix is not looked at, and `looked_at` says so by not naming it.
    """
    since = at - LOOKS_BACK
    with reading(settings) as session:
        found = [
            *_releases(session, domain, since, at),
            *_canaries(session, domain, since, at),
            *_engines(session, since, at),
            *_restraints(session, domain, since, at),
        ]
    looked = ["releases", "canaries", "engines", "restraints"]
    if windows is not None:
        found += _mix(windows, at)
        looked.append("traffic of the last hour")
    found.sort(key=lambda change: _likelihood(change, at), reverse=True)
    changes = [asdict(change) | {"at": change.at.isoformat(timespec="seconds")} for change in found]
    return {"likeliest": found[0].says if found else None, "changes": changes[:10], "looked_at": looked}


def differing(one: Candidate, other: Candidate) -> list[str]:
    """Names of the parts that two candidates do not share: base model, adapter, prompt, index, policy."""
    return [name for column, name in PARTS.items() if getattr(one, column) != getattr(other, column)]


def _likelihood(change: Change, at: datetime) -> float:
    """Halved with every hour between the change and the signal, but for a release only down to a tenth: it may show late."""
    hours = max((at - change.at).total_seconds(), 0.0) / 3600
    freshness: float = 2.0**-hours
    return _WEIGHT[change.kind] * max(freshness, 0.1 if change.kind == "release" else 0.0)


def _releases(session: Session, domain: str, since: datetime, at: datetime) -> list[Change]:
    rows = session.scalars(
        select(Tenure).where(Tenure.domain == domain, Tenure.began_at <= at).order_by(Tenure.began_at.desc(), Tenure.id.desc())
    )
    tenures = list(rows.fetchmany(20))
    found = []
    for tenure, earlier in zip(tenures, [*tenures[1:], None], strict=False):
        if tenure.began_at < since:
            break
        detail: dict[str, Any] = {"release": tenure.candidate_id, "actor": tenure.actor, "reason": tenure.reason}
        if earlier is None:
            says = f"{tenure.candidate_id} went live at {_ago(tenure.began_at, at)}, the first release of {domain}"
        else:
            new = differing(session.get_one(Candidate, tenure.candidate_id), session.get_one(Candidate, earlier.candidate_id))
            detail |= {"before": earlier.candidate_id, "new": new}
            what = f"new in it against {earlier.candidate_id}: {', '.join(new)}" if new else f"it has the parts of {earlier.candidate_id}"
            says = f"{tenure.candidate_id} went live at {_ago(tenure.began_at, at)}; {what}"
        found.append(Change("release", tenure.began_at, says, detail))
    return found


def _canaries(session: Session, domain: str, since: datetime, at: datetime) -> list[Change]:
    rows = session.scalars(
        select(RolloutRow)
        .join(Candidate, Candidate.id == RolloutRow.candidate_id)
        .where(
            Candidate.domain == domain, RolloutRow.state == "running", RolloutRow.stage_began_at >= since, RolloutRow.stage_began_at <= at
        )
    )
    found = []
    for row in rows:
        stages = row.facts.get("stages", [])
        entered = stages[row.stage] if row.stage < len(stages) else {}
        share, shadow = entered.get("share"), entered.get("shadow", False)
        does = (
            "is asked its goldens"
            if share is None
            else f"{'shadows' if shadow else 'answers'} {share:.0%} since {_ago(row.stage_began_at, at)}"
        )
        detail = {"candidate": row.candidate_id, "stage": row.stage, "share": share, "shadow": shadow}
        found.append(Change("canary", row.stage_began_at, f"the canary {row.candidate_id} {does}", detail))
    return found


def _engines(session: Session, since: datetime, at: datetime) -> list[Change]:
    """Of the last six hours: engines and instances are the whole site's."""
    begin = max(since, at - timedelta(hours=6)).isoformat()
    events = session.scalars(
        select(AuditEvent)
        .where(AuditEvent.action.in_(ENGINE))
        .where(AuditEvent.at >= begin, AuditEvent.at <= at.isoformat())
        .order_by(AuditEvent.seq.desc())
        .limit(5)
    )
    found = []
    for event in events:
        moment = datetime.fromisoformat(event.at)
        says = ENGINE[event.action].format(subject=event.subject)
        found.append(Change("engine", moment, f"{says} at {_ago(moment, at)}", {"action": event.action, "subject": event.subject}))
    return found


def _restraints(session: Session, domain: str, since: datetime, at: datetime) -> list[Change]:
    rows = session.scalars(select(Restraint).where(Restraint.domain == domain, Restraint.began_at >= since, Restraint.began_at <= at))
    found = []
    for row in rows:
        does = (
            f"{row.subject} may ask {row.requests_per_minute} times a minute"
            if row.kind == "throttle"
            else f"the route {row.subject} is off"
        )
        says = f"{does} since {_ago(row.began_at, at)}, by {row.by}"
        found.append(Change("restraint", row.began_at, says, {"kind": row.kind, "subject": row.subject, "incident": row.incident_id}))
    return found


# --- the traffic mix ---------------------------------------------------------------------------------------------------


def _mix(windows: Windows, at: datetime) -> list[Change]:
    found: list[Change] = []

    def shares(by: By, end: datetime, measure: str, of: Callable[[Sequence[Window]], dict[str, float]]) -> tuple[dict[str, float], float]:
        counts = of(windows(by, end, MIX_SECONDS, (measure,)))
        total = sum(counts.values())
        return ({name: count / total for name, count in counts.items()} if total else {}), total

    kinds: tuple[tuple[str, By, str, Any], ...] = (
        ("tenant", "tenant", "requests", _requests),
        ("topic", "all", "topic_distance", _topics),
    )
    for what, by, measure, of in kinds:
        after, asked = shares(by, at, measure, of)
        before, asked_before = shares(by, at - MIX_BEFORE, measure, of)
        if min(asked, asked_before) < MIX_REQUESTS:
            continue
        for name in sorted({*after, *before}, key=lambda name: -abs(after.get(name, 0.0) - before.get(name, 0.0)))[:2]:
            found += _moved("mix", at, f"the {what} {name}", before.get(name, 0.0), after.get(name, 0.0))
    now, then = (windows("all", end, MIX_SECONDS, ("small_share", "provider_share", "cache_share")) for end in (at, at - MIX_BEFORE))
    if now and then and min(now[0].requests, then[0].requests) >= MIX_REQUESTS:
        routes = (("small_share", "the small model"), ("provider_share", "the outside provider"), ("cache_share", "the cache"))
        for measure, name in routes:
            found += _moved("route", at, name, then[0].values.get(measure) or 0.0, now[0].values.get(measure) or 0.0)
        if now[0].requests > 3 * then[0].requests:
            times = now[0].requests / then[0].requests
            detail = {"before": then[0].requests, "after": now[0].requests}
            found.append(
                Change("mix", at - timedelta(seconds=MIX_SECONDS), f"{times:.1f} times as many requests as an hour before", detail)
            )
    return found


def _requests(rows: Sequence[Window]) -> dict[str, float]:
    return {row.group: float(row.requests) for row in rows}


def _topics(rows: Sequence[Window]) -> dict[str, float]:
    return {name: float(count) for row in rows for name, count in row.topics.items()}


def _moved(kind: str, at: datetime, name: str, before: float, after: float) -> list[Change]:
    if abs(after - before) < MIX_SHARE:
        return []
    has = "answered" if kind == "route" else "has"
    says = f"{name} {has} {after:.0%} of the requests, an hour before {before:.0%}"
    return [Change(kind, at - timedelta(seconds=MIX_SECONDS), says, {"name": name, "before": round(before, 4), "after": round(after, 4)})]


def _ago(moment: datetime, at: datetime) -> str:
    minutes = (at - moment).total_seconds() / 60
    told = f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.0f} h" if minutes < 72 * 60 else f"{minutes / 1440:.0f} days"
    return f"{moment:%Y-%m-%d %H:%M} UTC, {told} before"
