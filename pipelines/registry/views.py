"""Rows for people: what the command line and the release board show."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, or_, select

from pipelines.config import Settings, load_domain
from pipelines.errors import BadInput, NotFound
from pipelines.registry import pointer
from pipelines.state.database import reading
from pipelines.state.models import Arrival, ArrivalItem, AuditEvent, Candidate, DatasetVersion, GateReport, Plan, ReviewItem, Tenure

if TYPE_CHECKING:
    from pipelines.corpus.documents import Document

Row = dict[str, Any]
REPORTS = {"contract": "contract.html", "masking": "report.json"}
"""What is reported of an arrival, in a folder addressed by its preparation."""


def arrivals(settings: Settings, name: str | None = None, limit: int = 200) -> list[Row]:
    """The ledger, newest first: all of it, a domain's, or one arrival. With the number of accepted documents and where the reports lie."""
    counts = (
        select(ArrivalItem.arrival_id, func.count().label("documents"))
        .where(ArrivalItem.state.in_(("accepted", "unchanged")), ArrivalItem.key.is_not(None))
        .group_by(ArrivalItem.arrival_id)
        .subquery()
    )
    query = select(Arrival, counts.c.documents).outerjoin(counts, counts.c.arrival_id == Arrival.id)
    if name is not None:
        query = query.where(or_(Arrival.domain == name, Arrival.id == name))
    query = query.order_by(Arrival.received_at.desc(), Arrival.id.desc()).limit(limit)
    with reading(settings) as session:
        return [
            {
                "arrival": row.id,
                "folder": row.folder,
                "domain": row.domain,
                "state": row.state,
                "reason": row.reason,
                "version": row.version_id,
                "documents": documents or 0,
                "files": row.files,
                "uploader": row.uploader,
                "source": row.source,
                "effective": row.effective,
                "received": _time(row.received_at),
                "run": row.claimed_run,
                **{kind: str(path) if (path := report(settings, row, kind)) else None for kind in REPORTS},
            }
            for row, documents in session.execute(query)
        ]


def report(settings: Settings, arrival: Arrival, kind: str) -> Path | None:
    """The file of an arrival's contract or masking report; nothing where there is none, as of an arrival whose seal did not hold."""
    root = settings.artifacts.resolve()
    path = (root / kind / (arrival.prepared or "-") / REPORTS[kind]).resolve()
    return path if path.is_relative_to(root) and path.is_file() else None


def items(settings: Settings, arrival_id: str) -> list[Row]:
    """Every file and document of one arrival."""
    query = select(ArrivalItem).where(ArrivalItem.arrival_id == arrival_id).order_by(ArrivalItem.id)
    with reading(settings) as session:
        return [
            {
                "file": row.file,
                "place": row.place,
                "state": row.state,
                "key": row.key,
                "content": row.content,
                "reason": row.reason,
            }
            for row in session.scalars(query)
        ]


def versions(settings: Settings, domain: str | None = None) -> list[Row]:
    """Dataset versions, newest first."""
    query = _of(select(DatasetVersion), DatasetVersion.domain, domain).order_by(DatasetVersion.created_at.desc())
    with reading(settings) as session:
        return [
            {
                "version": row.id,
                "domain": row.domain,
                "documents": row.documents,
                "changed": row.changed,
                "known_on": row.known_on,
                "snapshot": row.snapshot_id,
                "arrival": row.arrival_id,
                "content": row.content,
                "created": _time(row.created_at),
            }
            for row in session.scalars(query)
        ]


def documents(settings: Settings, version_id: str) -> list[Row]:
    """The documents of a version, by key and date."""
    from pipelines.corpus import warehouse

    return [_document(row) for row in warehouse.documents(settings, _domain_of(settings, version_id), version_id)]


def diff(settings: Settings, before: str, after: str) -> list[Row]:
    """Rows that are in one of two versions only."""
    from pipelines.corpus import warehouse

    domain = _domain_of(settings, before)
    if _domain_of(settings, after) != domain:
        raise BadInput("the versions are of two domains", where=f"{before}, {after}", todo="name two versions of one domain")
    gone, come = warehouse.changed_rows(settings, domain, before, after)
    old, new = ({(row.key, row.valid_from, row.content): _document(row) for row in rows} for rows in (gone, come))
    rows = [{"change": "-", **old[key]} for key in old.keys() - new.keys()] + [
        {"change": "+", **new[key]} for key in new.keys() - old.keys()
    ]
    return sorted(rows, key=lambda row: (row["key"], row["change"] == "+", row["valid_from"]))


def _document(row: Document) -> Row:
    return {
        "key": row.key,
        "title": row.title,
        "valid_from": row.valid_from,
        "valid_to": row.valid_to,
        "withdrawn": row.withdrawn,
        "erased": row.erased,
        "text": row.text,
    }


def plans(settings: Settings, domain: str | None = None) -> list[Row]:
    """What each version called for."""
    query = _of(select(Plan), Plan.domain, domain).order_by(Plan.created_at.desc())
    with reading(settings) as session:
        return [
            {
                "version": row.version_id,
                "kind": row.kind,
                "reason": row.reason,
                "decided": row.decided,
                "overridden_by": row.overridden_by,
                "overridden_why": row.overridden_why,
                "cost": row.cost,
                "money": _money(row.cost),
                "waits": row.waits,
                "waits_since": _time(row.waits_since),
                "signals": row.signals,
                "done": _time(row.done_at),
                "run": row.claimed_run,
            }
            for row in session.scalars(query)
        ]


def candidates(settings: Settings, domain: str | None = None) -> list[Row]:
    """Candidates with their verdicts, newest first."""
    query = _of(
        select(Candidate, GateReport).outerjoin(GateReport, GateReport.candidate_id == Candidate.id),
        Candidate.domain,
        domain,
    )
    with reading(settings) as session:
        return [
            {
                "candidate": row.id,
                "domain": row.domain,
                "version": row.version_id,
                "adapter": row.adapter_id,
                "index": row.index_id,
                "prompt": row.prompt,
                "verdict": report.verdict if report else None,
                "reasons": report.reasons if report else [],
                "metrics": report.metrics if report else {},
                "against": report.against if report else None,
                "report": report.path if report else None,
                "state": row.state,
                "reason": row.reason,
                "created": _time(row.created_at),
                "run": row.claimed_run,
            }
            for row, report in session.execute(query.order_by(Candidate.created_at.desc(), Candidate.number.desc()))
        ]


def releases(settings: Settings, domain: str | None = None) -> list[Row]:
    """Every tenure, newest first."""
    query = _of(select(Tenure, Candidate.version_id).join(Candidate, Candidate.id == Tenure.candidate_id), Tenure.domain, domain)
    with reading(settings) as session:
        counted = select(ReviewItem.mended_by, func.count()).where(ReviewItem.mended_by.is_not(None)).group_by(ReviewItem.mended_by)
        mended = {str(release): int(count) for release, count in session.execute(counted)}
        return [
            {
                "release": row.candidate_id,
                "domain": row.domain,
                "answers_complaints": mended.get(row.candidate_id, 0),
                "version": version,
                "began": _time(row.began_at),
                "ended": _time(row.ended_at),
                "actor": row.actor,
                "reason": row.reason,
            }
            for row, version in session.execute(query.order_by(Tenure.id.desc()))
        ]


def live(settings: Settings, domain: str, on: str | None = None) -> list[Row]:
    """What is, or was, live: release, data, approver."""
    return [
        {
            "domain": row.domain,
            "release": row.release,
            "version": row.version,
            "approved_by": row.approved_by,
            "began": _time(row.began_at),
            "ended": _time(row.ended_at),
            "actor": row.actor,
            "reason": row.reason,
        }
        for row in pointer.live_on(settings, domain, on)
    ]


def audit_events(settings: Settings, subject: str | None, last: int) -> list[Row]:
    """The newest audit events, oldest of them first."""
    query = select(AuditEvent).order_by(AuditEvent.seq.desc()).limit(last)
    if subject is not None:
        query = query.where(AuditEvent.subject == subject)
    with reading(settings) as session:
        rows = session.scalars(query).all()
    return [
        {
            "seq": row.seq,
            "at": row.at[:19],
            "actor": row.actor,
            "action": row.action,
            "subject": row.subject,
            "allowed": row.allowed,
            "detail": row.detail,
        }
        for row in reversed(rows)
    ]


def _money(cost: dict[str, Any]) -> str | None:
    """`about 1.20 EUR` before, `1.20 EUR` after; why there is none."""
    if cost.get("money") is None:
        return cost.get("why") or None
    return f"{'about ' if cost['basis'] == 'estimated' else ''}{cost['money']:.2f} {cost.get('currency') or ''}".rstrip()


def _domain_of(settings: Settings, version_id: str) -> str:
    with reading(settings) as session:
        row = session.get(DatasetVersion, version_id)
    if row is None:
        raise NotFound(f"there is no dataset version {version_id!r}", todo="`ratchet datasets list` shows them")
    return load_domain(row.domain, settings).domain


def _of(query: Any, column: Any, domain: str | None) -> Any:
    return query if domain is None else query.where(column == domain)


def _time(moment: Any) -> str | None:
    return None if moment is None else moment.strftime("%Y-%m-%d %H:%M:%S")
