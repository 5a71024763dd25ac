"""Opens the control database: engine, transactions, migrations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event, insert
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from pipelines.config import Settings
from pipelines.errors import Unavailable

_AT_ONCE = 1_000
MIGRATIONS = Path(__file__).parent / "migrations"


@lru_cache(maxsize=8)
def engine_for(url: str) -> Engine:
    """One engine per URL and process. SQLite: WAL, foreign keys, and write transactions that queue instead of failing."""
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return create_engine(parsed, pool_pre_ping=True)
    if parsed.database:
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(parsed, connect_args={"timeout": 30})

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves, below
        for pragma in ("journal_mode=WAL", "foreign_keys=ON", "synchronous=NORMAL"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        # IMMEDIATE takes the write lock at once: read-then-write in one transaction cannot fail half-way with "database is locked".
        read_only = connection.get_execution_options().get("ratchet_read_only", False)
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")

    return engine


@contextmanager
def transaction(settings: Settings) -> Iterator[Session]:
    """A session that commits at the end or changes nothing. Keep it short: SQLite has one writer."""
    try:
        with Session(engine_for(settings.database), expire_on_commit=False) as session, session.begin():
            yield session
    except OperationalError as error:
        raise _unavailable(settings, error) from error


@contextmanager
def reading(settings: Settings) -> Iterator[Session]:
    """A session for reading only; never waits for a writer."""
    engine = engine_for(settings.database).execution_options(ratchet_read_only=True)
    try:
        with Session(engine, expire_on_commit=False) as session:
            yield session
    except OperationalError as error:
        raise _unavailable(settings, error) from error


def insert_all(session: Session, model: type[Any], rows: Iterable[dict[str, Any]]) -> None:
    """Insert many rows, some at a time: unlike objects added to the session they are not held until its end."""
    waiting = iter(rows)
    while some := list(islice(waiting, _AT_ONCE)):
        session.execute(insert(model), some)


def _unavailable(settings: Settings, error: OperationalError) -> Unavailable:
    where = make_url(settings.database).render_as_string(hide_password=True)
    return Unavailable(
        f"the control database does not answer: {error.orig}",
        where=where,
        todo="run `ratchet migrate`, or check that it is up",
    )


def migrate(settings: Settings) -> None:
    """Bring the schema to the newest revision; harmless to repeat."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with engine_for(settings.database).begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
