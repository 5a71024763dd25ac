"""Candidates: base + adapter + prompt + index + policy under one number, never edited, moved through their states only here."""

from __future__ import annotations

from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from pipelines.config import Settings
from pipelines.errors import Conflict, NotFound
from pipelines.governance import audit
from pipelines.registry import ancestry
from pipelines.state.database import reading, transaction
from pipelines.state.models import Artifact, Candidate, GateReport, Pointer

FORWARD = {
    "assembled": {"gated", "refused"},
    "gated": {"approved", "refused"},
    "approved": {"canary", "live", "refused"},
    "canary": {"live", "reverted", "refused"},
    "live": {"retired", "reverted"},
    "retired": {"live"},
    "reverted": {"live"},
    "refused": set(),
}
"""Allowed moves. `retired -> live` and `reverted -> live` are rollbacks by a person, on purpose; `approved -> live` one of a single part,
to a candidate of parts that were live (registry/partial.py). Promotion asks for `canary`."""


def assemble(
    settings: Settings,
    *,
    domain: str,
    version_id: str,
    base: str,
    base_sha256: str,
    adapter_id: str | None,
    index_id: str,
    prompt: str,
    prompt_sha256: str,
    policy: dict[str, Any],
    step_hash: str,
) -> str:
    """Freeze the parts under the next number; the same parts again are the same candidate."""
    with transaction(settings) as session:
        known = session.scalar(select(Candidate.id).where(Candidate.step_hash == step_hash))
        if known is not None:
            return known
        row = Candidate(
            domain=domain,
            version_id=version_id,
            base=base,
            base_sha256=base_sha256,
            adapter_id=adapter_id,
            index_id=index_id,
            prompt=prompt,
            prompt_sha256=prompt_sha256,
            policy=policy,
            step_hash=step_hash,
        )
        return enter(session, row)


def enter(session: Session, row: Candidate, *, actor: str = "ratchet", **told: Any) -> str:
    """Give a new candidate the next number of its domain, in the caller's transaction; returns its id. `told` goes to the audit log."""
    row.number = (session.scalar(select(func.max(Candidate.number)).where(Candidate.domain == row.domain)) or 0) + 1
    row.id = f"{row.domain}/r{row.number}"
    row.uploader = ", ".join(_uploaders(session, row.domain, row.version_id))
    session.add(row)
    session.flush()
    parts = {"version": row.version_id, "adapter": row.adapter_id, "index": row.index_id, "prompt": row.prompt}
    audit.record(session, actor=actor, action="candidate.assembled", subject=row.id, detail=parts | told)
    return row.id


def _uploaders(session: Session, domain: str, version_id: str) -> list[str]:
    """Who delivered or restored what is new since the live release; they may not approve."""
    live = session.scalar(select(Candidate.version_id).join(Pointer, Pointer.live_id == Candidate.id).where(Pointer.domain == domain))
    return ancestry.answerable(session, domain, version_id, live)


def get(settings: Settings, candidate_id: str) -> Candidate:
    """One candidate, detached."""
    with reading(settings) as session:
        row = session.get(Candidate, candidate_id)
        if row is None:
            raise NotFound(f"there is no candidate {candidate_id!r}", todo="`ratchet candidates` lists them")
        return row


def report_of(settings: Settings, candidate_id: str) -> GateReport | None:
    """The candidate's gate report, if it was gated."""
    with reading(settings) as session:
        return session.get(GateReport, candidate_id)


def require_unbarred(session: Session, candidate: Candidate) -> None:
    """Conflict when a part of it was made from text that was erased since."""
    for part in filter(None, (candidate.adapter_id, candidate.index_id)):
        row = session.get(Artifact, part)
        if row is not None and row.barred:
            raise Conflict(
                f"{candidate.id} may not be released: {part} {row.barred}",
                todo="run the domain's finetune: the newest version calls for new parts",
            )


def move(session: Session, candidate_id: str, state: str, *, actor: str = "ratchet", reason: str | None = None) -> bool:
    """Move a candidate; False when it is there already. Conflict when the move is not allowed."""
    row = session.get(Candidate, candidate_id)
    if row is None:
        raise NotFound(f"there is no candidate {candidate_id!r}", todo="`ratchet candidates` lists them")
    if row.state == state:
        return False
    if state not in FORWARD[row.state]:
        raise Conflict(f"{candidate_id} is {row.state} and cannot become {state}", todo="see its history with `ratchet audit show`")
    row.state = state
    if reason is not None:
        row.reason = reason
    audit.record(
        session,
        actor=actor,
        action=f"candidate.{state}",
        subject=candidate_id,
        detail={"reason": reason} if reason else None,
    )
    return True
