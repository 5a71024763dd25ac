"""From a candidate to a release: load, canary, promotion; or a refusal with a reason. Gate and approval are steps of their own."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from pipelines.config import Settings, load_domain
from pipelines.errors import Conflict, RatchetError, Unavailable
from pipelines.registry import artifacts, candidates, parts, pointer
from pipelines.state.database import reading, transaction
from pipelines.state.models import Approval, Candidate, DatasetVersion, Tenure, now
from pipelines.steps import feedback

if TYPE_CHECKING:
    from pipelines.rollout_config import Rollout

LOOK_SECONDS = 1.0
KEPT_SECONDS = 5.0
"""How often a running rollout's figures are written down."""


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
    weights = artifacts.get(settings, candidate.adapter_id).sha256 if candidate.adapter_id else ""
    artifacts.path_of(settings, candidate.index_id)
    engine = Engine(settings, parts.engine_name(candidate.base_sha256))
    engine.ensure_loaded()
    seconds = engine.probe(adapter, parts.in_turns(candidate.policy), weights)
    return {"engine": engine.name, "adapter": adapter, "probe_ms": round(seconds * 1000, 1)}


def canary(settings: Settings, domain_name: str, candidate_id: str) -> dict[str, Any]:
    """Roll the candidate out: a shadow if the domain's file has one, questions of our own by name, then the canary's steps.

    Returns when it may be promoted. A cleared or killed task goes on where it was. Conflict with the reason when the candidate was taken
    back or withdrawn, now or before; Unavailable when it failed more of our questions than `max_error_share`.
    """
    from pipelines.serving import rollout

    domain = load_domain(domain_name, settings)
    if (state := candidates.get(settings, candidate_id).state) in ("live", "retired"):
        return {"requests": 0, "skipped": f"{candidate_id} is {state}"}
    row = rollout.begin(settings, domain.rollout, candidate_id)
    if row.state == "passed":
        return {"requests": 0, "skipped": f"the rollout of {candidate_id} has passed"}
    policy, watch = rollout.policy_of(row), rollout.Watch(settings, candidate_id)
    places = rollout.places(policy, row.against)
    asked = {"requests": 0, "failures": 0}
    number, kept_at = row.stage, time.monotonic()
    while True:
        if len(row.facts["stages"]) <= number and (number == 0 or places[number - 1].shadow) and not places[number].shadow:
            asked = _ask(settings, policy, candidate_id)
        rollout.enter(settings, candidate_id, number)
        while (decision := watch.look()).what == "go on":
            if time.monotonic() - kept_at > KEPT_SECONDS:
                rollout.keep(settings, candidate_id, watch.seen())
                kept_at = time.monotonic()
            time.sleep(LOOK_SECONDS)
        rollout.keep(settings, candidate_id, watch.seen(), decision)
        if decision.what != "next stage":
            break
        number += 1
        row = rollout.get(settings, candidate_id) or row
    # Whoever ended it, this task or a gateway: the row says how.
    ended = rollout.get(settings, candidate_id)
    if ended is None or ended.state != "passed":
        reason = ended.reason if ended is not None else decision.reason
        raise Conflict(
            f"the canary was ended: {reason}", where=candidate_id, todo="the live release is untouched; see docs/runbooks/release.md"
        )
    return {**asked, "stages": len(places), "answered": watch.seen().get("answered", 0), "reason": decision.reason}


def _ask(settings: Settings, policy: Rollout, candidate_id: str) -> dict[str, Any]:
    """Ask the candidate goldens by name, before anybody else is answered by it."""
    from pipelines.evaluation import goldens as golden_sets
    from pipelines.serving.caller import Caller

    if policy.canary_requests == 0:
        return {"requests": 0, "failures": 0}
    candidate = candidates.get(settings, candidate_id)
    gate = load_domain(candidate.domain, settings).gate
    caller = Caller.for_site(settings)
    caller.wait_for(candidate_id, seconds=60)
    with reading(settings) as session:
        known_on = session.get_one(DatasetVersion, candidate.version_id).known_on
    questions = golden_sets.applicable(golden_sets.load(settings.configs / gate.goldens), known_on)[: policy.canary_requests]
    failures: list[str] = []
    for golden, as_of in questions:
        try:
            caller.ask(candidate_id, golden.question, as_of)
        except RatchetError as error:
            failures.append(str(error))
    if questions and len(failures) / len(questions) > policy.max_error_share:
        raise Unavailable(
            f"{len(failures)} of {len(questions)} canary requests failed: {failures[0]}",
            where=candidate_id,
            todo="the live release is untouched",
        )
    return {"requests": len(questions), "failures": len(failures)}


def promote(settings: Settings, domain_name: str, candidate_id: str) -> dict[str, Any]:
    """Move the pointer, then wait until the gateway answers with the new release. Conflict unless its rollout has passed."""
    from pipelines.serving import rollout
    from pipelines.serving.caller import Caller

    with reading(settings) as session:
        approval = session.get(Approval, candidate_id)
    at = pointer.current(settings, domain_name)
    state = candidates.get(settings, candidate_id).state
    row = rollout.get(settings, candidate_id)
    if row is not None and row.state != "passed":
        why = f": {row.reason}" if row.reason else ""
        raise Conflict(f"the rollout of {candidate_id} is {row.state}{why}", todo="clear `canary`; a candidate taken back stays so")
    if state in ("retired", "reverted") or (at is not None and at.live_id == candidate_id):
        return {"release": candidate_id, "moved": False, "state": state}
    if row is None:
        raise Conflict(f"{candidate_id} was not rolled out", todo="clear `canary`")
    moved = pointer.promote(settings, candidate_id, actor=approval.actor if approval else "ratchet")
    began = time.monotonic()
    feedback.settle(settings, domain_name, candidate_id)
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
    """Take a candidate out of the canary and refuse it, unless it was taken back with a reason of its own. Never touches what is live."""
    from pipelines.serving import rollout
    from pipelines.serving.canary.weighing import Decision

    pointer.end_canary(settings, candidate_id)
    if (row := rollout.get(settings, candidate_id)) is not None and row.state == "running":
        rollout.keep(settings, candidate_id, {}, Decision("withdraw", reason))
    state = candidates.get(settings, candidate_id).state
    if state in ("assembled", "gated", "approved", "canary"):
        with transaction(settings) as session:
            candidates.move(session, candidate_id, "refused", reason=reason)
