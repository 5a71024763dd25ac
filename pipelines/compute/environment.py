"""What a step's process on another machine must know of this one. Never a secret: those are the node's own."""

from __future__ import annotations

from pipelines.compute_config import OnNodes
from pipelines.config import PROJECT, Ports, Settings

OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "DO_NOT_TRACK": "1"}


def environment(settings: Settings, profile: OnNodes) -> dict[str, str]:
    """Variables that make `load_settings` there give these settings, and what `launch` needs to use all nodes."""
    project = profile.project or str(PROJECT)
    found = {
        **OFFLINE,
        "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": project,
        "RATCHET_ENVIRONMENT": settings.environment,
        "RATCHET_CONFIGS": str(settings.configs).replace(str(PROJECT), project, 1) if profile.project else str(settings.configs),
        "RATCHET_VAR": str(settings.var),
        "RATCHET_HOST": settings.host,
        "RATCHET_NODES": str(profile.nodes),
        "RATCHET_RENDEZVOUS_PORT": str(profile.rendezvous_port),
        **{f"RATCHET_PORT_{name.upper()}": str(getattr(settings.ports, name)) for name in Ports.model_fields},
    }
    if profile.network_interface:
        found["RATCHET_NETWORK_INTERFACE"] = profile.network_interface
    if settings.landing is not None:
        found["RATCHET_LANDING"] = str(settings.landing)
    if settings.today is not None:
        found["RATCHET_TODAY"] = settings.today
    # A URL with a host may hold a password.
    if settings.database_url is not None and settings.database_url.startswith("sqlite:///"):
        found["RATCHET_DATABASE_URL"] = settings.database_url
    return found
