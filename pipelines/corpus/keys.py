"""The keys of record subjects: one per subject, drawn at random. Destroying one unreads every document about that subject, everywhere.

A SQLite file under `var/vault/`. A subject is found by an HMAC of the identifiers that its records give, and each key is stored encrypted
(AES-GCM) under the master key in `var/secrets/subjects.key`: without that file the store says neither who nor what. A store whose master
key is missing or wrong is an error, never a fresh start: new keys would not open what the old ones locked.

Does not cover copies of the store made before a key was destroyed: after a backup is restored, give the erasure requests again.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.config import Settings
from pipelines.errors import MaskingFailed
from pipelines.governance.keyfile import read_or_draw
from pipelines.governance.naming import normal
from pipelines.state.models import now

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE = 12
_TABLE = """CREATE TABLE IF NOT EXISTS subjects (
    id TEXT PRIMARY KEY, lookup TEXT NOT NULL UNIQUE, key BLOB, destroyed_at TEXT
)"""


class Keys:
    """The key store. Opening costs milliseconds; a first draw about 2 ms, a known subject some microseconds."""

    def __init__(self, path: Path, master: Path) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self._path = path
        self._known: dict[str, AESGCM | None] = {}
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            drawn = read_or_draw(master, lambda: secrets.token_hex(32).encode(), may_make=not path.exists())
            secret = bytes.fromhex(drawn.decode())
            self._master, self._mac = AESGCM(_derived(secret, b"wrap")), _derived(secret, b"lookup")
            with self._open() as connection:
                connection.execute(_TABLE)
                # A row of its own that only the right master key opens.
                connection.execute("INSERT OR IGNORE INTO subjects VALUES ('check', 'check', ?, NULL)", (self._lock("check", bytes(32)),))
                connection.commit()
                (check,) = connection.execute("SELECT key FROM subjects WHERE id = 'check'").fetchone()
            self._unlock("check", check)
            path.chmod(0o600)
        except MaskingFailed:
            raise
        except Exception as error:
            todo = "restore the store and its key from one backup"
            raise MaskingFailed(f"the subjects' keys cannot be opened ({type(error).__name__})", where=path.name, todo=todo) from None

    @classmethod
    def open(cls, settings: Settings) -> Keys:
        """The key store of this environment, made at first use."""
        return cls(settings.var / "vault" / "subjects.db", settings.secrets / "subjects.key")

    def subject(self, domain: str, names: Sequence[str]) -> str | None:
        """The id of whom these identifiers together name, drawn at first sight. None: that subject was erased."""
        lookup = self._lookup(domain, names)
        with self._using() as connection:
            found = connection.execute("SELECT id, destroyed_at FROM subjects WHERE lookup = ?", (lookup,)).fetchone()
            if found is None:
                fresh = secrets.token_hex(8)
                values = (fresh, lookup, self._lock(fresh, secrets.token_bytes(32)))
                connection.execute("INSERT OR IGNORE INTO subjects VALUES (?, ?, ?, NULL)", values)  # the first of two drawers wins
                connection.commit()
                found = connection.execute("SELECT id, destroyed_at FROM subjects WHERE lookup = ?", (lookup,)).fetchone()
        return None if found[1] is not None else str(found[0])

    def find(self, domain: str, names: Sequence[str]) -> str | None:
        """The id of whom these identifiers name, erased or not; None for nobody that is known."""
        with self._using() as connection:
            found = connection.execute("SELECT id FROM subjects WHERE lookup = ?", (self._lookup(domain, names),)).fetchone()
        return None if found is None else str(found[0])

    def destroy(self, subject: str) -> bool:
        """Overwrite a subject's key. False when that was done before."""
        self._known.pop(subject, None)
        with self._using() as connection:
            connection.execute("PRAGMA secure_delete = ON")
            gone = "UPDATE subjects SET key = NULL, destroyed_at = ? WHERE id = ? AND destroyed_at IS NULL"
            done = connection.execute(gone, (now().isoformat(), subject)).rowcount == 1
            connection.commit()
        return done

    def wrap(self, subjects: Sequence[str], key: bytes) -> bytes:
        """A document's key under the keys of all its subjects, one inside the other: without any one of them it stays closed."""
        for subject in subjects:
            cipher = self._cipher(subject)
            if cipher is None:
                raise MaskingFailed("the key of a subject was destroyed", where=subject, todo="nothing more about it can be stored")
            nonce = secrets.token_bytes(_NONCE)
            key = nonce + cipher.encrypt(nonce, key, subject.encode())
        return key

    def unwrap(self, subjects: Sequence[str], wrapped: bytes) -> bytes | None:
        """What `wrap` was given; None when the key of a subject was destroyed."""
        for subject in reversed(subjects):
            cipher = self._cipher(subject)
            if cipher is None:
                return None
            wrapped = cipher.decrypt(wrapped[:_NONCE], wrapped[_NONCE:], subject.encode())
        return wrapped

    def _cipher(self, subject: str) -> AESGCM | None:
        """A subject's cipher; None when its key was destroyed. MaskingFailed for an unknown one: the store is not the right one."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        if subject not in self._known:
            with self._using() as connection:
                found = connection.execute("SELECT key, destroyed_at FROM subjects WHERE id = ?", (subject,)).fetchone()
            if found is None:
                raise MaskingFailed("a subject's key is not in the store", where=self._path.name, todo="restore the store from backup")
            self._known[subject] = None if found[1] is not None else AESGCM(self._unlock(subject, found[0]))
        return self._known[subject]

    def _lookup(self, domain: str, names: Sequence[str]) -> str:
        import hmac

        # As the masker has it: who shares a surrogate shares a key, else an erasure under one spelling would leave the other readable.
        return hmac.new(self._mac, f"{domain}\0{normal(names)}".encode(), "sha256").hexdigest()

    def _lock(self, subject: str, key: bytes) -> bytes:
        nonce = secrets.token_bytes(_NONCE)
        return nonce + self._master.encrypt(nonce, key, subject.encode())

    def _unlock(self, subject: str, stored: bytes) -> bytes:
        return self._master.decrypt(stored[:_NONCE], stored[_NONCE:], subject.encode())

    @contextmanager
    def _using(self) -> Iterator[sqlite3.Connection]:
        try:
            with self._open() as connection:
                yield connection
        except sqlite3.Error as error:
            raise MaskingFailed(
                f"the subjects' keys cannot be used ({type(error).__name__})", where=self._path.name, todo="see that it is writable"
            ) from None

    def _open(self) -> closing[sqlite3.Connection]:
        # A connection per use: a store may be held across a fork.
        return closing(sqlite3.connect(self._path, timeout=30))


def _derived(master: bytes, purpose: bytes) -> bytes:
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return HKDF(SHA256(), 32, salt=None, info=b"ratchet subjects " + purpose).derive(master)
