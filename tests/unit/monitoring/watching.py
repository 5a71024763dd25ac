"""A site with the domain `d`, signals made by hand, and releases that need no training."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import yaml
from live import approve

from pipelines.config import PROJECT, DomainConfig, Settings, load_domain
from pipelines.manifest import sha256
from pipelines.monitoring.detectors import Signal
from pipelines.registry import artifacts, candidates, pointer
from pipelines.state.database import transaction
from pipelines.state.models import Arrival, DatasetVersion, GateReport, Tenure

T0 = datetime.now(UTC).replace(microsecond=0)
"""When these tests were loaded: what a person does in a test happens later, by less than hours."""
ENV = "RATCHET_ALERT_URLS"
PAGE = {"name": "tokens", "kind": "threshold", "measure": "tokens_out_mean", "above": 100, "severity": "page"}
TICKET = {"name": "latency", "kind": "threshold", "measure": "latency_p95", "above": 100, "severity": "ticket"}
NOTE = {"name": "topics", "kind": "threshold", "measure": "topic_distance", "above": 0.5, "severity": "note"}


def minutes(number: float) -> datetime:
    return T0 + timedelta(minutes=number)


def site(settings: Settings, *rules: dict[str, Any], **monitors: Any) -> Settings:
    """The site with configs of its own and the domain `d`."""
    own = settings.model_copy(update={"configs": settings.var / "configs"})
    if not own.configs.exists():
        shutil.copytree(PROJECT / "configs", own.configs)
        for name in ("regulatory", "clinical"):
            (own.configs / "domains" / f"{name}.yaml").unlink()
    domain_file(own, *(rules or (PAGE, TICKET, NOTE)), **monitors)
    return own


def domain_file(settings: Settings, *rules: dict[str, Any], name: str = "d", **monitors: Any) -> None:
    told = {
        "domain": name, "description": "a domain without documents", "owner": "compliance", "dataset": "Set",
        "sources": {"formats": ["jsonl"]}, "contract": {"expectations": []}, "privacy": {"profile": "public"}, "task": {},
        "gate": {"goldens": "goldens/d.jsonl", "floors": {}}, "monitors": {"rules": list(rules), **monitors},
    }  # fmt: skip
    (settings.configs / "domains" / f"{name}.yaml").write_text(yaml.safe_dump(told), encoding="utf-8")


def config(settings: Settings) -> DomainConfig:
    return load_domain("d", settings)


def raised(rule: str, at: datetime = T0, group: str = "all", value: float = 200.0, why: str = "twice what it was") -> Signal:
    return Signal("raised", rule, group, at, value, 100.0, why)


def cleared(rule: str, at: datetime, group: str = "all") -> Signal:
    return Signal("cleared", rule, group, at, 100.0, 100.0, "as it was")


def release(settings: Settings, number: int, *, since: datetime | None = None, live: bool = True, **parts: Any) -> str:
    """`d/r<number>`, gated and live; parts that are not told are those of every release. `since`: when it went live."""
    version = "Set_v1.1"
    with transaction(settings) as session:
        if session.get(DatasetVersion, version) is None:
            session.add(Arrival(id="a1", domain="d", folder="f", seal="s", uploader="steward", source="t", effective="2012-01-01", files=1))
            session.flush()
            session.add(
                DatasetVersion(
                    id=version, domain="d", major=1, minor=1, snapshot_id="1", arrival_id="a1", known_on="2012-01-01", documents=1,
                    changed={}, content="c", parent_id=None,
                )
            )  # fmt: skip
    told: dict[str, Any] = {
        "version_id": version, "base": "b", "base_sha256": "0", "prompt": "chat/v1", "prompt_sha256": "p1", "policy": {},
        "adapter_id": artifact(settings, "adapter", "adapter 1", {"prompt": "chat/v1"}),
        "index_id": artifact(settings, "index", "index 1", {}),
    }  # fmt: skip
    name = candidates.assemble(settings, domain="d", **(told | parts), step_hash=sha256(["candidate", number]))
    with transaction(settings) as session:
        session.add(GateReport(candidate_id=name, verdict="pass", reasons=[], metrics={}, against=None, path="none", step_hash="0"))
    if live:
        approve(settings, name)
        pointer.set_canary(settings, name, 0.1)
        pointer.promote(settings, name)
        if since is not None:
            began(settings, name, since)
    return name


def began(settings: Settings, name: str, at: datetime) -> None:
    """Say that the release that is live went live then."""
    with transaction(settings) as session:
        for row in session.query(Tenure).filter(Tenure.candidate_id == name, Tenure.ended_at.is_(None)):
            row.began_at = at


def artifact(settings: Settings, kind: str, name: str, facts: dict[str, Any]) -> str:
    step_hash = sha256([kind, name])
    artifacts.make(settings, kind, step_hash, lambda out: (out / "x").write_text(name))
    return artifacts.enter(settings, kind, "d", step_hash, facts)


def words(events: Iterable[dict[str, Any]]) -> list[str]:
    return [one["what"] for one in events]
