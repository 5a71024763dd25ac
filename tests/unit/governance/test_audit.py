from sqlalchemy import delete, update

from pipelines.config import Settings
from pipelines.governance import audit
from pipelines.state.database import reading, transaction
from pipelines.state.models import AuditEvent


def fill(settings: Settings, count: int = 5) -> None:
    for number in range(count):
        with transaction(settings) as session:
            audit.record(session, actor="someone", action="test", subject=f"s{number}", detail={"n": number})


def faults(settings: Settings) -> list[str]:
    with reading(settings) as session:
        return audit.verify(session)[1]


def test_a_whole_chain_verifies(settings: Settings) -> None:
    fill(settings)
    with reading(settings) as session:
        assert audit.verify(session) == (5, [])


def test_an_altered_event_shows(settings: Settings) -> None:
    fill(settings)
    with transaction(settings) as session:
        session.execute(update(AuditEvent).where(AuditEvent.seq == 3).values(actor="somebody else"))
    assert faults(settings) == ["event 3 was altered"]


def test_a_removed_event_shows(settings: Settings) -> None:
    fill(settings)
    with transaction(settings) as session:
        session.execute(delete(AuditEvent).where(AuditEvent.seq == 3))
    assert faults(settings) == ["event 3 is missing", "event 4 does not follow the one before it"]


def test_an_event_stands_or_falls_with_its_transaction(settings: Settings) -> None:
    fill(settings, 1)
    try:
        with transaction(settings) as session:
            audit.record(session, actor="someone", action="test", subject="never happened")
            raise RuntimeError
    except RuntimeError:
        pass
    fill(settings, 1)
    with reading(settings) as session:
        assert audit.verify(session) == (2, [])
