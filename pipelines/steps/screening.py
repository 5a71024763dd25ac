"""The screen inside `prepare`: what of an arrival is staged for publishing, and what is staged apart for a person to decide on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pipelines.config import DomainConfig, Settings
from pipelines.corpus.staging import Held, Staged, split
from pipelines.intake import landing
from pipelines.intake.extract import Extracted
from pipelines.intake.screen import memory
from pipelines.intake.screen.findings import Finding, Seen
from pipelines.intake.screen.rules import screen as judge
from pipelines.state.ledger import Line
from pipelines.state.models import Arrival


def drop_unstorable(extracted: Extracted) -> None:
    """Refuse what no release could store: a record without a key or a text, even where a breach only quarantines."""
    kept = []
    for place, record in enumerate(extracted.records):
        lacks = "key" if not record.key.strip() else "text" if not record.withdrawn and not record.text.strip() else ""
        if lacks:
            extracted.refusals.append(Line(record.file, record.place, "refused", reason=f"the record has no {lacks}"))
        else:
            kept.append(place)
    extracted.keep(kept)


def screen(
    settings: Settings, domain: DomainConfig, arrival: Arrival, extracted: Extracted, staged: Staged, breach: str
) -> tuple[Staged, Held, list[str]]:
    """What goes on, what waits, and remarks on the arrival. `breach` says why the contract holds all of it; empty where it does not."""
    records = extracted.records
    size = sum(file.bytes for file in landing.read_seal(settings.landing_zone / domain.domain / arrival.folder).files)
    verdict = judge(
        Seen(
            records,
            staged.documents,
            domain.screen,
            memory.history(settings, domain.domain),
            memory.usage(settings, arrival, len(records), size),
        )
    )
    reasons = [reason for reason in (breach, verdict.reason) if reason]
    whole = [Finding("contract", breach)] * bool(breach) + verdict.whole
    rows = set(range(len(records))) if whole else set(verdict.held)
    kept, held = split(staged, rows)
    findings = {row: [*verdict.held.get(row, ()), *whole] for row in sorted(rows)}
    waiting = [replace(staged.lines[row], state="quarantined", reason="; ".join(one.words() for one in findings[row])) for row in findings]
    reported = {
        (staged.lines[row].file, staged.lines[row].place): "reported: " + "; ".join(one.words() for one in found)
        for row, found in verdict.reported.items()
    }
    lines = [replace(line, reason=reported.get((line.file, line.place), line.reason)) for line in kept.lines]
    documents = len(kept.documents)
    account = lines[:documents] + waiting + lines[documents:]
    return (
        replace(kept, lines=account),
        Held(held, [[_fact(one) for one in findings[row]] for row in findings], "; ".join(reasons)),
        [finding.words() for finding in verdict.remarks],
    )


def _fact(finding: Finding) -> dict[str, Any]:
    return {"rule": finding.rule, "reason": finding.reason, "part": finding.part, "start": finding.start, "end": finding.end}
