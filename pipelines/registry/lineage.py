"""From a file to every release that holds it, and back: one account for any id, from the control database alone.

Goes up and down from what the id names: file, arrival (who delivered it, who released it from quarantine), dataset versions, plans,
artifacts, candidates, approvals, tenures. Reads by index; the warehouse is never opened.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from pipelines.config import Settings
from pipelines.errors import NotFound
from pipelines.registry import ancestry
from pipelines.state.database import reading
from pipelines.state.models import Approval, Arrival, ArrivalItem, Artifact, AuditEvent, Candidate, DatasetVersion, Erasure, Plan, Tenure

Row = dict[str, Any]
_AT_ONCE = 500
"""Names in one query: SQLite takes a limited number of them."""
FILES_SHOWN = 1_000
"""Arrivals whose files are listed one by one; of more, an arrival's number of files is told."""


@dataclass(slots=True)
class _Found:
    """What belongs to the account, by id."""

    kind: str
    domains: set[str] = field(default_factory=set)
    lines: list[ArrivalItem] = field(default_factory=list)
    arrivals: set[str] = field(default_factory=set)
    versions: set[str] = field(default_factory=set)
    artifacts: set[str] = field(default_factory=set)
    candidates: set[str] = field(default_factory=set)


def trace(settings: Settings, name: str) -> list[Row]:
    """Rows {what, id, when, who, detail, ...} from the files down to the releases. NotFound for a name that nothing has.

    `name`: an arrival, a file id, a document's key, a dataset version, an artifact, a candidate or release.
    """
    with reading(settings) as session:
        found = _of_candidate(session, name) or _of_artifact(session, name) or _of_version(session, name) or _of_delivered(session, name)
        if found is None:
            raise NotFound(
                f"nothing is known as {name!r}",
                todo="give an arrival, a file id, a document's key, a dataset version, an artifact or a release, as `ratchet` lists them",
            )
        return list(_rows(session, found))


# --- what belongs to it -----------------------------------------------------------------------------------------------


def _of_candidate(session: Session, name: str) -> _Found | None:
    row = session.get(Candidate, name)
    if row is None:
        return None
    found = _Found("candidate", {row.domain}, candidates={row.id})
    for part in filter(None, (row.adapter_id, row.index_id)):
        _up_from_artifact(session, session.get_one(Artifact, part), found)
    _up_from_version(session, row.domain, row.version_id, found)
    return found


def _of_artifact(session: Session, name: str) -> _Found | None:
    row = session.get(Artifact, name)
    if row is None:
        return None
    found = _Found(row.kind, {row.domain})
    _up_from_artifact(session, row, found)
    made_of = {row.id}
    if row.kind == "training_set":
        rows = session.execute(select(Artifact.id, Artifact.facts).where(Artifact.domain == row.domain, Artifact.kind == "adapter"))
        made_of |= {one.id for one in rows if one.facts.get("training_set") == row.id}
        found.artifacts |= made_of
    _down_to_candidates(session, row.domain, set(), made_of, found)
    return found


def _of_version(session: Session, name: str) -> _Found | None:
    row = session.get(DatasetVersion, name)
    if row is None:
        return None
    found = _Found("version", {row.domain})
    _up_from_version(session, row.domain, row.id, found)
    _down_from_versions(session, row.domain, {row.id}, found)
    return found


def _of_delivered(session: Session, name: str) -> _Found | None:
    """An arrival, one of its files, or a document's key."""
    row = session.get(Arrival, name)
    if row is not None:
        found = _Found("arrival", {row.domain}, arrivals={row.id})
    else:
        lines = session.scalars(select(ArrivalItem).where(ArrivalItem.key == name).order_by(ArrivalItem.id)).all()
        kind = "document" if lines else "file"
        lines = lines or session.scalars(select(ArrivalItem).where(ArrivalItem.file == name).order_by(ArrivalItem.id)).all()
        if not lines:
            return None
        found = _Found(kind, lines=list(lines), arrivals={line.arrival_id for line in lines})
    rows = [one for some in _some(found.arrivals) for one in session.scalars(select(Arrival).where(Arrival.id.in_(some)))]
    found.domains |= {one.domain for one in rows}
    for domain in found.domains:
        mine = {one.duplicate_of or one.id for one in rows if one.domain == domain}
        holding = ancestry.holders(session, domain, mine)
        found.versions |= holding
        _down_from_versions(session, domain, holding, found)
    return found


def _up_from_artifact(session: Session, row: Artifact, found: _Found) -> None:
    found.artifacts.add(row.id)
    if (source := row.facts.get("training_set")) and session.get(Artifact, source) is not None:
        found.artifacts.add(source)
    if (version := row.facts.get("version")) and session.get(DatasetVersion, version) is not None:
        _up_from_version(session, row.domain, version, found)


def _up_from_version(session: Session, domain: str, version_id: str, found: _Found) -> None:
    if version_id not in found.versions:
        found.versions.add(version_id)
        found.arrivals |= ancestry.arrivals(session, domain, version_id)


def _down_from_versions(session: Session, domain: str, versions: set[str], found: _Found) -> None:
    found.versions |= versions
    rows = session.execute(select(Artifact.id, Artifact.facts).where(Artifact.domain == domain))
    made = {row.id for row in rows if row.facts.get("version") in versions}
    found.artifacts |= made
    _down_to_candidates(session, domain, versions, made, found)


def _down_to_candidates(session: Session, domain: str, versions: set[str], artifacts: set[str], found: _Found) -> None:
    rows = session.execute(
        select(Candidate.id, Candidate.version_id, Candidate.adapter_id, Candidate.index_id).where(Candidate.domain == domain)
    )
    found.candidates |= {row.id for row in rows if row.version_id in versions or row.adapter_id in artifacts or row.index_id in artifacts}


# --- rows -------------------------------------------------------------------------------------------------------------


def _rows(session: Session, found: _Found) -> Iterator[Row]:
    yield from _files(session, found)
    arrivals = _many(session, Arrival, found.arrivals)
    for row in sorted(arrivals, key=lambda one: (one.received_at, one.id)):
        said = row.state + (f", undone by {row.undone_by}" if row.undone_by else "") + (f": {row.reason}" if row.reason else "")
        yield _row("restore" if row.source == "restore" else "arrival", row.id, row.received_at, row.uploader, f"{row.source}; {said}") | {
            "effective": row.effective,
            "files": row.files,
            "version": row.version_id,
        }
    yield from _quarantine(session, found)
    for version in sorted(_many(session, DatasetVersion, found.versions), key=lambda one: (one.domain, one.major, one.minor)):
        said = f"restores {version.restores_id}" if version.restores_id else f"from {version.arrival_id}"
        yield _row("version", version.id, version.created_at, None, f"{version.documents} rows, {said}") | {
            "content": version.content,
            "snapshot": version.snapshot_id,
            "parent": version.parent_id,
        }
    plans = [one for some in _some(found.versions) for one in session.scalars(select(Plan).where(Plan.version_id.in_(some)))]
    for plan in sorted(plans, key=lambda one: one.created_at):
        said = f"{plan.kind}, not {plan.decided}: {plan.overridden_why}" if plan.decided else f"{plan.kind}: {plan.reason}"
        yield _row("plan", plan.version_id, plan.created_at, plan.overridden_by, said)
    for artifact in sorted(_many(session, Artifact, found.artifacts), key=lambda one: (one.created_at, one.id)):
        said = f"barred: {artifact.barred}" if artifact.barred else f"from {artifact.facts.get('version', 'no version')}"
        yield _row(artifact.kind, artifact.id, artifact.created_at, None, said) | {"sha256": artifact.sha256, "barred": artifact.barred}
    for one in sorted(_many(session, Candidate, found.candidates), key=lambda row: (row.domain, row.number)):
        said = f"{one.state} from {one.version_id}, {one.adapter_id or 'no adapter'}, {one.index_id}"
        yield _row("candidate", one.id, one.created_at, one.uploader, said) | {"reason": one.reason}
    yield from _answers(session, found.candidates)


def _answers(session: Session, names: set[str]) -> Iterator[Row]:
    """Approvals and tenures."""
    for some in _some(names):
        for given in session.scalars(select(Approval).where(Approval.candidate_id.in_(some)).order_by(Approval.responded_at)):
            yield _row("approval", given.candidate_id, given.responded_at, given.actor, f"{given.decision}, {given.source}")
    for some in _some(names):
        for tenure in session.scalars(select(Tenure).where(Tenure.candidate_id.in_(some)).order_by(Tenure.id)):
            until = f"until {_time(tenure.ended_at)}" if tenure.ended_at else "live now"
            yield _row("release", tenure.candidate_id, tenure.began_at, tenure.actor, f"{until}: {tenure.reason}") | {
                "ended": _time(tenure.ended_at)
            }


def _files(session: Session, found: _Found) -> Iterator[Row]:
    """Files with what became of their documents; of a document, the places it was delivered at."""
    if found.kind == "document":
        for line in found.lines:
            said = f"{line.state} in {line.arrival_id}, {line.place}" + (f": {line.reason}" if line.reason else "")
            yield _row("file", line.file, None, None, said) | {"arrival": line.arrival_id, "content": line.content}
        return
    only = ArrivalItem.file == found.lines[0].file if found.kind == "file" else None
    for some in _some(sorted(found.arrivals)[:FILES_SHOWN]):
        query = (
            select(ArrivalItem.arrival_id, ArrivalItem.file, ArrivalItem.state, func.count().label("lines"))
            .where(ArrivalItem.arrival_id.in_(some), ArrivalItem.file != "")
            .group_by(ArrivalItem.arrival_id, ArrivalItem.file, ArrivalItem.state)
        )
        for row in session.execute(query if only is None else query.where(only)):
            yield _row("file", row.file, None, None, f"{row.lines} {row.state} in {row.arrival_id}") | {"arrival": row.arrival_id}
    if (more := len(found.arrivals) - FILES_SHOWN) > 0:
        yield _row("file", "", None, None, f"and those of {more} more arrivals: ask for one of them")


def _quarantine(session: Session, found: _Found) -> Iterator[Row]:
    """Who held, released or refused what; and erasures, which concern the whole domain."""
    for some in _some(found.arrivals):
        events = select(AuditEvent).where(AuditEvent.subject.in_(some), AuditEvent.action != "arrival.received").order_by(AuditEvent.seq)
        for event in session.scalars(events):
            said = event.detail.get("reason") or event.detail.get("by") or ""
            yield _row(event.action, event.subject, event.at[:19].replace("T", " "), event.actor, str(said))
    for domain in sorted(found.domains):
        for erased in session.scalars(select(Erasure).where(Erasure.domain == domain).order_by(Erasure.created_at)):
            said = f"{erased.receipt.get('documents', 0)} documents: {erased.reason}"
            yield _row("erasure", erased.id[:16], erased.created_at, erased.actor, said)


def _row(what: str, name: str, when: Any, who: str | None, detail: str) -> Row:
    return {"what": what, "id": name, "when": when if isinstance(when, str) else _time(when), "who": who, "detail": detail}


def _many(session: Session, model: Any, names: Iterable[str]) -> list[Any]:
    return [row for some in _some(names) for row in session.scalars(select(model).where(model.id.in_(some)))]


def _some(names: Iterable[str]) -> Iterator[Sequence[str]]:
    ordered = sorted(names)
    return (ordered[at : at + _AT_ONCE] for at in range(0, len(ordered), _AT_ONCE))


def _time(moment: Any) -> str | None:
    return None if moment is None else moment.strftime("%Y-%m-%d %H:%M:%S")
