"""The approval of a candidate that passed its gate: who is asked and what they are shown, an answer, no answer, and the domain's policy.

Nothing here is decided by what Airflow passes along: rights, figures and what was said before are read anew from the domain's file and
the control database each time. What is missing is no approval.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from pipelines.config import DomainConfig, Settings, load_domain
from pipelines.errors import BadInput, NotAllowed, NotFound
from pipelines.governance import audit
from pipelines.registry import auto_approval, candidates, rights
from pipelines.state.database import reading, transaction
from pipelines.state.models import Approval, Candidate, now
from pipelines.steps import approval_body, gate

APPROVE = "Approve"
UNDECIDED = ("gated", "approved")
"""States in which an approval may be given, or given anew. What is served, or was, keeps the one it was released with."""


@dataclass(frozen=True, slots=True)
class Question:
    """Whom to ask, by user name, and what they are shown, in Markdown."""

    approvers: list[str]
    body: str


def question(settings: Settings, domain_name: str, candidate_id: str, why_not: str = "") -> Question:
    """What is put to the domain's approvers of this moment; `why_not` is what `auto` said.

    GateRefused or Conflict unless the gate still passes the candidate, NotAllowed where nobody may approve it.
    """
    domain = load_domain(domain_name, settings)
    shown = gate.require_pass(settings, domain_name, candidate_id)
    with reading(settings) as session:
        candidate = _candidate(session, domain, candidate_id)
        people = rights.approvers(session, domain, candidate)
        delivered = rights.delivered(session, candidate)
    if not people:
        raise NotAllowed(
            f"every approver of {domain_name} ({', '.join(domain.roles.approvers)}) delivered data that it rests on",
            where=candidate_id,
            todo=f"name somebody else under roles.approvers, run `ratchet up`, and clear `approve`: {', '.join(sorted(delivered))} may not",
        )
    not_by_policy = why_not if domain.rollout.auto_approve is not None else ""
    return Question(people, approval_body.markdown(settings, candidate, shown, not_by_policy))


def authorise(
    settings: Settings,
    domain_name: str,
    candidate_id: str,
    *,
    responded_by: str,
    option: str,
    responded_at: str,
    source: str,
) -> None:
    """Record a person's answer as Airflow recorded it, after checking the right again. NotAllowed unless it is an approval that counts.

    An approval that stands is left as it is, by whom and when it was; one that does not is replaced, until the candidate is in service.
    Until then a later rejection counts too.
    """
    domain = load_domain(domain_name, settings)
    with _one_candidate(settings, domain, candidate_id) as (session, candidate):
        given = session.get(Approval, candidate_id)
        stands = given is not None and rights.lost(session, domain, candidate, given) is None
        if given is not None and (candidate.state not in UNDECIDED or (stands and option == APPROVE)):
            return
        refusal = rights.refusal(session, domain, candidate, responded_by)
        if refusal is None and option != APPROVE:
            refusal = f"{responded_by} answered {option!r}"
        detail = {"option": option, "source": source, "responded_at": responded_at, "refusal": refusal}
        _audited(session, candidate_id, responded_by or "nobody", refusal is None, detail)
        if refusal is None:
            session.merge(
                Approval(
                    candidate_id=candidate_id,
                    decision="approved",
                    actor=responded_by,
                    responded_at=datetime.fromisoformat(responded_at),
                    source=source,
                )
            )
            candidates.move(session, candidate_id, "approved", actor=responded_by)
        elif option != APPROVE and responded_by in domain.roles.approvers and candidate.state in UNDECIDED:
            candidates.move(session, candidate_id, "refused", actor=responded_by, reason=refusal)
    if refusal is not None:
        raise NotAllowed(refusal, where=candidate_id, todo="the live release is untouched")


def expired(settings: Settings, candidate_id: str, *, hours: float, source: str) -> str:
    """Nobody answered in time: a candidate that waits for its approval is refused, and stays so. Returns the reason in words."""
    reason = f"nobody answered in {hours:g} hours"
    with transaction(settings) as session:
        candidate = session.get(Candidate, candidate_id)
        if candidate is not None and candidate.state in UNDECIDED and session.get(Approval, candidate_id) is None:
            _audited(session, candidate_id, "nobody", False, {"option": None, "source": source, "refusal": reason})
            candidates.move(session, candidate_id, "refused", reason=reason)
    return reason


# --- the domain's policy ----------------------------------------------------------------------------------------------


def auto(settings: Settings, domain_name: str, candidate_id: str) -> str | None:
    """Approve in the name of the domain's policy, where its file says so and everything it asks for is there: None. Else why a person is
    to be asked. An earlier approval by policy that it would not give now is taken back.
    """
    domain = load_domain(domain_name, settings)
    with _one_candidate(settings, domain, candidate_id) as (session, candidate):
        given = session.get(Approval, candidate_id)
        if given is not None and given.source != auto_approval.SOURCE:
            return f"{given.actor} approved it before"
        if candidate.state not in UNDECIDED:
            return f"it is {candidate.state}" if given is None else None
        weighed = auto_approval.weigh(session, domain, candidate)
        detail = {"source": auto_approval.SOURCE, "refusal": weighed.refusal, **weighed.figures}
        if weighed.refusal is None and given is None:
            _audited(session, candidate_id, auto_approval.ACTOR, True, {"option": APPROVE, **detail})
            session.add(
                Approval(
                    candidate_id=candidate_id,
                    decision="approved",
                    actor=auto_approval.ACTOR,
                    responded_at=now(),
                    source=auto_approval.SOURCE,
                )
            )
            candidates.move(session, candidate_id, "approved", actor=auto_approval.ACTOR)
        elif weighed.refusal is not None and (given is not None or domain.rollout.auto_approve is not None):
            _audited(session, candidate_id, auto_approval.ACTOR, False, {"option": None, **detail})
            if given is not None:
                session.delete(given)
        return weighed.refusal


def by_policy(settings: Settings, domain_name: str, candidate_id: str) -> bool:
    """Whether the policy approved it, so that no person's answer is to be looked for. NotAllowed where it would not any more."""
    domain = load_domain(domain_name, settings)
    with _one_candidate(settings, domain, candidate_id) as (session, candidate):
        given = session.get(Approval, candidate_id)
        if given is None or given.source != auto_approval.SOURCE:
            return False
        why = rights.lost(session, domain, candidate, given) if candidate.state in UNDECIDED else None
        if why is not None:
            _audited(session, candidate_id, auto_approval.ACTOR, False, {"source": auto_approval.SOURCE, "refusal": why})
    if why is not None:
        raise NotAllowed(why, where=candidate_id, todo="clear `approve` with downstream: a person is asked then")
    return True


# --- shared -----------------------------------------------------------------------------------------------------------


@contextmanager
def _one_candidate(settings: Settings, domain: DomainConfig, candidate_id: str) -> Iterator[tuple[Session, Candidate]]:
    """A transaction in which nobody else decides about the candidate."""
    with transaction(settings) as session:
        yield session, _candidate(session, domain, candidate_id)


def _candidate(session: Session, domain: DomainConfig, candidate_id: str) -> Candidate:
    candidate = session.get(Candidate, candidate_id)
    if candidate is None:
        raise NotFound(f"there is no candidate {candidate_id!r}", todo="`ratchet candidates` lists them")
    if candidate.domain != domain.domain:
        raise BadInput(f"{candidate_id} is of {candidate.domain}, not of {domain.domain}", todo="approvers approve in their own domain")
    return candidate


def _audited(session: Session, candidate_id: str, actor: str, allowed: bool, detail: dict[str, Any]) -> None:
    audit.record(session, actor=actor, action="candidate.approval", subject=candidate_id, allowed=allowed, detail=detail)
