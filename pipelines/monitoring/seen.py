"""What a detector is shown, what it finds, and what it says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

State = dict[str, Any]
"""What a detector remembers of one rule and group: plain JSON."""


@dataclass(frozen=True)
class Seen:
    """One window of one group, as a rule is shown it."""

    at: datetime
    """The window's end."""
    group: str
    value: float | None
    """Of the rule's measure; None where the window has none."""
    n: int
    """Requests that the value rests on."""
    spans: Mapping[float, tuple[float | None, int]] = field(default_factory=dict)
    """For burn rules: minutes up to `at` -> (share of bad requests, requests)."""
    release: str | None = None
    """That was live."""
    seconds: float = 300.0
    """The window's length."""


@dataclass(frozen=True)
class Signal:
    """Something began or is over."""

    kind: Literal["raised", "cleared"]
    rule: str
    group: str
    at: datetime
    value: float
    expected: float
    why: str
    """One sentence for whoever is woken."""


@dataclass(frozen=True)
class Verdict:
    """What one window says. Neither bad nor good: between the two lines of the hysteresis."""

    bad: bool
    good: bool
    value: float
    expected: float
    why: str
