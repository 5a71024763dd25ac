from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from pipelines.config import Settings
from pipelines.state.database import engine_for, migrate
from pipelines.state.models import Base


def test_the_migrations_end_where_the_models_are(settings: Settings) -> None:
    with engine_for(settings.database).connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []


def test_migrating_again_changes_nothing(settings: Settings) -> None:
    migrate(settings)
    migrate(settings)
