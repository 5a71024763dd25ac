"""One Triton of several, as this process sees it: whether it is used, what is wrong with it, and when it last answered."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.config import Settings
from pipelines.serving.client import Server

FAILURES = 3
"""In a row, of one instance: then it is tried."""
PROBE_SECONDS = 10.0
"""A probe that takes longer has failed."""
FIRST_BACK_OFF, LONGEST_BACK_OFF = 1.0, 30.0


@dataclass(slots=True, eq=False)
class Place:
    """One instance, as this process sees it. Times are of the monotonic clock."""

    name: str
    server: Server
    failures: int = 0
    out_until: float = 0.0
    """0: in use."""
    back_off: float = FIRST_BACK_OFF
    since: float = 0.0
    """In use since."""
    draining: bool = False
    """Somebody is about to stop it: what it has begun goes on, nothing is begun."""
    in_flight: int = 0
    heard: dict[str, float] = field(default_factory=dict)
    """Engine -> when it last answered."""
    broken: dict[str, str] = field(default_factory=dict)
    """Engine -> what is wrong with it here: `crashed` until it is mended, `not loaded` until it is."""
    loading: set[str] = field(default_factory=set)
    """Engines that are not tried: they are on their way, which may take minutes."""

    @property
    def suspect(self) -> bool:
        """Used only where nobody else is."""
        return self.failures >= FAILURES

    def answered(self, engine: str) -> None:
        """It answered just now."""
        self.failures = 0
        self.heard[engine] = time.monotonic()

    def serves(self, engine: str) -> bool:
        """Whether it is sent requests of this engine."""
        return not self.out_until and not self.draining and engine not in self.broken


def drain_file(settings: Settings, instance: str) -> Path:
    """While this file is there, no gateway that shares `var` begins anything on the instance (`host:port` of its HTTP)."""
    return settings.var / "run" / "drain" / instance.replace(":", "-")
