"""`ratchet doctor`: what is missing between the authority and everything that hangs on it, and what of it can be mended."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import select

from pipelines.config import Settings, domain_names, load_domain
from pipelines.errors import RatchetError
from pipelines.governance import audit
from pipelines.registry import artifacts
from pipelines.site import site
from pipelines.state import outbox
from pipelines.state.database import reading
from pipelines.state.models import Arrival, Candidate, DatasetVersion, Pointer, Watermark

Finding = dict[str, Any]


def examine(settings: Settings, *, repair: bool) -> list[Finding]:
    """One finding per check: {check, ok, detail}. A check that cannot run is a finding too."""
    checks: list[tuple[str, Callable[[], str]]] = [
        ("host and services", lambda: _site(settings)),
        ("domain files", lambda: _domains(settings)),
        ("audit log", lambda: _audit(settings)),
        ("ledger", lambda: _ledger(settings)),
        ("sources", lambda: _sources(settings)),
        ("dataset versions", lambda: _versions(settings)),
        ("parts in service", lambda: _parts(settings)),
        ("other systems", lambda: _outbox(settings, repair)),
    ]
    return [_finding(name, check) for name, check in checks]


def _finding(name: str, check: Callable[[], str]) -> Finding:
    try:
        return {"check": name, "ok": True, "detail": check()}
    except RatchetError as error:
        return {"check": name, "ok": False, "detail": str(error)}


def _site(settings: Settings) -> str:
    if faults := site.doctor_site(settings):
        raise RatchetError("; ".join(faults))
    return "all well" if site.running(settings) else "down; nothing stands in the way of `ratchet up`"


def _domains(settings: Settings) -> str:
    names = domain_names(settings)
    for name in names:
        load_domain(name, settings)
    return ", ".join(names)


def _audit(settings: Settings) -> str:
    with reading(settings) as session:
        count, faults = audit.verify(session)
    if faults:
        raise RatchetError("; ".join(faults[:5]), todo="compare with a backup of the control database: somebody changed its history")
    return f"{count} events, the chain is whole"


def _ledger(settings: Settings) -> str:
    with reading(settings) as session:
        rows = session.scalars(select(Arrival)).all()
    waiting = [row.id for row in rows if row.state == "received" and row.claimed_run is None]
    return f"{len(rows)} arrivals" + (f", waiting: {', '.join(waiting)}" if waiting else "")


def _sources(settings: Settings) -> str:
    """Outside sources whose last pull failed."""
    with reading(settings) as session:
        rows = session.scalars(select(Watermark).order_by(Watermark.domain, Watermark.source)).all()
    if faults := [f"{row.domain}/{row.source}: {row.fault}" for row in rows if row.fault]:
        raise RatchetError("; ".join(faults[:5]), todo="see docs/runbooks/collect.md")
    return f"{len(rows)} collected" if rows else "none was collected from"


def _versions(settings: Settings) -> str:
    """Every version of the authority is a tag in Iceberg, on the snapshot it was published with."""
    from pipelines.corpus import warehouse

    with reading(settings) as session:
        rows = session.execute(select(DatasetVersion.domain, DatasetVersion.id, DatasetVersion.snapshot_id)).all()
    lost, orphans = [], []
    # Also domains without an entry: a tag may be all that a killed first publish has left.
    for domain in sorted({row.domain for row in rows} | set(domain_names(settings))):
        tags = warehouse.versions(settings, domain)
        entered = {name: snapshot for where, name, snapshot in rows if where == domain}
        lost += [f"{name} has lost its tag" for name, snapshot in entered.items() if str(tags.get(name)) != snapshot]
        orphans += [f"{name} was tagged, but not entered" for name in tags.keys() - entered.keys()]
    todo = ["restore the warehouse from a backup; the snapshot ids are in `ratchet datasets list`"] if lost else []
    todo += ["for what was not entered, if no publish runs now: clear its publish task, or restore again"] if orphans else []
    if todo:
        raise RatchetError("; ".join(lost + sorted(orphans)), todo="; ".join(todo))
    return f"{len(rows)} versions, every tag in its place"


def _parts(settings: Settings) -> str:
    """What is live, or can be rolled back to, is on disk as it was gated."""
    with reading(settings) as session:
        pointers = session.scalars(select(Pointer)).all()
        wanted = {name for row in pointers for name in (row.live_id, row.previous_id, row.canary_id) if name}
        rows = session.scalars(select(Candidate).where(Candidate.id.in_(wanted))).all()
    for row in rows:
        for part in filter(None, (row.adapter_id, row.index_id)):
            artifacts.path_of(settings, part)
    return f"{len(rows)} releases whole"


def _outbox(settings: Settings, repair: bool) -> str:
    if repair and site.running(settings):
        from pipelines.steps import learn

        told = learn.tell_others(settings)
        if told.get("faults"):
            raise RatchetError(f"{told['waiting']} messages wait: {told['faults'][0]}", todo="`ratchet doctor` again when it is up")
        return f"{told['delivered']} delivered" if told["delivered"] else "nothing waits"
    waiting = outbox.pending(settings)
    return f"{waiting} messages wait for `ratchet up`" if waiting else "nothing waits"
