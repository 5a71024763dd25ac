"""The one pointer per domain that says what answers. Needs the control database, and for something new the domain's file: it moves with
Airflow stopped.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, time

from sqlalchemy import select
from sqlalchemy.orm import Session

from pipelines.config import Settings, load_domain
from pipelines.errors import BadInput, Conflict, NotAllowed
from pipelines.governance import audit
from pipelines.registry import candidates, rights
from pipelines.state import outbox
from pipelines.state.database import reading, transaction
from pipelines.state.models import Approval, Artifact, AuditEvent, Candidate, Pointer, Tenure, now


@dataclass(frozen=True, slots=True)
class Live:
    """What was live, from when to when, and who made it so."""

    domain: str
    release: str
    version: str
    approved_by: str
    began_at: datetime
    ended_at: datetime | None
    actor: str
    reason: str


def current(settings: Settings, domain: str) -> Pointer | None:
    """The domain's pointer, or None before its first release."""
    with reading(settings) as session:
        return session.get(Pointer, domain)


def set_canary(settings: Settings, candidate_id: str, share: float, shadow: float = 0.0) -> None:
    """Let an approved candidate answer `share` of the domain's conversations, and `shadow` of its requests for nobody to see.

    Conflict while another canary runs; NotAllowed, audited, when its approval does not stand any more.
    """
    domain = load_domain(candidates.get(settings, candidate_id).domain, settings)
    with _refusal_audited(settings, candidate_id), transaction(settings) as session:
        candidate = session.get_one(Candidate, candidate_id)
        pointer = _pointer(session, candidate.domain)
        if pointer.live_id == candidate_id:
            return
        if pointer.canary_id not in (None, candidate_id):
            raise Conflict(f"{pointer.canary_id} is in canary", todo="wait for its end, or withdraw it")
        candidates.require_unbarred(session, candidate)
        rights.require_standing(session, domain, candidate)
        if candidate.state != "canary":
            candidates.move(session, candidate_id, "canary")
        pointer.canary_id, pointer.canary_share, pointer.shadow_share = candidate_id, share, shadow


def end_canary(settings: Settings, candidate_id: str) -> None:
    """Stop sending requests to this candidate; harmless when none are sent."""
    with transaction(settings) as session:
        pointer = session.get(Pointer, session.get_one(Candidate, candidate_id).domain)
        if pointer is not None and pointer.canary_id == candidate_id:
            _no_canary(pointer)


def promote(settings: Settings, candidate_id: str, *, actor: str = "ratchet", reason: str = "gated, approved, canary passed") -> bool:
    """Make a canaried candidate live in one transaction; False when it is live already (a cleared task).

    Conflict unless it is an approved canary. NotAllowed, audited, when its approval does not stand any more: the approver has left the
    role, has come to be one of those who delivered what is new in it, or the domain's policy approves it no longer.
    """
    domain = load_domain(candidates.get(settings, candidate_id).domain, settings)
    with _refusal_audited(settings, candidate_id), transaction(settings) as session:
        candidate = session.get_one(Candidate, candidate_id)
        pointer = _pointer(session, candidate.domain)
        if pointer.live_id == candidate_id:
            return False
        if candidate.state != "canary":
            raise Conflict(f"{candidate_id} is {candidate.state}, not an approved canary", todo="run its release DAG")
        candidates.require_unbarred(session, candidate)
        rights.require_standing(session, domain, candidate)
        if pointer.live_id is not None:
            candidates.move(session, pointer.live_id, "retired", actor=actor)
        candidates.move(session, candidate_id, "live", actor=actor)
        _point(session, pointer, candidate_id, actor, reason)
        return True


def rollback(settings: Settings, domain: str, *, actor: str, reason: str, to: int | None = None, run: str = "") -> str:
    """Make an earlier release live again (the previous one, or number `to`); returns its id. The release left behind is `reverted`.
    One part alone is taken back by `registry.partial.rollback`.

    With `run` it is done once for that run: a cleared task must not go back one more.
    """
    with transaction(settings) as session:
        pointer = live_pointer(session, domain)
        if run and (done := rolled_back(session, domain, run)) is not None:
            return done
        live = str(pointer.live_id)
        target = f"{domain}/r{to}" if to is not None else before(session, session.get_one(Candidate, live))
        if target is None:
            raise Conflict(f"{live} is the first release of {domain}", todo="there is nothing before it")
        if target == live:
            raise BadInput(f"{target} is live already", todo="name an earlier release with --to")
        require_served(session, target)
        go_back(session, pointer, target, actor, reason, {"run": run} if run else {})
        return target


def go_back(session: Session, pointer: Pointer, target: str, actor: str, reason: str, more: dict[str, str]) -> None:
    """Leave what is live for `target`, in the caller's transaction. What was live is `reverted`, a canary ends, cached answers are out of
    reach. Conflict when a part of the target is barred, or its state does not allow it."""
    candidates.require_unbarred(session, session.get_one(Candidate, target))
    left = str(pointer.live_id)
    candidates.move(session, left, "reverted", actor=actor, reason=reason)
    candidates.move(session, target, "live", actor=actor, reason=reason)
    _no_canary(pointer)
    _point(session, pointer, target, actor, reason)
    pointer.epoch += 1
    detail = {"from": left, "reason": reason} | more
    audit.record(session, actor=actor, action="release.rollback", subject=target, detail=detail)


def live_on(settings: Settings, domain: str, day: str | None = None) -> list[Live]:
    """What was live during a day (ISO, UTC), newest first; without a day, what is live now."""
    with reading(settings) as session:
        query = (
            select(Tenure, Candidate.version_id, Approval.actor)
            .join(Candidate, Candidate.id == Tenure.candidate_id)
            .outerjoin(Approval, Approval.candidate_id == Tenure.candidate_id)
            .where(Tenure.domain == domain)
            .order_by(Tenure.began_at.desc(), Tenure.id.desc())
        )
        if day is None:
            query = query.where(Tenure.ended_at.is_(None))
        else:
            first, last = _day(day)
            query = query.where(Tenure.began_at <= last, (Tenure.ended_at.is_(None)) | (Tenure.ended_at >= first))
        return [
            Live(domain, row.candidate_id, version, approver or "", row.began_at, row.ended_at, row.actor, row.reason)
            for row, version, approver in session.execute(query)
        ]


@contextmanager
def _refusal_audited(settings: Settings, candidate_id: str) -> Iterator[None]:
    """What the transaction inside refused for want of a right is recorded after it was rolled back."""
    try:
        yield
    except NotAllowed as refused:
        with transaction(settings) as session:
            audit.record(
                session, actor="ratchet", action="candidate.publish", subject=candidate_id, allowed=False, detail={"refusal": refused.what}
            )
        raise


def live_pointer(session: Session, domain: str) -> Pointer:
    """The pointer of a domain that has a live release, held until the transaction ends: of two who go back at one moment the second sees
    what the first did. Conflict where there is no live release."""
    pointer = session.get(Pointer, domain, with_for_update=True)
    if pointer is None or pointer.live_id is None:
        raise Conflict(f"{domain} has no live release", todo="there is nothing to roll back")
    return pointer


def require_served(session: Session, release: str) -> Candidate:
    """A candidate that was live at some time; BadInput for any other."""
    row = session.get(Candidate, release)
    if row is None or session.scalar(select(Tenure.id).where(Tenure.candidate_id == release).limit(1)) is None:
        raise BadInput(f"{release} was never live", todo="`ratchet releases` lists what can be rolled back to")
    return row


def rolled_back(session: Session, domain: str, run: str) -> str | None:
    """Where a run went back to; rollbacks are few, so they are looked through."""
    query = select(AuditEvent).where(AuditEvent.action == "release.rollback", AuditEvent.subject.startswith(f"{domain}/"))
    return next((event.subject for event in session.scalars(query) if event.detail.get("run") == run), None)


def before(session: Session, live: Candidate) -> str | None:
    """The newest release older than the live one that ended well. A reverted one is gone back to only by name."""
    return session.scalar(
        select(Candidate.id)
        .where(Candidate.domain == live.domain, Candidate.number < live.number, Candidate.state == "retired")
        .order_by(Candidate.number.desc())
        .limit(1)
    )


def _day(day: str) -> tuple[datetime, datetime]:
    try:
        date = datetime.strptime(day, "%Y-%m-%d").date()
    except ValueError:
        raise BadInput(f"not a date: {day!r}", todo="write it as YYYY-MM-DD") from None
    return datetime.combine(date, time.min, UTC), datetime.combine(date, time.max, UTC)


def _pointer(session: Session, domain: str) -> Pointer:
    pointer = session.get(Pointer, domain)
    if pointer is None:
        pointer = Pointer(domain=domain, canary_share=0.0)
        session.add(pointer)
    return pointer


def _no_canary(pointer: Pointer) -> None:
    pointer.canary_id, pointer.canary_share, pointer.shadow_share = None, 0.0, 0.0


def _point(session: Session, pointer: Pointer, candidate_id: str, actor: str, reason: str) -> None:
    moment = now()
    if pointer.live_id is not None:
        open_tenures = session.scalars(select(Tenure).where(Tenure.domain == pointer.domain, Tenure.ended_at.is_(None)))
        for tenure in open_tenures:
            tenure.ended_at = moment
    session.add(Tenure(domain=pointer.domain, candidate_id=candidate_id, began_at=moment, actor=actor, reason=reason))
    if pointer.canary_id == candidate_id:
        _no_canary(pointer)
    pointer.previous_id, pointer.live_id, pointer.since = pointer.live_id, candidate_id, moment
    session.flush()
    candidate = session.get_one(Candidate, candidate_id)
    outbox.put(
        session,
        "mlflow.release",
        f"mlflow.release/{candidate_id}/{moment.isoformat()}",
        {
            "candidate_id": candidate_id,
            "domain": pointer.domain,
            "adapter_step_hash": session.scalar(
                select(Artifact.step_hash).join(Candidate, Candidate.adapter_id == Artifact.id).where(Candidate.id == candidate_id)
            ),
            "prompt": candidate.prompt,
            "prompt_sha256": candidate.prompt_sha256,
        },
    )
