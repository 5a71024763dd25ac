"""The throw-away site of a drill: a control database of its own, copies of the domain's file and of its live release's rows, and a log.

Nothing of the real site is written to. Its live release is there twice: as it is, and as the release that the drill takes to be bad.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml
from sqlalchemy import inspect
from sqlalchemy.orm import Session

from pipelines.config import DomainConfig, Settings
from pipelines.errors import BadInput, Conflict
from pipelines.manifest import sha256
from pipelines.monitor_config import Alerts, Monitors, Revert, Rule, Shift, Threshold
from pipelines.state.database import migrate, reading, transaction
from pipelines.state.models import Artifact, Candidate, DatasetVersion, MonitorMark, Pointer, Tenure
from pipelines.traffic.segments import STAMP, Record, folder_of

URLS = "RATCHET_DRILL_URLS"
WINDOW_SECONDS, EVERY_SECONDS = 60.0, 5.0
PAST = timedelta(hours=8)
"""How much usual traffic the watcher finds to learn from."""
A_SECOND = 2
"""Requests. The watcher's windows hold 120 of them."""
USUAL: dict[str, Any] = {"status": 200, "abstained": False, "canary": False, "shadow": False, "cited": "1-1-a", "sources": ["1-1-a"]}
_SHARES: dict[str, dict[str, Any]] = {
    "error_share": {"status": 500},
    "ungrounded_share": {"abstained": True, "reason": "not_in_passage", "cited": None},
    "abstained_share": {"abstained": True, "reason": "not_stated", "cited": None},
    "cited_share": {"abstained": True, "reason": "not_stated", "cited": None},
    "unsure_share": {"confidence": 0.1},
    "confidence_mean": {"confidence": 0.1},
}
_NUMBERS = {
    "tokens_out_mean": "tokens_out",
    "tokens_in_mean": "tokens_in",
    "latency_p50": "latency_ms",
    "latency_p95": "latency_ms",
    "latency_p99": "latency_ms",
}
_TIMES = 4.0
"""What a planted number is to the usual one: far beyond `least` of any rule, as a prompt that asks for reasons is."""


def rule_of(domain: DomainConfig) -> Rule:
    """The first of the domain's rules that goes back by itself and whose fault can be planted in a log. BadInput where it has none."""
    for rule in domain.monitors.watched():
        going_up = rule.direction != "down" if isinstance(rule, Shift) else not (isinstance(rule, Threshold) and rule.below is not None)
        falls = rule.measure in ("confidence_mean", "cited_share")
        if isinstance(rule.action, Revert) and (rule.measure in _SHARES or rule.measure in _NUMBERS) and going_up != falls:
            return rule
    names = ", ".join(sorted([*_SHARES, *_NUMBERS]))
    raise BadInput(
        f"no rule of {domain.domain} that reverts can be tried",
        where=f"configs/domains/{domain.domain}.yaml, monitors.rules",
        todo=f"faults of {names} can be planted; give one of its rules `action: {{do: revert}}`, or do without the drill",
    )


def fault_of(rule: Rule) -> dict[str, Any]:
    """What the bad release's records say instead."""
    if rule.measure in _SHARES:
        return _SHARES[rule.measure]
    name = _NUMBERS[rule.measure]
    beyond = 2 * rule.above if isinstance(rule, Threshold) and rule.above is not None else 0.0
    value = max(_TIMES * float(_line(0)[name]), beyond)
    return {name: value if name == "latency_ms" else round(value)}


def make(settings: Settings, domain: DomainConfig, rule: Rule, place: Path, minutes: float) -> tuple[Settings, str, str]:
    """The site in `place`, (its settings, the good release, the one that will be bad); the good one is live. Conflict without a live one.

    Rules and actions are the domain's; windows are shorter, so that it takes a minute, and the messages go to this process alone.
    """
    own = settings.model_copy(update={"configs": place / "configs", "var": place / "var", "landing": None, "database_url": None})
    shutil.copytree(settings.configs, own.configs, ignore=shutil.ignore_patterns("domains"))
    monitors = Monitors(
        window_seconds=WINDOW_SECONDS, every_seconds=EVERY_SECONDS, reference_days=1.0, rules=(rule,), alerts=Alerts(urls_env=URLS, tries=3)
    )
    source = settings.configs / "domains" / f"{domain.domain}.yaml"
    values = yaml.safe_load(source.read_text(encoding="utf-8")) | {"monitors": json.loads(monitors.model_dump_json())}
    (own.configs / "domains").mkdir(parents=True)
    (own.configs / "domains" / source.name).write_text(yaml.safe_dump(values), encoding="utf-8")
    migrate(own)
    return own, *_releases(settings, own, domain.domain, minutes)


def go_live(own: Settings, domain: str, release: str, at: datetime) -> None:
    """Move the pointer, as a promotion would; what was live is retired."""
    with transaction(own) as session:
        pointer = session.get_one(Pointer, domain)
        before = session.get_one(Candidate, pointer.live_id)
        before.state = "retired"
        session.get_one(Candidate, release).state = "live"
        for tenure in session.query(Tenure).filter(Tenure.domain == domain, Tenure.ended_at.is_(None)):
            tenure.ended_at = at
        session.add(Tenure(domain=domain, candidate_id=release, began_at=at, actor="drill", reason="a drill"))
        pointer.previous_id, pointer.live_id, pointer.since = before.id, release, at


def past(own: Settings, domain: str, release: str, until: datetime) -> int:
    """Usual traffic of the hours before; returns the number of lines."""
    count, at = 0, until - PAST
    step = timedelta(seconds=1 / A_SECOND)
    hours: dict[str, list[str]] = {}
    while at < until:
        hours.setdefault(f"{at:{STAMP}}", []).append(_record(count, at, release, {}))
        count, at = count + 1, at + step
    for hour, lines in hours.items():
        _append(own, domain, hour, lines)
    return count


def append(own: Settings, domain: str, number: int, at: datetime, release: str, fault: dict[str, Any]) -> None:
    """One more line, now."""
    _append(own, domain, f"{at:{STAMP}}", [_record(number, at, release, fault)])


def _line(number: int) -> dict[str, Any]:
    # Not random: a drill that fails must fail again. Three waves that do not keep step look like traffic well enough.
    return {
        **USUAL,
        "request_id": f"drill-{number}",
        "conversation": f"drill-c{number}",
        "key": "drill",
        "tenant": "drill",
        "latency_ms": 100.0 + 7 * (number % 13) + 3 * (number % 7),
        "tokens_in": 200 + number % 17 * 3,
        "tokens_out": 20 + number % 11,
        "confidence": 0.9 - number % 7 / 100,
    }


def _record(number: int, at: datetime, release: str, fault: dict[str, Any]) -> str:
    record = Record.model_validate({"at": at, "release": release, **_line(number), **fault})
    line = record.model_dump(mode="json") | {"at": at.isoformat(timespec="milliseconds")}
    return json.dumps(line, separators=(",", ":"))


def _append(own: Settings, domain: str, hour: str, lines: list[str]) -> None:
    path = folder_of(own, domain) / f"{hour}-drill-1.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write("".join(f"{line}\n" for line in lines))


def _releases(settings: Settings, own: Settings, domain: str, minutes: float) -> tuple[str, str]:
    with reading(settings) as session:
        at = session.get(Pointer, domain)
        if at is None or at.live_id is None:
            raise Conflict(f"{domain} has no live release", todo="there is nothing to go back from")
        live = session.get_one(Candidate, at.live_id)
        rows = list(_rests_on(session, live))
    planted = f"{domain}/r{live.number + 1}"
    with transaction(own) as session:
        for row in rows:
            session.add(_copy(row))
        session.flush()
        session.add(_copy(live, state="live"))
        changed = {"id": planted, "number": live.number + 1, "state": "canary", "step_hash": sha256([live.step_hash, "drill"])}
        session.add(_copy(live, **changed))
        session.flush()
        moment = datetime.now(UTC)
        # Long ago: what went live a moment ago is no reference for anything.
        since = moment - timedelta(days=30)
        session.add(Pointer(domain=domain, live_id=live.id, canary_share=0.0, since=since))
        session.add(Tenure(domain=domain, candidate_id=live.id, began_at=since, actor="drill", reason="as it is"))
        until = moment + timedelta(minutes=minutes)
        session.add(MonitorMark(domain=domain, name="drill", state={"until": until.isoformat()}))
    return live.id, planted


def _rests_on(session: Session, live: Candidate) -> Iterator[Any]:
    yield session.get_one(DatasetVersion, live.version_id)
    yield session.get_one(Artifact, live.index_id)
    if live.adapter_id is not None:
        yield session.get_one(Artifact, live.adapter_id)


def _copy(row: Any, **changes: Any) -> Any:
    kind = type(row)
    return kind(**{column.key: getattr(row, column.key) for column in inspect(kind).mapper.column_attrs} | changes)
