"""Plants a bad release, and checks that people are told and that it is taken back: on a throw-away site, by the real watcher.

The watcher's own program runs there as its service does, with the domain's rule, its file and a copy of its live release's rows. Eight
hours of usual traffic lie behind it; then another release goes live, and its records say what the rule must not let pass. What counts is
what came: the message at a receiver of ours, over HTTP and Apprise; the pointer, back at the good release; the incident, marked a drill.

Does not cover what the real site has of its own: its addresses (`ratchet alerts test` does), its gateways, and whether its watcher runs.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

from pipelines.config import PROJECT, DomainConfig, Settings, load_domain
from pipelines.errors import BadInput, Unavailable
from pipelines.governance import audit
from pipelines.monitor_config import Rule
from pipelines.monitoring import drill_site as plant
from pipelines.monitoring import observations
from pipelines.monitoring.observations import Figure
from pipelines.state.database import reading, transaction
from pipelines.state.models import AlertDelivery, Incident, MonitorMark, Pointer

FOLDER = "drill"
LEARNS_SECONDS = 120.0
"""In which a watcher must have begun, and have learned what is usual."""


def run(settings: Settings, domain_name: str, *, seconds: float = 120.0, forced: bool = False, actor: str = "ratchet") -> dict[str, Any]:
    """Drill a domain: {domain, rule, measure, release, planted, alert_s, revert_s, requests, ok}; seconds count from the first bad record.

    Each drill is an event of the audit log, and two figures of source `drill`: `drill_alert_seconds`, `drill_revert_seconds`. BadInput in
    production unless `forced`, and where no rule of the domain reverts; Conflict where nothing is live; Unavailable when the alert or the
    revert did not come within `seconds`: the site's folder is then kept until the next drill, and named.
    """
    if settings.environment == "production" and not forced:
        raise BadInput("drills are for staging", where="environment: production", todo="run it there; or force it, it touches nothing live")
    domain = load_domain(domain_name, settings)
    rule = plant.rule_of(domain)
    top = settings.var / FOLDER
    shutil.rmtree(top / domain_name, ignore_errors=True)
    (top / domain_name).mkdir(parents=True)
    place = Path(tempfile.mkdtemp(prefix="site-", dir=top / domain_name))
    try:
        found = _drill(settings, domain, rule, place, seconds)
    except BaseException:
        shutil.rmtree(place / "var" / "traffic", ignore_errors=True)
        raise
    _enter(settings, domain_name, found, actor)
    if not found["ok"]:
        missing = [name for name, key in (("no alert", "alert_s"), ("no revert", "revert_s")) if found[key] is None]
        raise Unavailable(
            f"the drill failed: {' and '.join(missing) or 'the incident is not as it should be'} within {seconds:g} s of the fault",
            where=f"{domain_name}, rule {rule.name}",
            todo=f"see docs/runbooks/incident.md; what the watcher did is in {place / 'watcher.log'}",
        )
    shutil.rmtree(top / domain_name, ignore_errors=True)
    return found


def _drill(settings: Settings, domain: DomainConfig, rule: Rule, place: Path, seconds: float) -> dict[str, Any]:
    own, good, planted = plant.make(settings, domain, rule, place, minutes=(LEARNS_SECONDS + seconds) / 60 + 5)
    told: dict[str, Any] = {"domain": domain.domain, "rule": rule.name, "measure": rule.measure, "release": good, "planted": planted}
    count = plant.past(own, domain.domain, good, _now())
    with _receiver() as (port, messages), _traffic(own, domain.domain, good, count) as traffic, _watching(own, port, place) as watcher:
        _wait(lambda: _learned(own, domain.domain, rule), LEARNS_SECONDS, watcher, place)
        plant.go_live(own, domain.domain, planted, _now())
        began = traffic.turn(planted, plant.fault_of(rule))
        alert = revert = None
        while time.monotonic() - began < seconds and (alert is None or revert is None) and watcher.poll() is None:
            passed = time.monotonic() - began
            alert = passed if alert is None and messages else alert
            if revert is None and _live(own, domain.domain) == good:
                revert = passed
                traffic.turn(good, {})
            time.sleep(0.1)
        if alert is not None and revert is not None:
            _wait(lambda: _told(own, domain.domain), 10.0, watcher, place, strict=False)
    figures = {"alert_s": _rounded(alert), "revert_s": _rounded(revert), "requests": traffic.count - count}
    return told | figures | {"ok": alert is not None and revert is not None and _told(own, domain.domain)}


def _enter(settings: Settings, domain: str, found: dict[str, Any], actor: str) -> None:
    moment = _now()
    kept = {name: found[name] for name in ("rule", "measure", "release", "requests", "ok")}
    figures = [
        Figure(moment, f"drill_{what}_seconds", "drill", found[f"{what}_s"], release=found["release"], detail=kept)
        for what in ("alert", "revert")
        if found[f"{what}_s"] is not None
    ]
    with transaction(settings) as session:
        observations.add(session, domain, figures)
        audit.record(session, actor=actor, action="drill.ran", subject=domain, allowed=found["ok"], detail=found)


# --- what happens there -----------------------------------------------------------------------------------------------


class _Traffic:
    """Appends records at an even pace, of whichever release answers now."""

    def __init__(self, own: Settings, domain: str, release: str, count: int) -> None:
        self.own, self.domain, self.count = own, domain, count
        self._says: tuple[str, dict[str, Any]] = (release, {})
        self._stop = Event()
        self._thread = Thread(target=self._go, name="drill-traffic", daemon=True)
        self._thread.start()

    def turn(self, release: str, fault: dict[str, Any]) -> float:
        """From now on this release answers, so; returns the moment, of `time.monotonic`."""
        self._says = (release, fault)
        return time.monotonic()

    def _go(self) -> None:
        while not self._stop.wait(1 / plant.A_SECOND):
            release, fault = self._says
            plant.append(self.own, self.domain, self.count, _now(), release, fault)
            self.count += 1

    def end(self) -> None:
        self._stop.set()
        self._thread.join()


@contextmanager
def _traffic(own: Settings, domain: str, release: str, count: int) -> Iterator[_Traffic]:
    made = _Traffic(own, domain, release, count)
    try:
        yield made
    finally:
        made.end()


@contextmanager
def _receiver() -> Iterator[tuple[int, list[bytes]]]:
    """A receiver of messages on loopback: (its port, what came)."""
    came: list[bytes] = []

    class Receives(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            came.append(self.rfile.read(int(self.headers.get("content-length") or 0)))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Receives)
    thread = Thread(target=server.serve_forever, name="drill-receiver", daemon=True)
    thread.start()
    try:
        yield server.server_port, came
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def _watching(own: Settings, port: int, place: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The watcher's service of that site."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("RATCHET_")} | {
        "RATCHET_ENVIRONMENT": own.environment,
        "RATCHET_CONFIGS": str(own.configs),
        "RATCHET_VAR": str(own.var),
        "RATCHET_DATABASE_URL": own.database,
        "RATCHET_LANDING": str(own.var / "landing"),
        plant.URLS: f"page,ticket,note=json://127.0.0.1:{port}/",
        "NO_PROXY": "127.0.0.1,localhost",
    }
    with (place / "watcher.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "pipelines.monitoring.watcher"], env=env, cwd=PROJECT, stdout=log, stderr=log, stdin=subprocess.DEVNULL
        )
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait(done: Callable[[], bool], seconds: float, watcher: subprocess.Popen[bytes], place: Path, *, strict: bool = True) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        if watcher.poll() is not None or time.monotonic() > deadline:
            if strict:
                why = f"ended with {watcher.returncode}" if watcher.poll() is not None else f"did not begin within {seconds:g} s"
                raise Unavailable(f"the drill's watcher {why}", where=str(place / "watcher.log"), todo="see docs/runbooks/incident.md")
            return
        time.sleep(0.1)


def _learned(own: Settings, domain: str, rule: Rule) -> bool:
    with reading(own) as session:
        row = session.get(MonitorMark, (domain, f"detector:{rule.name}"))
    return row is not None and bool(row.state)


def _live(own: Settings, domain: str) -> str | None:
    with reading(own) as session:
        return session.get_one(Pointer, domain).live_id


def _told(own: Settings, domain: str) -> bool:
    """Whether the incident is there, marked a drill, with a message that was sent."""
    with reading(own) as session:
        rows = [row for row in session.query(Incident).filter(Incident.domain == domain) if row.drill]
        sent = {one.incident_id for one in session.query(AlertDelivery).filter(AlertDelivery.state == "sent")}
    return any(row.id in sent for row in rows)


def _now() -> datetime:
    return datetime.now(UTC)


def _rounded(value: float | None) -> float | None:
    return round(value, 2) if value is not None else None
