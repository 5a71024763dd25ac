"""Keys and passwords of this site: drawn once, kept in `var/secrets`, readable by the owner only."""

from __future__ import annotations

import base64
import json
import os
import secrets
import stat
from collections.abc import Iterable
from pathlib import Path

from pydantic import Field

from pipelines import locks
from pipelines.config import Settings
from pipelines.errors import BadInput
from pipelines.strict import Strict
from pipelines.writing import write_private

SERVICE_USER = "ratchet"
"""The account that steps use to read Airflow's record of an approval; it may change nothing."""

STANDARD_USERS = ("admin", "steward", "approver", "viewer", SERVICE_USER)


class SiteSecrets(Strict):
    """What Airflow needs to sign and encrypt, and a password per user."""

    fernet_key: str
    jwt_secret: str
    api_secret: str
    passwords: dict[str, str] = Field(repr=False)


def ensure(settings: Settings, users: Iterable[str] = STANDARD_USERS) -> tuple[SiteSecrets, dict[str, str]]:
    """The site's secrets and the passwords drawn just now (all of them on the first call, later only new users')."""
    folder = settings.secrets
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.chmod(0o700)
    with locks.alone(folder / ".lock"):
        keys = _read(folder / "airflow.json") or {
            "fernet_key": base64.urlsafe_b64encode(os.urandom(32)).decode(),
            "jwt_secret": secrets.token_urlsafe(48),
            "api_secret": secrets.token_urlsafe(48),
        }
        passwords = _read(folder / "users.json") or {}
        fresh = {user: secrets.token_urlsafe(12) for user in users if user not in passwords}
        write(folder / "airflow.json", keys)
        if fresh:
            write(folder / "users.json", passwords | fresh)
    return SiteSecrets(**keys, passwords=passwords | fresh), fresh


def password(settings: Settings, user: str) -> str:
    """The password of one user of this site."""
    known = _read(settings.secrets / "users.json") or {}
    if user not in known:
        raise BadInput(f"no password is kept for {user!r}", where=str(settings.secrets / "users.json"), todo="run `ratchet up` once")
    return known[user]


def write(path: Path, value: dict[str, str]) -> None:
    """JSON with mode 0600 from its first byte on."""
    write_private(path, json.dumps(value, indent=2))


def _read(path: Path) -> dict[str, str] | None:
    if not path.exists():
        return None
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise BadInput("secrets are readable by others", where=str(path), todo=f"run `chmod 600 {path}` and change what may have leaked")
    try:
        value: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise BadInput("not readable as JSON", where=str(path), todo="restore it from a backup, or move it away to draw new ones") from None
    return value
