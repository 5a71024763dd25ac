"""Admission of a training against its domain's monthly budget. What waits says for what and since when; nothing else has happened yet.

What is admitted counts at its estimate until it is metered, so that two trainings at once cannot spend the same money.
"""

from __future__ import annotations

import logging
from datetime import datetime

from pipelines.config import Budget, DomainConfig, Settings, load_domain
from pipelines.errors import ConfigError, Conflict
from pipelines.governance import audit
from pipelines.registry import costs
from pipelines.registry.costs import Cost
from pipelines.state.database import transaction
from pipelines.state.models import Charge, Plan, now

log = logging.getLogger("ratchet.budget")


def admit(settings: Settings, domain_name: str, version_id: str) -> bool:
    """Whether the version's training may start. False while it waits for budget; asked again, it looks again at budget and month.

    ConfigError where a budget is set and the compute profile has no price: what cannot be counted is not started.
    """
    return (said := _waits(settings, domain_name, version_id)) is None or _told(said)


def require(settings: Settings, domain_name: str, version_id: str) -> None:
    """The same for who cannot wait. Conflict with the same words."""
    if (said := _waits(settings, domain_name, version_id)) is not None:
        raise Conflict(said, where=version_id, todo="`ratchet plan` shows what it waits for")


def _told(said: str) -> bool:
    log.warning("%s", said)
    return False


def _waits(settings: Settings, domain_name: str, version_id: str) -> str | None:
    domain = load_domain(domain_name, settings)
    name, moment = costs.key(settings, domain, version_id), now()
    cost = costs.estimate(settings, domain, training=True)
    with transaction(settings) as session:
        row = session.get(Plan, version_id)
        if session.get(Charge, name) is None:
            _require_a_price(settings, domain, cost)
            said = _over(domain, domain.budget, cost, costs.used(session, domain_name, moment), moment) if domain.budget else None
            if said is not None:
                if row is not None:
                    if row.waits is None:
                        audit.record(session, actor="ratchet", action="training.waits", subject=version_id, detail={"for": said})
                    row.waits, row.waits_since = said, row.waits_since or moment
                return said if row is None or row.waits_since is None else f"{said}; since {row.waits_since:%Y-%m-%d %H:%M} UTC"
            costs.let_go(session, version_id)
            costs.enter(session, name, domain_name, version_id, cost)
        if row is not None and row.waits is not None:
            audit.record(session, actor="ratchet", action="training.admitted", subject=version_id, detail={"waited": row.waits})
            row.waits = row.waits_since = None
    return None


def _require_a_price(settings: Settings, domain: DomainConfig, cost: Cost) -> None:
    if domain.budget is not None and cost.why.startswith("price missing"):
        raise ConfigError(
            cost.why,
            where=str(settings.configs / "compute" / f"{cost.profile}.yaml"),
            todo=f"write it in {domain.budget.currency}, 0 for what costs nothing, or take `budget` out of the domain file",
        )


def _over(domain: DomainConfig, budget: Budget, cost: Cost, used: float, moment: datetime) -> str | None:
    """Why it waits. An estimate that nothing can tell counts as nothing until the month is used up."""
    wanted = cost.money or 0.0
    if used + wanted <= budget.monthly and used < budget.monthly:
        return None
    spent = f"{used:.2f} of {budget.monthly:.2f} {budget.currency} used in {moment:%B %Y}"
    needs = f", about {wanted:.2f} needed" if wanted >= 0.005 else ""
    return f"waits for budget: {spent}{needs}; ask {budget.ask or domain.owner} or raise budget.monthly"
