"""Which arrivals a dataset version rests on: those of its line of parents, where a restored version goes on from the one it restores."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from pipelines.state.models import Arrival, DatasetVersion


def line(session: Session, domain: str, version_id: str) -> list[str]:
    """The versions whose arrivals make up this one, itself first."""
    rows = session.execute(
        select(DatasetVersion.id, DatasetVersion.parent_id, DatasetVersion.restores_id).where(DatasetVersion.domain == domain)
    )
    before = {row.id: row.restores_id or row.parent_id for row in rows}
    found: list[str] = []
    at: str | None = version_id
    while at is not None:
        found.append(at)
        at = before.get(at)
    return found


def arrivals(session: Session, domain: str, version_id: str) -> set[str]:
    """The arrivals whose documents it holds: each version's own, and those that had waited and came in with it."""
    versions = set(line(session, domain, version_id))
    own = session.execute(select(DatasetVersion.id, DatasetVersion.arrival_id).where(DatasetVersion.domain == domain))
    came_in = session.execute(
        select(Arrival.version_id, Arrival.id).where(
            Arrival.domain == domain, Arrival.version_id.is_not(None), Arrival.duplicate_of.is_(None)
        )
    )
    return {arrival for version, arrival in (*own, *came_in) if version in versions}


def answerable(session: Session, domain: str, version_id: str, live_id: str | None) -> list[str]:
    """Who delivered, or restored, what is new in a version since the live one: they may not approve it.

    Everyone since the live version counts, and everyone whose documents it holds and the live one does not: a restore may bring back
    what came before the live version and was taken out again.
    """
    rows = session.execute(
        select(DatasetVersion.id, DatasetVersion.major, DatasetVersion.minor, DatasetVersion.arrival_id).where(
            DatasetVersion.domain == domain
        )
    )
    number = {row.id: (row.major, row.minor) for row in rows}
    after = number[live_id] if live_id else (0, -1)
    between = {name for name, place in number.items() if after < place <= number[version_id]}
    new = arrivals(session, domain, version_id) - (arrivals(session, domain, live_id) if live_id else set())
    people = session.execute(
        select(Arrival.uploader, Arrival.id, Arrival.version_id, DatasetVersion.id)
        .outerjoin(DatasetVersion, DatasetVersion.arrival_id == Arrival.id)
        .where(Arrival.domain == domain)
    )
    return sorted({who for who, arrival, came_with, made in people if arrival in new or came_with in between or made in between})


def holders(session: Session, domain: str, wanted: set[str]) -> set[str]:
    """The versions that rest on any of these arrivals."""
    rows = session.execute(
        select(DatasetVersion.id, DatasetVersion.parent_id, DatasetVersion.restores_id, DatasetVersion.arrival_id)
        .where(DatasetVersion.domain == domain)
        .order_by(DatasetVersion.major, DatasetVersion.minor)
    )
    came_with = set(session.scalars(select(Arrival.version_id).where(Arrival.id.in_(wanted), Arrival.version_id.is_not(None))))
    found: set[str] = set()
    for row in rows:  # a version's parents come before it
        if row.arrival_id in wanted or row.id in came_with or (row.restores_id or row.parent_id) in found:
            found.add(row.id)
    return found
