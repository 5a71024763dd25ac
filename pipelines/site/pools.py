"""How many GPUs Airflow admits at once: the slots of its pool `gpu`, as plain data for `plugins/apply_access.py`."""

from __future__ import annotations

from typing import Any

from pipelines.compute_config import GPU_POOL
from pipelines.config import DomainConfig, Settings, load_profile


def pools(settings: Settings, domains: dict[str, DomainConfig]) -> dict[str, dict[str, Any]]:
    """The pool, as large as the profiles that domains name allow together. Waiting in the queue of a cluster counts: it is deferred."""
    named = {name for domain in domains.values() for name in domain.compute.values()}
    slots = sum(load_profile(name, settings).slots for name in named)
    return {GPU_POOL: {"slots": slots, "description": "GPUs of the profiles in configs/compute that a domain names"}}
