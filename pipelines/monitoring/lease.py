"""One watcher at a time, on one host or on several.

On a host the lock on a file decides, which the system lets go of when its holder dies. Among hosts that share the control database it is a
lease: a row that says who watches until when, renewed in every round. A watcher that lost it does nothing until it has it again. The hosts'
clocks must agree to within a few seconds, as for everything else that has a time here.
"""

from __future__ import annotations

import os
import secrets
import socket
from datetime import datetime, timedelta

from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from pipelines.config import Settings
from pipelines.state.database import transaction
from pipelines.state.models import MonitorMark

SITE = "*"
"""Domain of the marks that belong to the site."""
NAME = "lease"
LASTS = timedelta(seconds=60)


class Lease:
    """Of one process. It must hold the host's lock: another holder of this host is then known to be dead, and is not waited for."""

    def __init__(self, settings: Settings, host: str | None = None) -> None:
        self._settings = settings
        self.host = host or f"{socket.gethostname()}:{settings.var}"
        self.holder = f"{self.host}:{os.getpid()}-{secrets.token_hex(4)}"

    def take(self, now: datetime) -> bool:
        """Get it, or keep it, for another `LASTS`; False while another host has it."""
        try:
            with transaction(self._settings) as session:
                row = session.scalar(select(MonitorMark).where(MonitorMark.domain == SITE, MonitorMark.name == NAME).with_for_update())
                mine = {"holder": self.holder, "host": self.host, "until": (now + LASTS).isoformat()}
                if row is None:
                    session.add(MonitorMark(domain=SITE, name=NAME, state=mine))
                elif row.state.get("host") == self.host or self._over(row, now):
                    row.state = mine
                else:
                    return False
        except IntegrityError:  # two wrote the first row at the same time
            return False
        return True

    def give_back(self, now: datetime) -> None:
        """Let the next one have it at once."""
        with transaction(self._settings) as session:
            row = session.get(MonitorMark, (SITE, NAME))
            if row is not None and row.state.get("holder") == self.holder:
                row.state = row.state | {"until": now.isoformat()}

    @staticmethod
    def _over(row: MonitorMark, now: datetime) -> bool:
        # A lease from the future was written by a clock that is wrong: it would never end.
        until = datetime.fromisoformat(row.state["until"])
        return until <= now or until > now + 10 * LASTS


def alone(session: Session) -> None:
    """Nobody else opens, extends or tells an incident until the transaction ends. SQLite has one writer anyway."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": 0x696E6369})
