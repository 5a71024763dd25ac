"""A week as one HTML mail: figures beside those of the week before, what went wrong, what was released, what waits for people.

A week is an ISO week, Monday to Sunday, UTC; the mail is of the last whole one, and is made once. It holds figures and names of releases,
never text of callers, and needs nothing from elsewhere: style in its tags, bars of table cells, no picture, no script.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from pipelines.config import DomainConfig, Settings
from pipelines.errors import ConfigError, Unavailable
from pipelines.monitoring import observations
from pipelines.state.database import reading
from pipelines.state.models import AuditEvent, Incident, ReviewItem, Tenure
from pipelines.writing import write_text

MARK = "summary"
WEEK = timedelta(days=7)
OPEN = ("open", "disputed", "escalated")
_LOG = ("requests", "error_share", "latency_p50", "latency_p95", "cost_per_request", "abstained_share", "ungrounded_share", "cache_share")
_OBSERVED = ("groundedness_mean", "judged_mean", "probe_wrong_share", "inconsistent_share", "bias_gap")
_KEPT_WEEKS = 60


@dataclass(frozen=True, slots=True)
class Line:
    """One figure. `better`: whether more of it is better (1), worse (-1), or neither (0)."""

    name: str
    unit: str
    now: float | None
    before: float | None
    better: int

    @property
    def change(self) -> float | None:
        """By what share of what it was, or, of a share, by how many points; None where one of both is missing or it was 0."""
        if self.now is None or self.before is None:
            return None
        if self.unit == "share":
            return self.now - self.before
        return (self.now - self.before) / self.before if self.before else None

    @property
    def judged(self) -> str:
        """good | bad | same: of a change below a twentieth, or a hundredth of a share, nothing is said."""
        change = self.change
        if change is None or not self.better or abs(change) < (0.01 if self.unit == "share" else 0.05):
            return "same"
        return "good" if change * self.better > 0 else "bad"


def send(settings: Settings, domain: DomainConfig, now: datetime, loop: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Make and send the last whole week's summary, once: {week, sent, path, skipped}.

    To the Apprise address (`mailto://...`, `mailtos://...`) in the environment variable `monitors.alerts.summary_to_env`; where none is
    named, or it is empty, it lies in `var/summaries/` only, where it is written first in any case. `loop`: the loop's own figures
    (`feedback.figures.loop`), of all time. Unavailable when the mail was not taken; a cleared task tries again. ConfigError for an address
    that Apprise does not know. A mail that a killed run may have handed over is not sent again.
    """
    end = week_end(now)
    year, number, _ = (end - timedelta(days=1)).isocalendar()
    week = f"{year}-W{number:02d}"
    told = {"week": week, "sent": False, "path": "", "skipped": ""}
    held = observations.state(settings, domain.domain, MARK).get("weeks", {})
    if week in held:
        return told | {"skipped": f"it was {held[week]}"}
    path = settings.var / "summaries" / f"{domain.domain}-{week}.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    html = page(settings, domain, end, loop)
    write_text(path, html)
    told["path"] = str(path.relative_to(settings.var))
    address = os.environ.get(domain.monitors.alerts.summary_to_env or "", "").strip()
    if not _mark(settings, domain.domain, week, "being sent" if address else "written"):
        return told | {"skipped": "another run was faster"}
    if address:
        try:
            _mail(address, f"{domain.domain}: week {week}", html)
        except (Unavailable, ConfigError):
            _mark(settings, domain.domain, week, None)
            raise
        _mark(settings, domain.domain, week, "sent")
    return told | {"sent": bool(address)}


def week_end(now: datetime) -> datetime:
    """The Monday, 0 h UTC, on which the last whole ISO week ended."""
    day = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return day - timedelta(days=day.weekday())


def page(settings: Settings, domain: DomainConfig, end: datetime, loop: Mapping[str, Any] | None = None) -> str:
    """The HTML of the week that ended then."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    week, before = _figures(settings, domain, end - WEEK, end), _figures(settings, domain, end - 2 * WEEK, end - WEEK)
    with reading(settings) as session:
        found = {
            "incidents": _incidents(session, domain.domain, end),
            "releases": _releases(session, domain.domain, end),
            "queue": _queue(session, domain.domain, end),
        }
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined)
    template = environment.get_template("summary.html")
    return template.render(
        domain=domain.domain,
        description=domain.description,
        begin=(end - WEEK).date().isoformat(),
        last=(end - timedelta(days=1)).date().isoformat(),
        lines=_lines(week, before, _currency(domain)),
        days=_by_day(settings, domain, end),
        loop=_loop_lines(loop or {}),
        **found,
    )


# --- figures ----------------------------------------------------------------------------------------------------------


def _figures(settings: Settings, domain: DomainConfig, begin: datetime, end: datetime) -> dict[str, float | None]:
    from pipelines.monitoring.history import history
    from pipelines.monitoring.windows import windows

    length, source = WEEK.total_seconds(), history(settings, domain.domain, begin, end)
    try:
        made = windows(source, "all", begin=begin, end=end, seconds=length, every=length, config=domain.monitors, measures=_LOG)
    finally:
        source.close()
    found: dict[str, float | None] = {name: made[0].values.get(name) if made else None for name in _LOG}
    rows = observations.read(settings, domain.domain, _OBSERVED, begin, end)
    return found | {name: observations.mean([row for row in rows if row.measure == name])[0] for name in _OBSERVED}


def _by_day(settings: Settings, domain: DomainConfig, end: datetime) -> list[dict[str, Any]]:
    """Requests of every day, and their share of the busiest day's."""
    from pipelines.monitoring.history import history
    from pipelines.monitoring.windows import windows

    day = timedelta(days=1).total_seconds()
    source = history(settings, domain.domain, end - WEEK, end)
    try:
        found = windows(
            source, "all", begin=end - WEEK, end=end, seconds=day, every=day, config=domain.monitors, measures=("requests", "error_share")
        )
    finally:
        source.close()
    most = max((one.requests for one in found), default=0)
    return [
        {"day": f"{one.begin:%a %d %b}", "requests": one.requests, "width": round(100 * one.requests / most) if most else 0}
        for one in found
    ]


def _currency(domain: DomainConfig) -> str:
    """Empty where no cost is shown."""
    if not (domain.monitors.cost_per_1000_tokens or domain.monitors.cost_per_gpu_hour):
        return ""
    return domain.budget.currency if domain.budget is not None else "of the domain's currency"


def _lines(week: Mapping[str, float | None], before: Mapping[str, float | None], currency: str) -> list[Line]:
    shown = [
        ("Requests", "requests", "count", 0),
        ("Failed on our side", "error_share", "share", -1),
        ("Time to the answer, half within", "latency_p50", "ms", -1),
        ("Time to the answer, 95 % within", "latency_p95", "ms", -1),
        ("Abstentions", "abstained_share", "share", 0),
        ("Not grounded", "ungrounded_share", "share", -1),
        ("From the cache", "cache_share", "share", 1),
        ("Groundedness of kept answers", "groundedness_mean", "0 to 1", 1),
        ("Sampled answers, as judged", "judged_mean", "0 to 1", 1),
        ("Goldens answered wrongly", "probe_wrong_share", "share", -1),
        ("Asked twice, answered differently", "inconsistent_share", "share", -1),
        ("Gap between persons", "bias_gap", "share", -1),
    ]
    if currency:
        shown.insert(4, ("Cost of a request", "cost_per_request", currency, -1))
    return [Line(name, unit, week.get(key), before.get(key), better) for name, key, unit, better in shown]


def _incidents(session: Session, domain: str, end: datetime) -> dict[str, Any]:
    query = select(Incident).where(Incident.domain == domain, Incident.drill.is_(False))
    mine = list(session.scalars(query.where(Incident.opened_at >= end - WEEK, Incident.opened_at < end).order_by(Incident.opened_at)))
    earlier = query.where(Incident.opened_at >= end - 2 * WEEK, Incident.opened_at < end - WEEK)
    return {
        "rows": [
            {"id": one.id, "title": one.title, "severity": one.severity, "opened": one.opened_at, "closed": one.closed_at} for one in mine
        ],
        "before": session.scalar(select(func.count()).select_from(earlier.subquery())) or 0,
        "open": sum(one.closed_at is None for one in mine),
    }


def _releases(session: Session, domain: str, end: datetime) -> dict[str, Any]:
    tenures = select(Tenure).where(Tenure.domain == domain, Tenure.began_at >= end - WEEK, Tenure.began_at < end).order_by(Tenure.began_at)
    rows = [{"id": one.candidate_id, "at": one.began_at, "by": one.actor, "reason": one.reason} for one in session.scalars(tenures)]
    query = select(AuditEvent).where(AuditEvent.action == "release.rollback", AuditEvent.subject.startswith(f"{domain}/"))
    # The audit's times are text that is hashed, in one form: they sort as they are.
    reverts = [one for one in session.scalars(query) if end - WEEK <= datetime.fromisoformat(one.at) < end]
    return {"rows": rows, "reverts": [{"to": one.subject, "from": one.detail.get("from", ""), "by": one.actor} for one in reverts]}


def _queue(session: Session, domain: str, end: datetime) -> dict[str, Any]:
    mine = select(func.count()).select_from(ReviewItem).where(ReviewItem.domain == domain)
    oldest = session.scalar(select(func.min(ReviewItem.opened_at)).where(ReviewItem.domain == domain, ReviewItem.state.in_(OPEN)))
    return {
        "waiting": session.scalar(mine.where(ReviewItem.state.in_(OPEN))) or 0,
        "opened": session.scalar(mine.where(ReviewItem.opened_at >= end - WEEK, ReviewItem.opened_at < end)) or 0,
        "settled": session.scalar(mine.where(ReviewItem.settled_at >= end - WEEK, ReviewItem.settled_at < end)) or 0,
        "oldest": oldest,
    }


def _loop_lines(loop: Mapping[str, Any]) -> list[tuple[str, str]]:
    def share(key: str) -> str:
        return "–" if loop.get(key) is None else f"{loop[key]:.0%}"

    if not loop:
        return []
    hours = loop.get("hours_to_mend") or {}
    return [
        ("Complaints", str(loop.get("complaints", 0))),
        ("Accepted corrections", str(loop.get("accepted", 0))),
        ("of these in a release that gets them right", share("mended_share")),
        ("of these wrong again since", share("regressed_share")),
        ("waiting for a release", str(loop.get("waiting_corrections", 0))),
        ("From complaint to mended answer, half within", "–" if hours.get("median") is None else f"{hours['median']:.1f} h"),
        ("nine of ten within", "–" if hours.get("p90") is None else f"{hours['p90']:.1f} h"),
    ]


# --- sending ----------------------------------------------------------------------------------------------------------


def _mark(settings: Settings, domain: str, week: str, how: str | None) -> bool:
    """Write down what became of a week's mail; None: nothing. False where another run has begun it."""
    with observations.marked(settings, domain, MARK) as (_, state):
        weeks: dict[str, str] = dict(state.get("weeks", {}))
        if how in ("being sent", "written") and week in weeks:
            return False
        weeks.pop(week, None)
        if how is not None:
            weeks[week] = how
        state["weeks"] = dict(sorted(weeks.items())[-_KEPT_WEEKS:])
    return True


def _mail(address: str, title: str, html: str) -> None:
    import logging

    import apprise

    where = "monitors.alerts.summary_to_env"
    plugin: Any = apprise.Apprise.instantiate(address)
    if plugin is None:
        raise ConfigError("the address is none that Apprise knows", where=where, todo="write it as mailto://user:password@host?to=...")
    # What Apprise logs of a failure holds the address, and the address a password.
    logger = logging.getLogger("apprise")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        well = plugin.notify(title=title, body=html, body_format=apprise.NotifyFormat.HTML, notify_type=apprise.NotifyType.INFO)
    except Exception as error:
        raise Unavailable(
            f"the summary was not sent ({type(error).__name__})", where=where, todo="clear the task once it is mended"
        ) from None
    finally:
        logger.setLevel(level)
    if not well:
        raise Unavailable("the mail's receiver did not take the summary", where=where, todo="see that its address and password are right")
