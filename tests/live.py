"""Makes a candidate live without a gate, an approver or a Triton."""

from __future__ import annotations

from pipelines.config import Settings
from pipelines.registry import candidates, pointer
from pipelines.state.database import transaction
from pipelines.state.models import Approval, now


def approve(settings: Settings, candidate_id: str) -> None:
    """Through the gate and past the approver."""
    with transaction(settings) as session:
        candidates.move(session, candidate_id, "gated")
        candidates.move(session, candidate_id, "approved")
        session.add(Approval(candidate_id=candidate_id, decision="approved", actor="approver", responded_at=now(), source="test"))


def make_live(settings: Settings, candidate_id: str) -> None:
    """Through every state that a release goes through."""
    approve(settings, candidate_id)
    pointer.set_canary(settings, candidate_id, 0.1)
    pointer.promote(settings, candidate_id)
