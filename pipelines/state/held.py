"""Documents that wait for a person, beside the ledger: entered when an arrival is staged, decided once, and followed into their lines."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from pipelines.state import ledger
from pipelines.state.ledger import Line
from pipelines.state.models import Arrival, ArrivalItem, HeldDocument, now


@dataclass(frozen=True, slots=True)
class Held:
    """One document as it is staged: its line, its row in `held.parquet`, and what the rules found."""

    row: int
    line: Line
    findings: list[dict[str, Any]]


def enter(session: Session, arrival: Arrival, documents: Iterable[Held]) -> None:
    """Replace what is held of an arrival. Only before anything of it was decided."""
    session.execute(delete(HeldDocument).where(HeldDocument.arrival_id == arrival.id))
    session.add_all(
        HeldDocument(
            domain=arrival.domain,
            arrival_id=arrival.id,
            row=one.row,
            file=one.line.file,
            place=one.line.place,
            key=one.line.key,
            findings={"findings": one.findings},
            reason=one.line.reason,
        )
        for one in documents
    )


def decided(session: Session, arrival_id: str) -> bool:
    """Whether a person has decided on any document of an arrival."""
    query = select(HeldDocument.id).where(HeldDocument.arrival_id == arrival_id, HeldDocument.decision.is_not(None)).limit(1)
    return session.scalar(query) is not None


def overlay(session: Session, arrival_id: str, lines: list[Line]) -> list[Line]:
    """The account of an arrival with the decisions on its held documents in it."""
    rows = session.scalars(select(HeldDocument).where(HeldDocument.arrival_id == arrival_id))
    known = {(row.file, row.place): row for row in rows}
    return [
        replace(line, state=row.state, reason=row.reason) if (row := known.get((line.file, line.place))) is not None else line
        for line in lines
    ]


def follow(session: Session, release: Arrival, lines: Iterable[Line]) -> None:
    """What became of released documents, written where they were delivered."""
    if release.releases is None:
        raise ValueError(f"{release.id} is not a release")
    lines = list(lines)
    rows = session.scalars(select(HeldDocument).where(HeldDocument.release_id == release.id))
    known = {(row.file, row.place): row for row in rows}
    restated = []
    for line in lines:
        row = known.get((line.file, line.place))
        if row is None:
            continue
        by = f"released by {row.decided_by}: {row.decided_why}"
        row.state, row.reason = line.state, f"{by}; {line.reason}" if line.reason else by
        restated.append(replace(line, reason=row.reason))
    ledger.restate(session, release.releases, restated)
    settle(session, release.releases)


def settle(session: Session, arrival_id: str) -> None:
    """Take an arrival out of quarantine when none of its lines waits any more."""
    arrival = session.get_one(Arrival, arrival_id)
    waiting = session.scalar(
        select(func.count()).select_from(ArrivalItem).where(ArrivalItem.arrival_id == arrival_id, ArrivalItem.state == "quarantined")
    )
    if arrival.state != "quarantined" or waiting:
        return
    took = session.scalar(
        select(ArrivalItem.id)
        .where(ArrivalItem.arrival_id == arrival_id, ArrivalItem.state.in_(("accepted", "unchanged", "duplicate")))
        .limit(1)
    )
    brought = select(Arrival.version_id).where(Arrival.releases == arrival_id, Arrival.version_id.is_not(None))
    version_id = session.scalar(brought.order_by(Arrival.settled_at.desc()).limit(1))
    twins = session.scalars(select(Arrival).where(Arrival.duplicate_of == arrival_id, Arrival.state == "quarantined"))
    for one in (arrival, *twins):
        one.state, one.settled_at = "accepted" if took else "refused", now()
        one.version_id = one.version_id or version_id
        one.reason = "released from quarantine" if took else "refused from quarantine"
