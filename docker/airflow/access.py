"""Migrates Airflow's database and enters roles, users and pools, as `ratchet up` does on one host: but into the database that
AIRFLOW__DATABASE__SQL_ALCHEMY_CONN names. Safe to repeat. Passwords are drawn once and kept in `var/secrets/users.json`."""

from __future__ import annotations

import json
import subprocess
import sys

from pipelines.config import PROJECT, load_settings
from pipelines.site import secrets, users
from pipelines.site.airflow_env import airflow_home
from pipelines.site.pools import pools


def main() -> int:
    """What plugins/apply_access.py ends with."""
    settings = load_settings()
    airflow_home(settings).mkdir(parents=True, exist_ok=True)
    wanted = users.members(settings)
    kept, _ = secrets.ensure(settings, wanted)
    spec = {
        "roles": users.roles(settings),
        "users": {user: {"roles": held, "password": kept.passwords[user]} for user, held in wanted.items()},
        "pools": pools(settings, users.domains(settings)),
        "ids_file": str(users.ids_file(settings)),
    }
    # Through a pipe: an argument would show in the process list.
    done = subprocess.run([sys.executable, str(PROJECT / "plugins" / "apply_access.py")], input=json.dumps(spec), text=True, check=False)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
