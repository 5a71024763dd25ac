"""What a dataset version calls for, decided once by rules that name themselves, or by a person who says why.

The rules, their thresholds and the figures behind the defaults: docs/planning.md.
"""

from __future__ import annotations

from typing import Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from pipelines.config import DomainConfig, Settings, load_domain
from pipelines.errors import BadInput, Conflict, NotFound
from pipelines.governance import audit
from pipelines.plan_config import PlanPolicy
from pipelines.registry import candidates, costs, parts, pointer
from pipelines.state.database import reading, transaction
from pipelines.state.models import Artifact, Candidate, DatasetVersion, Plan, now
from pipelines.steps import publish, restore
from pipelines.steps.signals import Signals, measure

Kind = Literal["none", "index", "prompt", "adapter"]
KINDS: tuple[Kind, ...] = ("none", "index", "prompt", "adapter")


def claim(settings: Settings, domain_name: str, dag_id: str, run_id: str) -> str | None:
    """The newest dataset version that nobody has planned, for this run; older ones are settled as superseded. None: nothing to do."""
    with transaction(settings) as session:
        mine = session.scalar(
            select(Plan.version_id)
            .where(
                Plan.domain == domain_name,
                Plan.claimed_dag == dag_id,
                Plan.claimed_run == run_id,
                Plan.kind != "superseded",
            )
            .limit(1)
        )
        if mine is not None:
            return mine
        free = session.scalars(
            select(DatasetVersion.id)
            .where(DatasetVersion.domain == domain_name, DatasetVersion.id.not_in(select(Plan.version_id)))
            .order_by(DatasetVersion.major, DatasetVersion.minor)
        ).all()
        if not free:
            return None
        *older, newest = free
        for version_id in older:
            session.add(
                Plan(
                    version_id=version_id,
                    domain=domain_name,
                    kind="superseded",
                    reason=f"{newest} holds its documents",
                    done_at=now(),
                    claimed_dag=dag_id,
                    claimed_run=run_id,
                )
            )
        session.add(Plan(version_id=newest, domain=domain_name, kind="pending", claimed_dag=dag_id, claimed_run=run_id))
        return newest


def plan(settings: Settings, domain_name: str, version_id: str) -> str:
    """Decide what the version calls for and say why. Decided once; a rerun reads it, and what a person has made of it since."""
    with reading(settings) as session:
        row = session.get(Plan, version_id)
        if row is not None and row.kind != "pending":
            return row.kind
    domain = load_domain(domain_name, settings)
    at = pointer.current(settings, domain_name)
    live = candidates.get(settings, at.live_id) if at is not None and at.live_id else None
    signals = measure(settings, domain, version_id, live)
    kind, reason = decide(signals, domain.plan)
    cost = costs.estimate(settings, domain, training=kind == "adapter")
    with transaction(settings) as session:
        row = session.get(Plan, version_id)
        if row is None:
            row = Plan(version_id=version_id, domain=domain_name, kind="pending")
            session.add(row)
        if row.kind != "pending":
            return row.kind  # another process was quicker
        row.kind, row.reason = kind, reason
        row.signals, row.cost = signals.model_dump(mode="json"), cost.model_dump(mode="json")
        if kind == "none":
            row.done_at = now()
        audit.record(
            session,
            actor="ratchet",
            action="plan.decided",
            subject=version_id,
            detail={"kind": kind, "reason": reason, "cost": row.cost},
        )
    return kind


def decide(signals: Signals, policy: PlanPolicy) -> tuple[Kind, str]:
    """The first rule that applies, with its figures and thresholds in words."""
    kind, reason = _kind(signals, policy)
    if stale := sum(map(len, signals.stale_goldens.values())):
        reason += f"; {stale} of {signals.goldens} goldens rest on what changed or ended: look at them again"
    return kind, reason


def _kind(signals: Signals, policy: PlanPolicy) -> tuple[Kind, str]:
    if signals.against is None:
        return "adapter", "the domain has no live release yet"
    if signals.learned is None:
        return "adapter", f"{signals.against} has no adapter whose dataset version is known"
    changed = [part for part in signals.changed_parts if part != "prompt" or not signals.prompt_fits]
    if changed:
        return "adapter", f"{', '.join(changed)} changed since the live adapter was trained"
    parts_of: tuple[Kind, ...] = ("adapter", "index")
    for part in parts_of:
        if part in signals.barred:
            return part, f"the live {part} {signals.barred[part]}"
    if signals.same_content:
        same = f"the documents are those of {signals.against}"
        if signals.new_retrieval:
            return "index", f"{same}, but `retrieval` changed since its index was built"
        if signals.new_prompt:
            return "prompt", f"{same}; the prompt alone changed, and the live adapter fits it"
        return "none", same
    if learned := _training(signals, policy):
        return "adapter", "; ".join(learned)
    if signals.only_corrections:
        limit = f"plan.retrain_after_feedback: {policy.retrain_after_feedback}"
        return "none", f"no text changed, and {signals.feedback} documents of feedback wait to be learned ({limit})"
    return "index", f"facts travel by index: {_below(signals, policy)}"


def _training(signals: Signals, policy: PlanPolicy) -> list[str]:
    """Every threshold that is exceeded, in words."""
    found: list[str] = []
    if (share := signals.new_share or 0.0) > policy.retrain_when_new_share:
        limit = f"more than plan.retrain_when_new_share ({policy.retrain_when_new_share:.0%})"
        found.append(f"{share:.0%} of the documents are new to the live adapter, {limit}")
    if (drift := signals.drift or 0.0) > policy.retrain_when_drift:
        limit = f"more than plan.retrain_when_drift ({policy.retrain_when_drift:g})"
        found.append(f"the words are {drift:.3f} bits from those the live adapter learned, {limit}")
    if (stale := (signals.renewable_examples or 0) / max(signals.examples or 0, 1)) > policy.retrain_when_stale_share:
        limit = f"more than plan.retrain_when_stale_share ({policy.retrain_when_stale_share:.0%})"
        found.append(f"{stale:.0%} of its examples rest on documents that changed and can be made anew, {limit}")
    if shapes := {name: count for name, count in signals.new_shapes.items() if count >= policy.retrain_when_new_shape}:
        told = ", ".join(f"{name} fits {count}" for name, count in shapes.items())
        limit = f"plan.retrain_when_new_shape: {policy.retrain_when_new_shape}"
        found.append(f"new documents of a shape that the live adapter has not met: {told} ({limit})")
    if signals.feedback >= policy.retrain_after_feedback:
        limit = f"plan.retrain_after_feedback: {policy.retrain_after_feedback}"
        found.append(f"{signals.feedback} documents of feedback came since the live adapter was trained ({limit})")
    return found


def _below(signals: Signals, policy: PlanPolicy) -> str:
    new = f"{signals.new_share or 0.0:.1%} of the documents are new to the live adapter (up to {policy.retrain_when_new_share:.0%})"
    return f"{new}, its words are {signals.drift or 0.0:.3f} bits away (up to {policy.retrain_when_drift:g})"


def again(settings: Settings, domain_name: str, *, actor: str, reason: str) -> str:
    """Plan the newest version's documents anew, once prompt, recipe or thresholds changed: as a version of its own, on the same snapshot.

    What is planned already stays as it was. A newest version that nobody has planned yet is the answer itself.
    """
    if not reason.strip():
        raise BadInput("planning again needs a reason", todo="say why with --reason")
    newest = publish.latest(settings, domain_name)
    if newest is None:
        raise BadInput(f"{domain_name} has no dataset version", todo="deliver something first: `ratchet arrive`")
    with reading(settings) as session:
        if session.get(Plan, newest.id) is None:
            return newest.id
    return restore.again(settings, newest, newest, source="plan", actor=actor, reason=reason, token=newest.id)


# --- overriding -------------------------------------------------------------------------------------------------------


def override(settings: Settings, version_id: str, kind: str, *, actor: str, reason: str) -> None:
    """A person's word against the rules', before it is carried out; audited. The same again changes nothing.

    BadInput for a kind that does not exist or that the live release has no parts for; Conflict once the candidate is assembled, and
    while the version is not planned.
    """
    wanted = next((name for name in KINDS if name == kind), None)
    if wanted is None:
        raise BadInput(f"there is no plan {kind!r}", where="--override", todo=f"one of {', '.join(KINDS)}")
    if not reason.strip():
        raise BadInput("an override needs a reason", todo="say why with --reason")
    with reading(settings) as session:
        row = session.get(Plan, version_id)
        if row is None:
            raise NotFound(f"nothing is planned for {version_id!r}", todo="`ratchet plan DOMAIN` lists what is")
        _require_parts(settings, session, row, wanted)
    domain = load_domain(row.domain, settings)
    cost = costs.estimate(settings, domain, training=wanted == "adapter")
    with transaction(settings) as session:
        row = session.get_one(Plan, version_id)
        _require_open(session, row)
        if row.kind == wanted:
            return
        before = row.kind
        row.decided, row.kind = row.decided or before, wanted
        row.overridden_by, row.overridden_why = actor, reason
        row.cost, row.waits, row.waits_since = cost.model_dump(mode="json"), None, None
        row.done_at = now() if wanted == "none" else None
        if wanted != "adapter":
            costs.let_go(session, version_id)
        audit.record(
            session,
            actor=actor,
            action="plan.overridden",
            subject=version_id,
            detail={"from": before, "to": wanted, "reason": reason, "cost": row.cost},
        )


def _require_open(session: Session, row: Plan) -> None:
    if row.kind in ("pending", "superseded"):
        todo = "wait for its run of `finetune`" if row.kind == "pending" else "override the plan of the version that holds its documents"
        raise Conflict(f"{row.version_id} is {row.kind}, so there is nothing to override", todo=todo)
    made = session.scalar(select(Candidate.id).where(Candidate.version_id == row.version_id).limit(1))
    if made is not None:
        raise Conflict(f"{made} is assembled from {row.version_id} already", todo="refuse it, or deliver the next version")


def _require_parts(settings: Settings, session: Session, row: Plan, kind: Kind) -> None:
    """What the plan would take over from the live release must be there, and be fit for release."""
    _require_open(session, row)
    if kind not in ("index", "prompt"):
        return
    against = session.get(Candidate, str((row.signals or {}).get("against")))
    if against is None:
        if kind == "prompt":
            raise BadInput("a plan `prompt` takes index and adapter of a live release, and there was none", todo="override with index")
        return  # the base alone, with an index
    taken = [against.adapter_id] + ([against.index_id] if kind == "prompt" else [])
    for part in filter(None, taken):
        if barred := session.get_one(Artifact, part).barred:
            raise Conflict(f"{part} {barred}", todo="override with adapter")
    domain: DomainConfig = load_domain(row.domain, settings)
    adapter = session.get(Artifact, against.adapter_id) if against.adapter_id else None
    if adapter is None:
        return
    parts.require_turns(domain, adapter.id, adapter.facts)
    if kind == "prompt" and "prompt" in parts.changed(settings, domain, adapter.facts):
        trained_on = str(adapter.facts.get("prompt"))
        if not parts.prompt_fits(settings, domain, trained_on):
            raise BadInput(
                f"{adapter.id} was trained on {trained_on}, and {domain.task.prompt} does not say that it fits",
                where=f"configs/prompts/{domain.task.prompt}.yaml",
                todo="write `compatible_with` there, or override with adapter",
            )
