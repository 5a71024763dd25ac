"""From a candidate to a release: gate, approval, load, canary, promotion; or a refusal with a reason."""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from pipelines.config import DomainConfig, Settings, load_domain
from pipelines.errors import Conflict, GateRefused, NotAllowed, RatchetError, Unavailable
from pipelines.governance import audit
from pipelines.manifest import Manifest, Outcome, run_step
from pipelines.registry import artifacts, candidates, parts, pointer
from pipelines.state import outbox
from pipelines.state.database import reading, transaction
from pipelines.state.models import Approval, Candidate, DatasetVersion, GateReport, Tenure, now
from pipelines.steps.learn import goldens_hash

if TYPE_CHECKING:
    from pipelines.evaluation.gate import Answerer

GATE_VERSION = 1


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


# --- gate -------------------------------------------------------------------------------------------------------------


def gate(settings: Settings, domain_name: str, candidate_id: str) -> Manifest:
    """Answer every applicable golden with the candidate, the live release and the bare base, on the engine that will serve; judge.

    The verdict is kept in the control database; the release it was compared with is fixed at the first gating.
    """
    domain = load_domain(domain_name, settings)
    candidate = candidates.get(settings, candidate_id)
    earlier = candidates.report_of(settings, candidate_id)
    at = pointer.current(settings, domain_name)
    against = earlier.against if earlier else at.live_id if at else None
    return run_step(
        settings,
        step="gate",
        version=GATE_VERSION,
        domain=domain_name,
        config=domain.model_dump(mode="json", include={"gate"}),
        inputs={
            "candidate": candidate.step_hash,
            "id": candidate_id,
            "goldens": goldens_hash(settings, domain),
            "against": against,
        },
        body=lambda step_hash: _gate(settings, domain, candidate, against, step_hash),
    )


def _gate(settings: Settings, domain: DomainConfig, candidate: Candidate, against: str | None, step_hash: str) -> Outcome:
    from pipelines.evaluation import gate as judging
    from pipelines.evaluation import goldens as golden_sets
    from pipelines.evaluation import report

    with reading(settings) as session:
        version = session.get_one(DatasetVersion, candidate.version_id)
    questions = golden_sets.applicable(golden_sets.load(settings.configs / domain.gate.goldens), version.known_on)
    scores = judging.evaluate(questions, answerer(settings, candidate))
    live = judging.evaluate(questions, answerer(settings, candidates.get(settings, against))) if against else None
    base = judging.evaluate(questions, answerer(settings, candidate, adapter="")) if candidate.adapter_id else None
    verdict = judging.judge(scores, live, domain.gate)
    metrics = {name: {**entry, "base": mean(base.values(name)) if base else None} for name, entry in verdict.metrics.items()}
    facts = {
        "candidate": candidate.id,
        "version": version.id,
        "known_on": version.known_on,
        "against": against or "",
        "adapter": candidate.adapter_id or "",
    }
    folder = artifacts.make(settings, "gate_report", step_hash, lambda out: report.write(out, facts, verdict, scores, live, base))
    path = folder.relative_to(settings.artifacts).as_posix()
    with transaction(settings) as session:
        session.merge(
            GateReport(
                candidate_id=candidate.id,
                verdict=verdict.verdict,
                reasons=list(verdict.reasons),
                metrics=metrics,
                against=against,
                path=path,
                step_hash=step_hash,
                created_at=now(),
            )
        )
        audit.record(
            session,
            actor="ratchet",
            action="candidate.judged",
            subject=candidate.id,
            allowed=verdict.verdict == "pass",
            detail={"verdict": verdict.verdict, "reasons": list(verdict.reasons), "report": step_hash},
        )
        outbox.put(
            session,
            "mlflow.gate",
            f"mlflow.gate/{candidate.id}/{step_hash[:16]}",
            {
                "domain": domain.domain,
                "candidate_id": candidate.id,
                "adapter_step_hash": artifacts.get(settings, candidate.adapter_id).step_hash if candidate.adapter_id else None,
                "path": path,
                "metrics": {name: metric["value"] for name, metric in metrics.items() if metric["value"] is not None},
                "verdict": verdict.verdict,
                "step_hash": step_hash,
            },
        )
    return Outcome(
        outputs={"verdict": verdict.verdict, "reasons": list(verdict.reasons), "report": path},
        counts={"goldens": len(questions)},
    )


def mean(values: list[float | None]) -> float | None:
    """Mean of what is there; None of nothing."""
    known = [value for value in values if value is not None]
    return round(sum(known) / len(known), 6) if known else None


def answerer(settings: Settings, candidate: Candidate, adapter: str | None = None) -> Answerer:
    """A function `(question, as of)` over the serving path itself: same index, prompt, engine and checks as the gateway.

    `adapter=""` asks the bare base instead.
    """
    from pipelines.serving.answer import answered, open_parts
    from pipelines.serving.client import Engine

    opened = open_parts(settings, candidate)
    if adapter is not None:
        opened = opened.with_adapter(adapter)
    engine = Engine(settings, opened.engine)
    engine.ensure_loaded()
    engine.probe(opened.adapter, opened.chat)
    return lambda question, as_of: answered(question, as_of, opened, engine.generate)


def require_pass(settings: Settings, domain_name: str, candidate_id: str) -> dict[str, Any]:
    """What the approver is shown. Raises GateRefused, and refuses the candidate, unless the verdict is `pass`."""
    report = candidates.report_of(settings, candidate_id)
    candidate = candidates.get(settings, candidate_id)
    if report is None:
        raise GateRefused(f"{candidate_id} has no gate report", todo="clear the gate task")
    if report.verdict != "pass":
        reason = f"gate {report.verdict}: " + "; ".join(report.reasons)
        if candidate.state == "assembled":
            with transaction(settings) as session:
                candidates.move(session, candidate_id, "refused", reason=reason)
        raise GateRefused(reason, where=candidate_id, todo="read the gate report; the live release is untouched")
    if candidate.state == "assembled":
        with transaction(settings) as session:
            candidates.move(session, candidate_id, "gated")
    elif candidate.state == "refused":
        raise Conflict(
            f"{candidate_id} was refused: {candidate.reason}",
            todo="a refused candidate stays refused; assemble a new one",
        )
    figures = {name: metric["value"] for name, metric in report.metrics.items()}
    return {
        "domain": domain_name,
        "candidate": candidate_id,
        "report": report.path,
        "against": report.against or "nothing",
        "metrics": figures,
    }


# --- approval ---------------------------------------------------------------------------------------------------------


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
    """Record a person's answer as Airflow recorded it, after checking the right again. NotAllowed unless it is an approval that counts."""
    domain = load_domain(domain_name, settings)
    candidate = candidates.get(settings, candidate_id)
    with reading(settings) as session:
        given = session.get(Approval, candidate_id)
    if given is not None and given.decision == "approved":
        return
    refusal = None
    if responded_by not in domain.roles.approvers:
        refusal = f"{responded_by!r} is not an approver of {domain_name}"
    elif responded_by in candidate.uploader.split(", "):
        refusal = f"{responded_by!r} delivered the data and may not approve it"
    elif option != "Approve":
        refusal = f"{responded_by} answered {option!r}"
    with transaction(settings) as session:
        audit.record(
            session,
            actor=responded_by or "nobody",
            action="candidate.approval",
            subject=candidate_id,
            allowed=refusal is None,
            detail={"option": option, "source": source, "responded_at": responded_at, "refusal": refusal},
        )
        if refusal is None:
            moment = datetime.fromisoformat(responded_at)
            session.add(
                Approval(
                    candidate_id=candidate_id,
                    decision="approved",
                    actor=responded_by,
                    responded_at=moment,
                    source=source,
                )
            )
            candidates.move(session, candidate_id, "approved", actor=responded_by)
        elif option != "Approve" and responded_by in domain.roles.approvers and candidate.state == "gated":
            candidates.move(session, candidate_id, "refused", actor=responded_by, reason=refusal)
    if refusal is not None:
        raise NotAllowed(refusal, where=candidate_id, todo="the live release is untouched")


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
