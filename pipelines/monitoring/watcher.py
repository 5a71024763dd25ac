"""The service that watches: rounds over all domains, then whoever must be told is told. `python -m pipelines.monitoring.watcher`

Needs the control database and `var/`, nothing else: it works with Airflow, MLflow and Triton down. What it knows stands in the control
database, so it may be killed at any moment. An exception in one domain is told once, and the others are watched on.
"""

from __future__ import annotations

import json
import logging
import signal
import sys
import threading
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pipelines import locks
from pipelines.config import Settings, domain_names, load_settings
from pipelines.errors import BadInput, Conflict, RatchetError, Unavailable
from pipelines.monitor_config import Alerts, Monitors
from pipelines.monitoring import alerts, incidents
from pipelines.monitoring.detectors import Signal
from pipelines.monitoring.lease import Lease
from pipelines.monitoring.watched import Watched
from pipelines.state.database import reading
from pipelines.state.models import now as present

TICK_SECONDS = 10.0
"""How often it looks whether a domain is due, and whom to tell; oftener where a domain's `every_seconds` is shorter."""
FILE, ROUND = ("domain_file", "file"), ("watcher", "rounds")
"""Rule and group of what is wrong with the watching itself."""
log = logging.getLogger("ratchet.watcher")


class Watcher:
    """Of one site. Its state is in the control database; what is here can be had again."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._domains: dict[str, Watched] = {}
        self._faulty: dict[tuple[str, str], str | None] = {}
        """By domain and rule, what was told of it; None where nothing is wrong. Not there: it is not known whether an incident is open."""

    def look(self, now: datetime) -> list[str]:
        """One round over all domains, and what is to be told; a line for everything that happened, each with its domain.

        Never raises for one domain's sake. Unavailable when the control database does not answer.
        """
        names = domain_names(self.settings)
        self._domains = {name: self._domains.get(name) or Watched(self.settings, name) for name in names}
        said = []
        for name, watched in self._domains.items():
            said += [f"{name}: {line}" for line in self._domain(name, watched, now)]
        told = alerts.deliver(self.settings, now, self._alerts())
        if any(told[kind] for kind in ("sent", "failed", "waiting", "unsure")):
            said.append("alerts: " + ", ".join(f"{count} {kind}" for kind, count in told.items() if count))
        return said

    def seconds(self) -> float:
        """Until the next round."""
        every = [watched.config.monitors.every_seconds for watched in self._domains.values() if watched.config is not None]
        return max(1.0, min([TICK_SECONDS, *every]))

    def _alerts(self) -> Mapping[str, Alerts]:
        return {name: one.config.monitors.alerts for name, one in self._domains.items() if one.config is not None}

    def _domain(self, name: str, watched: Watched, now: datetime) -> list[str]:
        said: list[str] = []
        try:
            if watched.read_config():
                said.append("its file was read")
                said += self._well(name, watched, FILE, "the file can be read again", now)
        except (BadInput, OSError) as error:
            more = "; the last good one holds" if watched.config is not None else "; nothing is watched"
            said += self._wrong(name, watched, FILE, f"{error}{more}", now)
        if not watched.due(now):
            return said
        try:
            said += watched.look(now)
            said += self._well(name, watched, ROUND, "a round came to its end again", now)
        except Exception as error:
            if isinstance(error, Unavailable):
                with reading(self.settings) as session:  # is it the database that is down? Then nothing can be written either
                    session.connection()
            # An error that is not ours may quote what was asked.
            what = str(error) if isinstance(error, RatchetError) else type(error).__name__
            log.error("%s: %s", name, what, exc_info=not isinstance(error, RatchetError))
            said += self._wrong(name, watched, ROUND, f"it is not watched: {what}", now)
        return said

    def _wrong(self, name: str, watched: Watched, what: tuple[str, str], why: str, now: datetime) -> list[str]:
        """Told once, however often it happens; after a restart the open incident is found."""
        if self._faulty.get((name, what[0])) is not None:
            return []
        said = self._take(name, watched, Signal("raised", *what, now, 1.0, 0.0, why), now)
        self._faulty[name, what[0]] = why
        return said

    def _well(self, name: str, watched: Watched, what: tuple[str, str], why: str, now: datetime) -> list[str]:
        key = (name, what[0])
        if key in self._faulty and self._faulty[key] is None:
            return []
        said = self._take(name, watched, Signal("cleared", *what, now, 0.0, 0.0, why), now)
        self._faulty[key] = None
        return said

    def _take(self, name: str, watched: Watched, one: Signal, now: datetime) -> list[str]:
        monitors = watched.config.monitors if watched.config is not None else Monitors()
        rows = incidents.take_named(self.settings, name, monitors, [one], now)
        return [f"{row.id} is {row.state}, a {row.severity}: {one.why}" for row in rows]


def once(settings: Settings, now: datetime) -> list[str]:
    """One round. Conflict while the service runs: it would look at the same."""
    folder = settings.var / "run"
    folder.mkdir(parents=True, exist_ok=True)
    with locks.alone_now(folder / "watcher.lock") as held:
        lease = Lease(settings)
        if not held or not lease.take(now):
            raise Conflict("a watcher runs", todo="its lines are in the log of the service `watcher`")
        try:
            return Watcher(settings).look(now)
        finally:
            lease.give_back(now)


# --- the service ------------------------------------------------------------------------------------------------------


def watch(settings: Settings, stop: threading.Event) -> None:
    """Rounds until `stop`. A second watcher of this host waits for the first to end, one of another host for its lease."""
    folder = settings.var / "run"
    folder.mkdir(parents=True, exist_ok=True)
    while not stop.is_set():
        with locks.alone_now(folder / "watcher.lock") as held:
            if held:
                _rounds(settings, stop)
                return
        stop.wait(1.0)


def _rounds(settings: Settings, stop: threading.Event) -> None:
    watcher, lease, waits = Watcher(settings), Lease(settings), False
    while not stop.is_set():
        seconds = TICK_SECONDS
        try:
            if lease.take(present()):
                if waits:
                    # Another one watched meanwhile: what we remember is old.
                    watcher, waits = Watcher(settings), False
                for line in watcher.look(present()):
                    log.info(line)
                seconds = watcher.seconds()
            elif not waits:
                log.info("another host watches")
                waits = True
        except Unavailable as error:
            log.error(str(error))
            watcher = Watcher(settings)
        stop.wait(seconds)
    try:
        lease.give_back(present())
    except Unavailable:
        log.error("the lease was not given back: it ends by itself")


class _Lines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        found: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created).astimezone().isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "from": record.name,
            "what": record.getMessage(),
        }
        if record.exc_info:
            # Where, not what: the words of a foreign error may quote a question.
            trace, places = record.exc_info[2], []
            while trace is not None:
                places.append(f"{trace.tb_frame.f_code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}")
                trace = trace.tb_next
            found["trace"] = places
        return json.dumps(found, ensure_ascii=False)


def main() -> None:
    """Watch until SIGTERM or SIGINT."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(_Lines())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    watch(load_settings(), stop)


if __name__ == "__main__":
    main()
