"""The gateway's Prometheus metrics: every family in one place, in one process or summed over several.

With more than one worker each has its own memory, and a scrape reaches one of them: `share` has prometheus_client keep the values in mapped
files under `var/run/metrics-<port>`, which whoever is scraped adds up (its documented multi-process mode). It must run in the parent,
before the workers are spawned and before prometheus_client is imported. See docs/scale-out.md.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from pipelines.config import Settings

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
FOLDER = "PROMETHEUS_MULTIPROC_DIR"
MOST = 500
"""Label sets of one family in one process; further ones are counted under `other`, so that no caller can fill the memory."""
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
Sum = Literal["livesum", "livemax", "livemin"]


class Family(NamedTuple):
    """`kind`: counter, histogram or gauge. `across`: how a gauge's values of several workers become one."""

    kind: Literal["counter", "histogram", "gauge"]
    help: str
    labels: tuple[str, ...] = ()
    across: Sum = "livesum"


FAMILIES: dict[str, Family] = {
    "ratchet_requests": Family("counter", "Requests by outcome", ("domain", "release", "status", "canary")),
    "ratchet_request_seconds": Family("histogram", "Time to the whole answer", ("domain",)),
    "ratchet_stage_seconds": Family("histogram", "Time of one stage of a request", ("stage",)),
    "ratchet_first_token_seconds": Family("histogram", "Time to the first text of a streamed answer", ("domain",)),
    "ratchet_tokens": Family("counter", "Tokens read and written", ("domain", "direction")),
    "ratchet_abstained": Family("counter", "Answers withheld", ("domain", "reason")),
    "ratchet_guard_verdicts": Family("counter", "Findings of the guards", ("domain", "rule", "action", "where")),
    "ratchet_cache": Family("counter", "Look-ups in the cache: exact, semantic, miss", ("domain", "found")),
    "ratchet_routed": Family("counter", "Answers by whose they are: own, small, provider", ("domain", "route")),
    "ratchet_limited": Family("counter", "Requests refused by a limit of the caller's key", ("limit",)),
    "ratchet_connections_refused": Family("counter", "Connections closed for being slow, large or too many", ("reason",)),
    "ratchet_instance_up": Family("gauge", "1 while every worker sends requests to this Triton", ("instance",), "livemin"),
    "ratchet_instance_ejected": Family("counter", "Times an instance was taken out", ("instance", "reason")),
    "ratchet_requests_repeated": Family("counter", "Requests repeated after this instance failed them", ("instance",)),
    "ratchet_engine_mended": Family("counter", "Crashed engines: mended, or lost after several tries", ("instance", "outcome")),
    "ratchet_in_flight": Family("gauge", "Requests being answered", (), "livesum"),
    "ratchet_traffic_backlog": Family("gauge", "Records of the traffic log not yet on disk", (), "livesum"),
    "ratchet_unlogged": Family("counter", "Records that could not be written, where the audit is best effort", ("domain",)),
    "ratchet_unkept": Family("counter", "Answers that could not be kept for review", ("domain",)),
    "ratchet_feedback": Family("counter", "Judgements of callers", ("domain", "rating", "state")),
    "ratchet_incidents": Family("gauge", "Open incidents", ("domain", "severity"), "livemax"),
    "ratchet_watcher_seen_timestamp_seconds": Family("gauge", "When the watcher last looked", (), "livemax"),
    "ratchet_throttled": Family("counter", "Requests refused while their tenant is held back", ("domain",)),
    "ratchet_pointer_read_timestamp_seconds": Family("gauge", "When the pointers were last read, by the worker longest ago", (), "livemin"),
    "ratchet_release_switches": Family("gauge", "Releases gone live since the start, as the busiest worker saw it", (), "livemax"),
    "ratchet_workers": Family("gauge", "Processes of this gateway", (), "livesum"),
}


def share(settings: Settings) -> None:
    """Have this process's children keep their metrics in files, emptied of an earlier run's. Nothing with one worker."""
    if settings.gateway_workers == 1:
        os.environ.pop(FOLDER, None)
        return
    folder = settings.var / "run" / f"metrics-{settings.ports.gateway}"
    folder.mkdir(parents=True, exist_ok=True)
    for file in folder.glob("*.db"):
        file.unlink(missing_ok=True)
    os.environ[FOLDER] = str(folder)


class Metrics:
    """What one process counts. Each call costs about a microsecond (two in files): tests/bench/bench_telemetry.py."""

    def __init__(self, settings: Settings) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, values

        self.settings = settings
        self._shared: bool = values.ValueClass._multiprocess
        self.registry = CollectorRegistry()
        self._families: dict[str, Any] = {}
        self._children: dict[str, dict[tuple[str, ...], Any]] = {name: {} for name in FAMILIES}
        for name, family in FAMILIES.items():
            if family.kind == "counter":
                made: Any = Counter(name, family.help, family.labels, registry=self.registry)
            elif family.kind == "histogram":
                made = Histogram(name, family.help, family.labels, buckets=SECONDS, registry=self.registry)
            else:
                made = Gauge(name, family.help, family.labels, registry=self.registry, multiprocess_mode=family.across)
            self._families[name] = made
        if not self._shared:
            ProcessCollector(registry=self.registry)
        self.set("ratchet_workers", 1)

    def count(self, name: str, *labels: str, by: float = 1) -> None:
        """Add to a counter. KeyError for a family that is not in FAMILIES."""
        self._child(name, labels).inc(by)

    def observe(self, name: str, seconds: float, *labels: str) -> None:
        """Enter a duration."""
        self._child(name, labels).observe(seconds)

    def set(self, name: str, value: float, *labels: str) -> None:
        """Set a gauge."""
        self._child(name, labels).set(value)

    def add(self, name: str, by: float, *labels: str) -> None:
        """Raise or lower a gauge."""
        self._child(name, labels).inc(by)

    def request(self, domain: str, release: str, status: int, canary: bool, seconds: float) -> None:
        """One request's outcome. `release` is `none` where none was reached."""
        self._child("ratchet_requests", (domain, release, str(status), "true" if canary else "false")).inc()
        self._child("ratchet_request_seconds", (domain,)).observe(seconds)

    def pointers_read(self) -> None:
        """The pointers were read now."""
        self.set("ratchet_pointer_read_timestamp_seconds", time.time())

    def connection_refused(self, reason: str) -> None:
        """For `http_limits.count_with`."""
        self.count("ratchet_connections_refused", reason)

    def render(self) -> bytes:
        """All of it in Prometheus' text format, of every worker. Reads files with several workers: call it in a thread."""
        from prometheus_client import CollectorRegistry, generate_latest

        out = CollectorRegistry()
        out.register(_WithAge(self._collected()))
        return generate_latest(out)

    def close(self) -> None:
        """This worker ends: its gauges end with it, its counters stay in the sum."""
        if self._shared:
            _forget(os.getpid(), Path(os.environ[FOLDER]))

    def _child(self, name: str, labels: tuple[str, ...]) -> Any:
        children = self._children[name]
        found = children.get(labels)
        if found is None:
            if len(children) >= MOST:
                labels = ("other",) * len(labels)
            family = self._families[name]
            # Kept: prometheus_client's own look-up takes a lock and makes strings at every call.
            found = children[labels] = family.labels(*labels) if labels else family
        return found

    def _collected(self) -> Iterable[Any]:
        if not self._shared:
            return list(self.registry.collect())
        from prometheus_client.multiprocess import MultiProcessCollector

        folder = Path(os.environ[FOLDER])
        for file in folder.glob("gauge_live*.db"):
            # A worker that was killed could not say so itself.
            pid = file.stem.rsplit("_", 1)[1]
            if not Path(f"/proc/{pid}").exists():
                _forget(int(pid), folder)
        collector: Any = MultiProcessCollector
        return list(collector(None, str(folder)).collect())


def _forget(pid: int, folder: Path) -> None:
    from prometheus_client import multiprocess

    forget: Any = multiprocess.mark_process_dead
    forget(pid, str(folder))


class _WithAge:
    """What was collected, and the pointers' age as of now."""

    def __init__(self, found: Iterable[Any]) -> None:
        self._found = found

    def describe(self) -> list[Any]:
        return []

    def collect(self) -> Iterable[Any]:
        from prometheus_client.core import GaugeMetricFamily

        for metric in self._found:
            yield metric
            if metric.name == "ratchet_pointer_read_timestamp_seconds":
                read = [sample.value for sample in metric.samples if sample.value]
                age = time.time() - min(read) if read else float("inf")
                yield GaugeMetricFamily("ratchet_pointer_age_seconds", "Since the pointers were last read", value=age)
