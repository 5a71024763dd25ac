"""Stops asking a service that does not answer, so that a dead one costs its time limit now and then, not at every request."""

from __future__ import annotations

import time
from collections.abc import Callable

FAULTS = 3
"""In a row, until nothing is asked any more: one slow answer is no outage."""
PAUSE_SECONDS = 2.0
"""Until one request tries again."""


class Breaker:
    """Closed while all is well. For one event loop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._faults = 0
        self._retry_at = 0.0

    @property
    def open(self) -> bool:
        """Whether the service counts as dead."""
        return self._faults >= FAULTS

    def may_ask(self) -> bool:
        """Whether to ask now. While it is open one request every `PAUSE_SECONDS` may, and the others need not wait for what it finds."""
        if not self.open:
            return True
        if self._clock() < self._retry_at:
            return False
        self._retry_at = self._clock() + PAUSE_SECONDS
        return True

    def good(self) -> None:
        """It answered."""
        self._faults = 0

    def bad(self) -> None:
        """It did not."""
        self._faults += 1
        self._retry_at = self._clock() + PAUSE_SECONDS
