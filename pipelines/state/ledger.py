"""The account of arrivals: who delivered what, who works on it, what became of it. Nothing is dropped in silence."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from pipelines.config import Settings
from pipelines.errors import NotFound
from pipelines.governance import audit
from pipelines.state.database import insert_all, reading, transaction
from pipelines.state.models import Arrival, ArrivalItem, now


@dataclass(frozen=True, slots=True)
class Delivery:
    """A sealed folder, as read from its `arrival.json`. `fault` is set when that file itself cannot be read."""

    folder: str
    seal: str
    uploader: str
    source: str
    effective: str
    files: int
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the account: a file, or a document at a place in it."""

    file: str
    place: str
    state: str
    key: str | None = None
    content: str | None = None
    reason: str | None = None


def register(settings: Settings, domain: str, deliveries: list[Delivery]) -> None:
    """Enter sealed folders that are not in the ledger yet."""
    if not deliveries:
        return
    with transaction(settings) as session:
        known = set(session.scalars(select(Arrival.folder).where(Arrival.domain == domain)))
        for delivery in sorted(deliveries, key=lambda d: d.folder):
            if delivery.folder not in known:
                _enter(session, domain, delivery)


def _enter(session: Session, domain: str, delivery: Delivery) -> None:
    same = session.scalars(
        select(Arrival).where(Arrival.domain == domain, Arrival.seal == delivery.seal).order_by(Arrival.received_at)
    ).all()
    # What a restore took back may be delivered again.
    original = next((a for a in same if a.state != "refused" and a.duplicate_of is None and a.undone_by is None), None)
    stem = f"{domain}-{delivery.seal[:12]}"
    arrival = Arrival(
        id=stem if not same else f"{stem}-{len(same) + 1}",
        domain=domain,
        folder=delivery.folder,
        seal=delivery.seal,
        duplicate_of=original.id if original else None,
        uploader=delivery.uploader,
        source=delivery.source,
        effective=delivery.effective,
        files=delivery.files,
    )
    session.add(arrival)
    audit.record(
        session,
        actor=delivery.uploader,
        action="arrival.received",
        subject=arrival.id,
        detail={"files": delivery.files, "source": delivery.source, "duplicate_of": arrival.duplicate_of},
    )


def known_folders(settings: Settings, domain: str) -> set[str]:
    """Folders that some run has claimed."""
    with reading(settings) as session:
        return set(session.scalars(select(Arrival.folder).where(Arrival.domain == domain, Arrival.claimed_run.is_not(None))))


def claim(settings: Settings, domain: str, dag_id: str, run_id: str) -> list[str]:
    """Take every unclaimed arrival for this run and return all of this run's arrivals: a cleared run gets its own back.

    Ordered by effective date, then by arrival.
    """
    with transaction(settings) as session:
        free = session.scalars(select(Arrival).where(Arrival.domain == domain, Arrival.claimed_run.is_(None)))
        for arrival in free:
            arrival.claimed_dag, arrival.claimed_run, arrival.claimed_at = dag_id, run_id, now()
        mine = session.scalars(
            select(Arrival)
            .where(Arrival.domain == domain, Arrival.claimed_dag == dag_id, Arrival.claimed_run == run_id)
            .order_by(Arrival.effective, Arrival.received_at, Arrival.id)
        )
        return [arrival.id for arrival in mine]


def arrival(settings: Settings, arrival_id: str) -> Arrival:
    """One arrival, detached."""
    with reading(settings) as session:
        row = session.get(Arrival, arrival_id)
        if row is None:
            raise NotFound(f"there is no arrival {arrival_id!r}", todo="`ratchet arrivals` lists them")
        return row


def prepared_as(settings: Settings, arrival_id: str, name: str) -> None:
    """Remember which preparation of an arrival was the last: its reports lie under that name, whether it is refused or not."""
    with transaction(settings) as session:
        session.get_one(Arrival, arrival_id).prepared = name


def account(session: Session, arrival_id: str, lines: list[Line]) -> None:
    """Replace an arrival's lines: a rerun writes the same account again, not a second one."""
    session.execute(delete(ArrivalItem).where(ArrivalItem.arrival_id == arrival_id))
    insert_all(session, ArrivalItem, ({"arrival_id": arrival_id, **asdict(line)} for line in lines))


def restate(session: Session, arrival_id: str, lines: Iterable[Line]) -> None:
    """Give lines that are in the account a new state and reason; no line is added or lost."""
    items = {(one.file, one.place): one for one in session.scalars(select(ArrivalItem).where(ArrivalItem.arrival_id == arrival_id))}
    for line in lines:
        if (item := items.get((line.file, line.place))) is not None:
            item.state, item.reason = line.state, line.reason
    session.flush()


def unclaimed_releases(settings: Settings, domain: str) -> int:
    """Releases from quarantine that no run has claimed: they have no folder in the landing zone."""
    query = select(func.count()).select_from(Arrival)
    with reading(settings) as session:
        return session.scalar(query.where(Arrival.domain == domain, Arrival.releases.is_not(None), Arrival.claimed_run.is_(None))) or 0


def hold(session: Session, arrival_id: str, reason: str, lines: list[Line]) -> None:
    """Settle a whole arrival as quarantined until a person decides."""
    row = session.get_one(Arrival, arrival_id)
    first = row.state != "quarantined"
    row.state, row.reason, row.settled_at = "quarantined", reason, now()
    account(session, arrival_id, lines)
    if first:
        audit.record(session, actor="ratchet", action="arrival.quarantined", subject=arrival_id, allowed=False, detail={"reason": reason})


def refuse(settings: Settings, arrival_id: str, reason: str, lines: list[Line]) -> None:
    """Settle an arrival as refused, with the reason and the lines that led there."""
    with transaction(settings) as session:
        row = session.get_one(Arrival, arrival_id)
        if row.state == "accepted":
            return  # published by an earlier try: the account stands
        first = row.state != "refused"
        row.state, row.reason, row.settled_at = "refused", reason, now()
        account(session, arrival_id, lines)
        if first:
            audit.record(
                session,
                actor="ratchet",
                action="arrival.refused",
                subject=arrival_id,
                allowed=False,
                detail={"reason": reason},
            )
