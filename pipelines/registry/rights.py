"""Who may approve a candidate, and whether its approval still stands: looked at when the question is put, when its answer is recorded,
and before the first request and the pointer go to the candidate.
"""

from __future__ import annotations

from sqlalchemy.orm import Session

from pipelines.config import DomainConfig
from pipelines.errors import Conflict, NotAllowed
from pipelines.registry import ancestry, auto_approval
from pipelines.state.models import Approval, Candidate, Pointer


def refusal(session: Session, domain: DomainConfig, candidate: Candidate, person: str) -> str | None:
    """Why this person may not approve the candidate, by the domain's file as it is now; None where they may."""
    if person not in domain.roles.approvers:
        return f"{person!r} is not an approver of {domain.domain}"
    if person in delivered(session, candidate):
        return f"{person!r} delivered the data and may not approve it"
    return None


def delivered(session: Session, candidate: Candidate) -> set[str]:
    """Who delivered or restored what it makes live anew: as counted when it was assembled, and against what is live now.

    A rollback since then makes more of it new.
    """
    pointer = session.get(Pointer, candidate.domain)
    live = session.get(Candidate, pointer.live_id) if pointer is not None and pointer.live_id else None
    people = ancestry.answerable(session, candidate.domain, candidate.version_id, live.version_id if live else None)
    return {*candidate.uploader.split(", "), *people}


def approvers(session: Session, domain: DomainConfig, candidate: Candidate) -> list[str]:
    """Whom to ask."""
    return [person for person in domain.roles.approvers if refusal(session, domain, candidate, person) is None]


def lost(session: Session, domain: DomainConfig, candidate: Candidate, given: Approval) -> str | None:
    """Why a recorded approval does not count any more; None while it stands."""
    if given.decision != "approved":
        return f"{candidate.id} is {given.decision}, not approved"
    if given.source == auto_approval.SOURCE:
        why = auto_approval.weigh(session, domain, candidate).refusal
        return f"the policy of {domain.domain} does not approve it any more: {why}" if why else None
    why = refusal(session, domain, candidate, given.actor)
    return f"{given.actor} approved it on {given.responded_at:%Y-%m-%d}, but {why} any more" if why else None


def require_standing(session: Session, domain: DomainConfig, candidate: Candidate) -> None:
    """Conflict where there is no approval, NotAllowed where it does not count any more."""
    given = session.get(Approval, candidate.id)
    if given is None:
        raise Conflict(f"{candidate.id} is {candidate.state}, and nobody approved it", todo="run its release DAG")
    if why := lost(session, domain, candidate, given):
        raise NotAllowed(why, where=candidate.id, todo="the live release is untouched; see docs/runbooks/release.md")
