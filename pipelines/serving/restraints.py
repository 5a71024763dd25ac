"""What is held back for a while, by the watcher or a person: throttled callers, ways to answer that are off. Read with the pointers."""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlalchemy import select
from sqlalchemy.orm import Session

from pipelines.state.models import Restraint, now

EVERYBODY = "*"


@dataclass(frozen=True, slots=True)
class Held:
    """Of one domain: requests a minute by tenant (`*`: of each tenant), and routes that are not used."""

    throttles: dict[str, int] = field(default_factory=dict)
    off: frozenset[str] = frozenset()

    def limit(self, tenant: str) -> int | None:
        """Requests a minute that this tenant may make; None without a limit."""
        found = [self.throttles[name] for name in (tenant, EVERYBODY) if name in self.throttles]
        return min(found, default=None)


def in_force(session: Session) -> dict[str, Held]:
    """By domain, what is held back now. Of two limits for one tenant the lower counts."""
    moment = now()
    rows = session.scalars(select(Restraint).where(Restraint.until > moment, Restraint.lifted_at.is_(None)))
    throttles: dict[str, dict[str, int]] = {}
    off: dict[str, set[str]] = {}
    for row in rows:
        if row.kind == "throttle" and row.requests_per_minute is not None:
            mine = throttles.setdefault(row.domain, {})
            mine[row.subject] = min(row.requests_per_minute, mine.get(row.subject, row.requests_per_minute))
        elif row.kind == "route_off":
            off.setdefault(row.domain, set()).add(row.subject)
    return {domain: Held(throttles.get(domain, {}), frozenset(off.get(domain, ()))) for domain in throttles.keys() | off.keys()}
