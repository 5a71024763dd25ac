"""Puts the roles and users that `pipelines.site.users` describes into Airflow, and the pools of `pipelines.site.pools`: one process instead
of a dozen slow CLI calls.

Reads the description as JSON from stdin. Every part is safe to repeat. Not a plugin: `.airflowignore` keeps Airflow from loading it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from pipelines.writing import write_json


def apply(spec: dict[str, Any]) -> dict[str, str]:
    """Migrate the database, then roles, users and pools; returns user name -> id."""
    from airflow.api_fastapi.app import create_auth_manager
    from airflow.models.pool import Pool
    from airflow.providers.fab.www.security_appless import ApplessAirflowSecurityManager
    from airflow.utils.db import initdb
    from airflow.utils.session import create_session

    create_auth_manager()  # its tables are created or migrated together with Airflow's own
    initdb()
    with create_session() as session:
        manager = ApplessAirflowSecurityManager(session=session)
        manager.bulk_sync_roles(manager.ROLE_CONFIGS)
        manager.bulk_sync_roles([{"role": name, "perms": [tuple(right) for right in rights]} for name, rights in spec["roles"].items()])
        for name, rights in spec["roles"].items():
            _take_back(manager, name, {tuple(right) for right in rights})
        _everything_to_admin(manager, session)
        ids = {name: _user(manager, session, name, wanted) for name, wanted in spec["users"].items()}
        for name, pool in spec["pools"].items():
            # A job that is deferred holds its GPUs, or its place in their queue, all the while.
            Pool.create_or_update_pool(name, pool["slots"], pool["description"], include_deferred=True, session=session)
        session.commit()
    return ids


def _take_back(manager: Any, name: str, wanted: set[tuple[str, str]]) -> None:
    """Rights we no longer give. Those on single DAGs belong to `access_control` and stay."""
    role = manager.find_role(name)
    for permission in list(role.permissions):
        held = (permission.action.name, permission.resource.name)
        if held not in wanted and not held[1].startswith(("DAG:", "DAG Run:")):
            role.permissions.remove(permission)


def _everything_to_admin(manager: Any, session: Any) -> None:
    """Airflow does the same at the API server's start, but the first login must not depend on that."""
    from airflow.providers.fab.auth_manager.models import Permission
    from sqlalchemy import select

    admin = manager.find_role("Admin")
    admin.permissions = list({*admin.permissions, *session.scalars(select(Permission)).unique()})


def _user(manager: Any, session: Any, name: str, wanted: dict[str, Any]) -> str:
    from werkzeug.security import check_password_hash, generate_password_hash

    held = [manager.find_role(role) for role in wanted["roles"]]
    user = manager.find_user(username=name)
    if user is None:
        hashed = generate_password_hash(wanted["password"])
        user = manager.add_user(name, name.capitalize(), "(ratchet)", f"{name}@ratchet.invalid", held, hashed_password=hashed)
    else:
        user.roles = held
        if not check_password_hash(user.password, wanted["password"]):
            user.password = generate_password_hash(wanted["password"])
    session.flush()
    return str(user.id)


def main() -> int:
    """Apply stdin's description and leave the users' ids in its `ids_file`."""
    spec = json.load(sys.stdin)
    ids = apply(spec)
    write_json(Path(spec["ids_file"]), ids)
    return 0


if __name__ == "__main__":
    sys.exit(main())
