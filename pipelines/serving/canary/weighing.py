"""A candidate's answers against live's, as they come: every test of docs/rollout.md over a whole rollout."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from pipelines.evaluation.sequential import Evidence, ceiling
from pipelines.rollout_config import Rollout, Stage
from pipelines.serving.canary import signals
from pipelines.serving.canary.signals import Record

ALONE = 0.9
"""From this share on live answers too little beside the canary: it is compared with what live did before."""
REFERENCE = 1_000
"""Answers of live from before the rollout, at most."""
_WORTH = 200
"""Without so many, live's answers beside it are used at any share."""


@dataclass(frozen=True, slots=True)
class Before:
    """What live did before: figures that nine of ten answers kept to, and (hits, answers) per test."""

    lines: Mapping[str, float] = field(default_factory=dict)
    known: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    @classmethod
    def of(cls, records: Iterable[Record], against: str) -> Before:
        """From live's last answers, one of a conversation."""
        kept = [one for one in first_of_each(records) if one.get("release") == against and _is_live(one)][-REFERENCE:]
        line = signals.lines(signals.values(kept))
        known = {name: [0, 0] for name in signals.TESTS}
        for record in kept:
            for name, hit in signals.hits(record, line).items():
                known[name][0] += hit
                known[name][1] += 1
        return cls(line, {name: (hits, n) for name, (hits, n) in known.items() if n})


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be done with a rollout now, and why."""

    what: Literal["go on", "next stage", "pass", "revert", "withdraw"]
    reason: str = ""


class Weighing:
    """Evidence of one rollout. Fed with every record of the domain in the order of their times; pure apart from that."""

    def __init__(self, policy: Rollout, candidate: str, against: str | None, before: Before = Before()) -> None:
        self.policy, self.candidate, self.against = policy, candidate, against
        self.answered = 0
        """Requests that the candidate answered in this stage, every one of a conversation."""
        self._before, self._lines = before, dict(before.lines)
        self._learning: dict[str, list[float]] = {name: [] for name in signals.LINES if name not in self._lines}
        self._evidence = {
            name: Evidence(signals.tolerance(name, policy.tolerances), before.known.get(name, (0, 0))) for name in signals.TESTS
        }
        self._from: dict[str, tuple[int, int, int, int]] = {}
        self._met: set[tuple[str, str]] = set()
        # Where live's rate is taken from before, half of the error is kept for that.
        halves = 2 if any(step.share >= ALONE for step in policy.steps) else 1
        self._each = policy.alpha / len(signals.TESTS) / halves
        self.alarm: str | None = None

    def enter(self, stage: Stage, *, shadow: bool = False) -> None:
        """A stage begins: conversations count anew, evidence goes on."""
        self.answered = 0
        self._met.clear()
        alone = not shadow and stage.share >= ALONE
        for name, evidence in self._evidence.items():
            evidence.fresh()
            hits, n = self._before.known.get(name, (0, 0))
            known = alone and n >= _WORTH and (name not in signals.LINES or name in self._before.lines)
            evidence.ceiling = ceiling(hits, n, evidence.tolerance, self._each) if known else None
            self._from[name] = (*evidence.live, *evidence.canary)  # type: ignore[assignment]

    def feed(self, record: Record) -> None:
        """Take one record in; those of other releases, of caches and of callers' own mistakes say nothing."""
        release = record.get("release")
        mine = release == self.candidate
        if not (mine or (release == self.against and _is_live(record))) or not signals.counts(record):
            return
        self.answered += mine
        conversation = record.get("conversation") or record.get("request_id")
        if conversation:
            # Requests of one conversation stand or fall together; one that fails again and again would count as many.
            if (str(release), str(conversation)) in self._met:
                return
            self._met.add((str(release), str(conversation)))
        for name, hit in signals.hits(record, self._lines).items():
            evidence = self._evidence[name]
            evidence.see(canary=mine, hit=hit)
            if mine or evidence.ceiling is None:
                self._look(name)
        if self._learning and not mine:
            self._learn(record)

    def facts(self) -> dict[str, Any]:
        """Per test: hits and answers of both since the stage began, log10 of the evidence, the line, the tolerance."""
        told: dict[str, Any] = {}
        for name, evidence in self._evidence.items():
            live, n_live, mine, n = self._stage(name)
            if n or n_live:
                told[name] = {
                    "live": [live, n_live],
                    "candidate": [mine, n],
                    "log10_evidence": round(math.log10(max(evidence.value, 1e-300)), 3),
                    "line": self._lines.get(name),
                    "tolerance": evidence.tolerance,
                }
        return {"answered": self.answered, "alarm_at": round(math.log10(1 / self._each), 3), "tests": told}

    def _look(self, name: str) -> None:
        if self.alarm is None and self._evidence[name].value >= 1 / self._each:
            self.alarm = self._words(name)

    def _learn(self, record: Record) -> None:
        """Where live left too few answers from before, its first ones of this rollout give the figures, and are not tested by them."""
        for name, figures in signals.values([record]).items():
            if name in self._learning:
                self._learning[name] += figures
        for name, line in signals.lines(self._learning).items():
            self._lines[name] = line
            del self._learning[name]

    def _stage(self, name: str) -> tuple[int, int, int, int]:
        evidence = self._evidence[name]
        now = (*evidence.live, *evidence.canary)
        live, n_live, mine, n = (have - had for have, had in zip(now, self._from.get(name, (0, 0, 0, 0)), strict=True))
        return live, n_live, mine, n

    def _words(self, name: str) -> str:
        """`errors: 17 of 120 answers of r5 failed, 1 of 1,050 of r4 in the same time; tolerated 1 %`"""
        live, n_live, mine, n = self._stage(name)
        evidence = self._evidence[name]
        says = signals.TESTS[name].says.format(line=self._lines.get(name, 0.0))
        when = "in the same time"
        if evidence.ceiling is not None:
            (live, n_live), when = self._before.known[name], "before"
        beside = f"{live:,} of {n_live:,} of {_short(self.against or 'nothing')} {when}"
        return f"{name}: {mine:,} of {n:,} answers of {_short(self.candidate)} {says}, {beside}; tolerated {evidence.tolerance * 100:g} %"


def decide(weighing: Weighing, place: tuple[int, int], stage: Stage, stage_began: datetime, began: datetime, now: datetime) -> Decision:
    """What is to be done in stage `place` (number, of how many), which began then; the rollout did at `began`. Changes nothing."""
    if weighing.alarm is not None:
        return Decision("revert", weighing.alarm)
    policy = weighing.policy
    if now - stage_began >= timedelta(minutes=stage.minutes) and weighing.answered >= stage.requests:
        last = place[0] + 1 >= place[1]
        return Decision("pass" if last else "next stage", f"{weighing.answered:,} answers, none of the tests against it")
    if now - began >= timedelta(hours=policy.hours):
        seen = f"{weighing.answered:,} of {stage.requests:,} requests seen in {policy.hours:g} hours"
        return Decision("pass" if policy.too_little == "promote" else "withdraw", f"{seen}: {policy.too_little}")
    return Decision("go on")


def first_of_each(records: Iterable[Record]) -> list[Record]:
    """The first record of each conversation that says something, in their order."""
    met: set[tuple[Any, Any]] = set()
    found = []
    for record in records:
        who = (record.get("release"), record.get("conversation") or record.get("request_id") or id(record))
        if signals.counts(record) and who not in met:
            met.add(who)
            found.append(record)
    return found


def _is_live(record: Record) -> bool:
    return not record.get("shadow") and not record.get("canary")


def _short(release: str) -> str:
    return release.rpartition("/")[2]
