"""What a guard says of a text: the rule, what follows, how sure, and where. Never what stands there: verdicts go to the traffic log."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from pipelines.serving_config import Guards

BROKEN = "guard_failed"
"""The rule of a guard that could not do its work: always refused, also where a domain only reports."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One finding. `score` is in [0, 1]; `where` is "question", "messages", "passage <n>" (from 1) or "answer"."""

    rule: str
    action: Literal["report", "refuse"]
    score: float
    where: str


def refused(verdicts: Iterable[Verdict]) -> bool:
    """Whether one of them stops the request."""
    return any(verdict.action == "refuse" for verdict in verdicts)


def judge(rule: str, where: str, policy: Guards, score: Callable[[], float], least: float = 0.5) -> list[Verdict]:
    """The verdict of one rule where its score reaches `least`; none where the domain turned the rule off, which then is not even tried.

    An error within becomes a refusal: what could not be looked at does not pass. Its words are dropped, for they may quote the text.
    """
    action = policy.action(rule)
    if action == "off":
        return []
    try:
        found = score()
    except Exception:
        return [Verdict(BROKEN, "refuse", 1.0, where)]
    # A threshold of 0 is met by what shows something, not by everything.
    return [Verdict(rule, action, round(found, 4), where)] if found >= least and found > 0 else []
