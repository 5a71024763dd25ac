"""Alembic's entry: runs on the connection that `pipelines.state.database.migrate` hands over."""

from typing import Any, Literal

from alembic import context

from pipelines.state.models import Base, UTCDateTime


def render_item(kind: str, value: Any, _context: Any) -> str | Literal[False]:
    """Write our datetime as the plain column it is: a migration must not depend on today's models."""
    return "sa.DateTime(timezone=True)" if kind == "type" and isinstance(value, UTCDateTime) else False


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,
    render_item=render_item,
)
with context.begin_transaction():
    context.run_migrations()
