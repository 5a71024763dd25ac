"""What the screen knows from before, as counts in the control database: accepted lengths and labels, and what an uploader delivered."""

from __future__ import annotations

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from pipelines.config import Settings
from pipelines.intake.screen.findings import History, Usage
from pipelines.state.database import reading, transaction
from pipelines.state.models import Arrival, ScreenCount, Upload


def history(settings: Settings, domain: str) -> History:
    """The domain's accepted documents, counted."""
    with reading(settings) as session:
        rows = session.scalars(select(ScreenCount).where(ScreenCount.domain == domain)).all()
    return History(
        {int(row.bin): row.documents for row in rows if row.measure == "length"},
        {row.bin: row.documents for row in rows if row.measure == "label"},
    )


def remember(session: Session, domain: str, more: History) -> None:
    """Add what `outliers.measure` found of accepted documents, in the transaction that publishes them: each counts once."""
    named = [("length", str(place), count) for place, count in more.lengths.items()] + [("label", *pair) for pair in more.labels.items()]
    for name, place, count in named:
        row = session.get(ScreenCount, (domain, name, place))
        if row is None:
            session.add(ScreenCount(domain=domain, measure=name, bin=place, documents=count))
        else:
            row.documents += count


def usage(settings: Settings, arrival: Arrival, documents: int, size: int) -> Usage:
    """Enter what an arrival weighs, and say what its uploader delivered that day up to and with it. A rerun keeps its place in line."""
    day = arrival.received_at.date().isoformat()
    with transaction(settings) as session:
        if session.get_bind().dialect.name == "postgresql":
            # SQLite has one writer anyway; elsewhere two arrivals prepared at once must see each other.
            session.execute(text("SELECT pg_advisory_xact_lock(0x71756f7461)"))
        row = session.scalar(select(Upload).where(Upload.arrival_id == arrival.id))
        if row is None:
            row = Upload(arrival_id=arrival.id, domain=arrival.domain, uploader=arrival.uploader, day=day, documents=documents, size=size)
            session.add(row)
        row.documents, row.size = documents, size
        session.flush()
        found = session.execute(
            select(func.sum(Upload.documents), func.sum(Upload.size)).where(
                Upload.domain == arrival.domain, Upload.uploader == arrival.uploader, Upload.day == row.day, Upload.id <= row.id
            )
        ).one()
    return Usage(int(found[0]), int(found[1]))
