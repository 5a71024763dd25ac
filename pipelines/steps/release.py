"""From a candidate to a release: load, canary, promotion; or a refusal with a reason. Gate and approval are steps of their own."""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import select

from pipelines.config import Settings, load_domain
from pipelines.errors import Conflict, RatchetError, Unavailable
from pipelines.registry import artifacts, candidates, parts, pointer
from pipelines.state.database import reading, transaction
from pipelines.state.models import Approval, Candidate, DatasetVersion, Tenure, now


def claim(settings: Settings, domain_name: str, dag_id: str, run_id: str) -> str | None:
    """The newest candidate that no run works on; older ones are refused as superseded. A cleared run gets its own back."""
    with transaction(settings) as session:
        mine = session.scalar(
            select(Candidate.id)
            .where(Candidate.domain == domain_name, Candidate.claimed_dag == dag_id, Candidate.claimed_run == run_id)
            .order_by(Candidate.number.desc())
            .limit(1)
        )
        if mine is not None:
            return mine
        free = session.scalars(
            select(Candidate)
            .where(Candidate.domain == domain_name, Candidate.state == "assembled", Candidate.claimed_run.is_(None))
            .order_by(Candidate.number)
        ).all()
        if not free:
            return None
        *older, newest = free
        for candidate in older:
            candidate.claimed_dag, candidate.claimed_run = dag_id, f"superseded by {newest.id}"
            candidates.move(session, candidate.id, "refused", reason=f"superseded by {newest.id} before its gate")
        newest.claimed_dag, newest.claimed_run = dag_id, run_id
        return newest.id


# --- rollout ----------------------------------------------------------------------------------------------------------

SERVED = ("canary", "live", "retired", "reverted")


def load(settings: Settings, domain_name: str, candidate_id: str) -> dict[str, Any]:
    """Load engine and adapter beside what is live, warm them, and probe with a real inference."""
    from pipelines.serving.client import Engine

    candidate = candidates.get(settings, candidate_id)
    if candidate.state not in ("approved", *SERVED):
        raise Conflict(f"{candidate_id} is {candidate.state}, not approved", todo=f"run {domain_name}.release")
    with reading(settings) as session:
        candidates.require_unbarred(session, candidate)
    adapter = artifacts.path_of(settings, candidate.adapter_id).name if candidate.adapter_id else ""
    artifacts.path_of(settings, candidate.index_id)
    engine = Engine(settings, parts.engine_name(candidate.base_sha256))
    engine.ensure_loaded()
    seconds = engine.probe(adapter, parts.in_turns(candidate.policy))
    return {"engine": engine.name, "adapter": adapter, "probe_ms": round(seconds * 1000, 1)}


def canary(settings: Settings, domain_name: str, candidate_id: str) -> dict[str, Any]:
    """Send a small share of the traffic, and some questions of our own by name, to the candidate; raise when it does worse than allowed."""
    from pipelines.evaluation import goldens as golden_sets
    from pipelines.serving.caller import Caller

    domain = load_domain(domain_name, settings)
    candidate = candidates.get(settings, candidate_id)
    if candidate.state in ("live", "retired"):
        return {"requests": 0, "skipped": f"{candidate_id} is {candidate.state}"}
    pointer.set_canary(settings, candidate_id, domain.rollout.canary_share)
    caller = Caller.for_site(settings)
    caller.wait_for(candidate_id, seconds=60)
    with reading(settings) as session:
        known_on = session.get_one(DatasetVersion, candidate.version_id).known_on
    questions = golden_sets.applicable(golden_sets.load(settings.configs / domain.gate.goldens), known_on)
    failures: list[str] = []
    wanted = min(domain.rollout.canary_requests, len(questions))
    for golden, as_of in questions[:wanted]:
        try:
            caller.ask(candidate_id, golden.question, as_of)
        except RatchetError as error:
            failures.append(str(error))
    if wanted and len(failures) / wanted > domain.rollout.max_error_share:
        raise Unavailable(
            f"{len(failures)} of {wanted} canary requests failed: {failures[0]}",
            where=candidate_id,
            todo="the live release is untouched",
        )
    return {"requests": wanted, "failures": len(failures), "share": domain.rollout.canary_share}


def promote(settings: Settings, domain_name: str, candidate_id: str) -> dict[str, Any]:
    """Move the pointer, then wait until the gateway answers with the new release."""
    from pipelines.serving.caller import Caller

    with reading(settings) as session:
        approval = session.get(Approval, candidate_id)
    at = pointer.current(settings, domain_name)
    state = candidates.get(settings, candidate_id).state
    if state in ("retired", "reverted") or (at is not None and at.live_id == candidate_id):
        return {"release": candidate_id, "moved": False, "state": state}
    moved = pointer.promote(settings, candidate_id, actor=approval.actor if approval else "ratchet")
    began = time.monotonic()
    Caller.for_site(settings).wait_live(domain_name, candidate_id, seconds=30)
    return {"release": candidate_id, "moved": moved, "seen_after_s": round(time.monotonic() - began, 2)}


def newly_released(settings: Settings, domain_name: str, candidate_id: str) -> bool:
    """True once per promotion: the release was not announced yet, and is marked as announced."""
    with transaction(settings) as session:
        tenure = session.scalar(
            select(Tenure).where(Tenure.domain == domain_name, Tenure.candidate_id == candidate_id, Tenure.announced_at.is_(None)).limit(1)
        )
        if tenure is None:
            return False
        tenure.announced_at = now()
        return True


def withdraw(settings: Settings, domain_name: str, candidate_id: str, reason: str) -> None:  # noqa: ARG001 - same shape as its siblings
    """Take a candidate out of the canary and refuse it. Never touches what is live."""
    pointer.end_canary(settings, candidate_id)
    state = candidates.get(settings, candidate_id).state
    if state in ("assembled", "gated", "approved", "canary"):
        with transaction(settings) as session:
            candidates.move(session, candidate_id, "refused", reason=reason)
