"""What the hourly run measures of a domain beside the watcher: each a function that may run again for the same hour and adds nothing."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from pipelines.config import Settings, load_domain
from pipelines.state.models import now

KEEP = timedelta(days=400)
"""Observations are kept so long: a year can be laid beside the one before."""


def texts(settings: Settings, domain_name: str) -> dict[str, Any]:
    """Groundedness, readability, language and tone of kept answers."""
    from pipelines.monitoring import observations
    from pipelines.monitoring import texts as room

    observations.prune(settings, domain_name, now() - KEEP)
    return dict(room.read(settings, load_domain(domain_name, settings), now()))


def judge(settings: Settings, domain_name: str) -> dict[str, Any]:
    """A sample of kept answers before the judge, within its budget."""
    from pipelines.monitoring import judging

    return dict(judging.judge(settings, load_domain(domain_name, settings), now()))


def probe(settings: Settings, domain_name: str) -> dict[str, Any]:
    """Some goldens of what is live. Unavailable while the gateway does not answer."""
    from pipelines.monitoring import probes

    return dict(probes.ask(settings, load_domain(domain_name, settings), now()))


def drift(settings: Settings, domain_name: str) -> dict[str, Any]:
    """The last hours beside the weeks before."""
    from pipelines.monitoring import drift as room

    return dict(room.look(settings, load_domain(domain_name, settings), now()))


def drill(settings: Settings, domain_name: str) -> dict[str, Any]:
    """A bad release planted on a throw-away site: Unavailable where the alert or the revert did not come. Nothing in production, nor while
    nothing is live."""
    from pipelines.monitoring import drill as room
    from pipelines.registry import pointer

    at = pointer.current(settings, domain_name)
    if settings.environment == "production" or at is None or at.live_id is None:
        return {"domain": domain_name, "skipped": "nothing is live" if settings.environment != "production" else "this is production"}
    return dict(room.run(settings, domain_name))


def summarise(settings: Settings, domain_name: str) -> dict[str, Any]:
    """The week's figures to whom the domain file names, once a week."""
    from pipelines.feedback import figures
    from pipelines.monitoring import summary

    return dict(summary.send(settings, load_domain(domain_name, settings), now(), loop=figures.loop(settings, domain_name)))
