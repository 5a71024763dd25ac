"""The vault: random surrogates, one per subject or record, drawn once.

A SQLite file under `var/vault/`. A row's id is an HMAC of what it stands for and its value is encrypted (Fernet), so that without the key
in `var/secrets/vault.key` the file says neither who nor what. The surrogates themselves are random: nobody can derive one, and the
same subject gets the same one in any order of arrival, also from two processes at once.

Losing the key loses the link between old and new arrivals, so that a vault whose key is missing or wrong is an error, never a fresh start.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import sqlite3
from contextlib import closing
from pathlib import Path

from pipelines.config import Settings
from pipelines.errors import MaskingFailed
from pipelines.governance.keyfile import read_or_draw

_CHECK = b"ratchet vault 1"


class Vault:
    """Surrogates by (kind, raw value). Opening costs milliseconds; a lookup about 0.1 ms, a first draw about 2 ms."""

    def __init__(self, path: Path, key_path: Path) -> None:
        from cryptography.fernet import Fernet

        self._path = path
        self._known: dict[str, str] = {}
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            key = read_or_draw(key_path, Fernet.generate_key, may_make=not path.exists())
            self._fernet = Fernet(key)
            self._mac = hashlib.sha256(b"lookup\0" + base64.urlsafe_b64decode(key)).digest()
            with self._open() as connection:
                connection.execute("CREATE TABLE IF NOT EXISTS surrogates (id TEXT PRIMARY KEY, value BLOB NOT NULL)")
                check = self._put(connection, "check", _CHECK)
                if self._fernet.decrypt(check) != _CHECK:
                    raise ValueError("the key does not fit")
            path.chmod(0o600)
        except MaskingFailed:
            raise
        except Exception as error:
            raise MaskingFailed(
                f"the vault cannot be opened ({type(error).__name__})",
                where=path.name,
                todo="restore the vault and its key from one backup",
            ) from None

    @classmethod
    def open(cls, settings: Settings) -> Vault:
        """The vault of this environment, made at first use."""
        return cls(settings.var / "vault" / "surrogates.db", settings.secrets / "vault.key")

    def surrogate(self, kind: str, raw: str, *, digits: int = 12) -> str:
        """The random hexadecimal surrogate of a value, the same for ever. MaskingFailed when it cannot be kept."""
        row = hmac.new(self._mac, f"{kind}\0{raw}".encode(), hashlib.sha256).hexdigest()
        if (known := self._known.get(row)) is not None:
            return known
        try:
            with self._open() as connection:
                stored = self._put(connection, row, secrets.token_hex(digits // 2).encode())
            self._known[row] = self._fernet.decrypt(stored).decode()
        except Exception as error:
            raise MaskingFailed(
                f"the vault cannot be used ({type(error).__name__})", where=self._path.name, todo="see that it is writable"
            ) from None
        return self._known[row]

    def _put(self, connection: sqlite3.Connection, row: str, value: bytes) -> bytes:
        """What is stored under a row id, after storing `value` if nothing was: the first of two drawers wins."""
        found = connection.execute("SELECT value FROM surrogates WHERE id = ?", (row,)).fetchone()
        if found is None:
            connection.execute("INSERT OR IGNORE INTO surrogates VALUES (?, ?)", (row, self._fernet.encrypt(value)))
            connection.commit()
            found = connection.execute("SELECT value FROM surrogates WHERE id = ?", (row,)).fetchone()
        return bytes(found[0])

    def _open(self) -> closing[sqlite3.Connection]:
        # A connection per use: a vault may be held across a fork.
        return closing(sqlite3.connect(self._path, timeout=30))
