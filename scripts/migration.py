"""Writes the next Alembic migration from the difference between the models and the newest revision.

.venv/bin/python scripts/migration.py "what changes"
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # this tree's models, not those of an installed one

from alembic import command
from alembic.config import Config

from pipelines.config import load_settings
from pipelines.state.database import MIGRATIONS, engine_for, migrate


def main(message: str) -> None:
    """Migrate an empty database to the newest revision and autogenerate what is missing."""
    with tempfile.TemporaryDirectory() as folder:
        settings = load_settings({"RATCHET_VAR": folder})
        revisions = sorted((MIGRATIONS / "versions").glob("*.py"))
        if revisions:
            migrate(settings)
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
        Path(folder, "state").mkdir(exist_ok=True)
        with engine_for(settings.database).begin() as connection:
            config.attributes["connection"] = connection
            command.revision(config, message, autogenerate=True, rev_id=f"{len(revisions) + 1:04d}")


if __name__ == "__main__":
    main(sys.argv[1])
