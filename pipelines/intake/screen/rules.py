"""The table of rules, and the verdict on an arrival: who must wait, and what is only reported.

A rule about the whole arrival that says `hold` holds the arrival. A record of an amendment chain does not wait alone: the paragraphs of one
source document wait together, for half an amendment is not law.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pipelines.intake.screen import encoding, floods, instructions, outliers, quotas
from pipelines.intake.screen.findings import Finding, Rule, Seen, each

RULES: dict[str, Rule] = {
    "instructions": each("instructions", instructions.spans),
    "triggers": each("triggers", instructions.triggers),
    "encoding": each("encoding", encoding.spans),
    "length": outliers.lengths,
    "label": outliers.labels,
    "flood": floods.find,
    "quota": quotas.find,
}
"""Each is a key of `screen` in the domain file."""


@dataclass(slots=True)
class Verdict:
    """Findings by row; `whole` are those that hold the arrival."""

    held: dict[int, list[Finding]] = field(default_factory=dict)
    reported: dict[int, list[Finding]] = field(default_factory=dict)
    whole: list[Finding] = field(default_factory=list)
    remarks: list[Finding] = field(default_factory=list)
    """About the arrival, reported only."""

    @property
    def reason(self) -> str:
        """Why the arrival as a whole waits."""
        return "; ".join(finding.words() for finding in self.whole)


def screen(seen: Seen) -> Verdict:
    """Every rule that is not off, against one arrival."""
    verdict = Verdict()
    for name, rule in RULES.items():
        action = seen.config.action(name)
        if action == "off":
            continue
        for finding in rule(seen):
            if finding.row is None:
                (verdict.whole if action == "hold" else verdict.remarks).append(finding)
            else:
                (verdict.held if action == "hold" else verdict.reported).setdefault(finding.row, []).append(finding)
    _together(seen, verdict)
    return verdict


def _together(seen: Seen, verdict: Verdict) -> None:
    """Extend what is held to whole source documents of amendment chains."""
    documents: dict[tuple[str, str, str], list[int]] = {}
    for row, record in enumerate(seen.records):
        if record.amends is not None:
            documents.setdefault((record.source, record.valid_from, record.amends), []).append(row)
    for rows in documents.values():
        first = next((row for row in rows if row in verdict.held), None)
        if first is None:
            continue
        rules = sorted({finding.rule for row in rows for finding in verdict.held.get(row, ())})
        for row in rows:
            if row not in verdict.held:
                reason = f"another paragraph of the same source document is held ({', '.join(rules)})"
                verdict.held[row] = [Finding(rules[0], reason, row, seen.records[row].place)]
