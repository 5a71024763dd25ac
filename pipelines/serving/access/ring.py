"""The keys of a site as a running gateway holds them: in memory, read again when something changed."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from hashlib import sha256
from threading import Lock
from typing import Any

from pydantic import ValidationError
from sqlalchemy import func, select

from pipelines.config import Settings
from pipelines.errors import RatchetError
from pipelines.serving.keys import Allowance, Grants, Key, take_over
from pipelines.state.database import reading
from pipelines.state.models import ApiKey, AuditEvent

READ_WHOLE_SECONDS = 30.0
UNKNOWN_AT_ONCE, UNKNOWN_A_SECOND = 5, 5
"""Unknown keys that may each ask the database: at once, and from then on. A flood of them costs that many queries of a third of a
millisecond a second."""


@dataclass(frozen=True, slots=True)
class Held:
    """A key as the ring holds it. `until`: seconds since 1970, UTC."""

    key: Key
    until: float
    revoked: bool

    def refusal(self, at: float) -> str | None:
        """Why it is not good at that time; None when it is."""
        return "revoked" if self.revoked else "expired" if at >= self.until else None


class KeyRing:
    """The keys of a site, in memory. Safe to ask while another thread refreshes it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.fault: str | None = "the keys were not read yet"
        self.read_at: float | None = None
        """Monotonic seconds at which they were last read; None before the first time."""
        self._keys: dict[bytes, Held] = {}
        self._mark: int | None = None
        self._alone = Lock()
        self._whole_at = self._tried_at = -math.inf
        self._spare, self._counted_at = float(UNKNOWN_AT_ONCE), time.monotonic()

    def held(self, presented: str) -> Held | None:
        """The key with this secret, good or not, as last read. About a microsecond.

        A dictionary is fine here, although its look-up takes different times for different hashes: who guesses learns something of the
        SHA-256 of a secret with 256 random bits, from which nothing leads back to it.
        """
        return self._keys.get(sha256(presented.encode()).digest())

    def find(self, presented: str) -> Key | None:
        """The valid key with this secret; for callers without `Access`. Reads the keys again when they are older than a second."""
        if time.monotonic() - self._tried_at >= 1.0:
            self.refresh()
        held = self.held(presented)
        if held is None and self.may_ask():
            self.refresh()
            held = self.held(presented)
        return held.key if held is not None and held.refusal(time.time()) is None else None

    def may_ask(self) -> bool:
        """Whether an unknown key may be looked for in the database now; counts as one that was."""
        at = time.monotonic()
        self._spare = min(UNKNOWN_AT_ONCE, self._spare + UNKNOWN_A_SECOND * (at - self._counted_at))
        self._counted_at = at
        if self._spare < 1:
            return False
        self._spare -= 1
        return True

    def refresh(self) -> None:
        """Read the keys if they may have changed. Never raises: the known ones stay good while the database is away."""
        with self._alone:
            self._refresh()

    def _refresh(self) -> None:
        self._tried_at = time.monotonic()
        fault: str | None = None
        try:
            take_over(self._settings)
        except Exception as error:
            fault = _reason(error)
        try:
            self._read(self._tried_at)
        except Exception as error:
            self.fault = _reason(error)
            return
        self.fault, self.read_at = fault, time.monotonic()

    def _read(self, at: float) -> None:
        with reading(self._settings) as session:
            # Whatever changes a key is audited in the same transaction: a log that did not move means keys that did not. Now and then
            # they are read all the same, for rows that somebody changed by hand.
            mark = session.scalar(select(func.max(AuditEvent.seq)))
            if mark == self._mark and at - self._whole_at < READ_WHOLE_SECONDS:
                return
            rows = session.execute(select(*_COLUMNS)).all()
        self._keys = {bytes.fromhex(row.hash): held for row in rows if (held := _held(row)) is not None}
        self._mark, self._whole_at = mark, at


_COLUMNS = (ApiKey.hash, ApiKey.name, ApiKey.tenant, ApiKey.grants, ApiKey.limits, ApiKey.expires_at, ApiKey.revoked_at)


def _held(row: Any) -> Held | None:
    try:
        grants, limits = Grants.model_validate(row.grants), Allowance.model_validate(row.limits)
    except ValidationError:
        return None  # written by a newer version, or by hand: what is not understood opens nothing
    key = Key(
        row.name,
        row.tenant,
        grants.domains,
        frozenset(grants.roles),
        grants.candidates,
        grants.pins or grants.candidates,
        grants.delivers,
        limits.requests_per_minute,
        limits.tokens_per_day,
        row.expires_at,
    )
    return Held(key, row.expires_at.timestamp() if row.expires_at else math.inf, row.revoked_at is not None)


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, RatchetError) else type(error).__name__
