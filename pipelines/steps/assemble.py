"""The index of a dataset version, and the candidate: its parts frozen together under the next number."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import select

from pipelines.config import Settings, load_domain
from pipelines.errors import Conflict
from pipelines.manifest import Manifest, Outcome, run_step, sha256
from pipelines.registry import artifacts, candidates, parts, pointer
from pipelines.state import outbox
from pipelines.state.database import reading, transaction
from pipelines.state.models import Artifact, Candidate, Plan, now
from pipelines.steps.learn import version_of
from pipelines.steps.plan import plan

INDEX_VERSION = 2
ASSEMBLE_VERSION = 1


def index(settings: Settings, domain_name: str, version_id: str) -> Manifest:
    """Build the retrieval index over every document of the version, past and present.

    The whole table is written anew, so that nothing erased is carried over from an index that was barred; only passages that no index of
    this site had are embedded. The counts say how many, and how many an access rule restricts.
    """
    from pipelines.retrieval import index as indexing

    domain = load_domain(domain_name, settings)
    version = version_of(settings, version_id)

    def body(step_hash: str) -> Outcome:
        from pipelines.corpus import corrections, warehouse

        documents = corrections.texts(warehouse.documents(settings, domain_name, version_id))
        counts: dict[str, float] = {"documents": len(documents)}

        def build(out: Path) -> None:
            facts = indexing.build(documents, domain, out, settings.var / "cache" / "embeddings", version=version_id)
            counts.update(chunks=facts["chunks"], embedded=facts["embedded"], restricted=facts["restricted"])

        folder = artifacts.make(settings, "index", step_hash, build)
        artifact_id = artifacts.enter(settings, "index", domain_name, step_hash, {"version": version_id, "documents": len(documents)})
        return Outcome(
            outputs={"artifact": artifact_id, "path": folder.relative_to(settings.artifacts).as_posix()},
            counts=counts,
        )

    return run_step(
        settings,
        step="index",
        version=INDEX_VERSION,
        domain=domain_name,
        config=domain.model_dump(mode="json", include={"retrieval"}),
        inputs={"content": version.content, "version": version_id, **indexing.weights(domain.retrieval)},
        body=body,
    )


def assemble(settings: Settings, domain_name: str, version_id: str) -> str:
    """Freeze the parts under the next number and close the plan; returns the candidate's id."""
    from pipelines.training import prompt_versions
    from pipelines.training.prompt import Prompt

    domain = load_domain(domain_name, settings)
    kind = plan(settings, domain_name, version_id)
    if kind not in ("adapter", "index", "prompt"):
        raise Conflict(f"{version_id} calls for {kind!r}", todo="nothing is to be assembled")
    # What was assembled before must be assembled again, whatever went live in between.
    against = _against(settings, domain_name, version_id)
    taken_over = against.adapter_id if against is not None else None
    adapter_id = _trained(settings, domain_name, version_id) if kind == "adapter" else taken_over
    if adapter_id is not None:
        parts.require_turns(domain, adapter_id, artifacts.get(settings, adapter_id).facts)
    if kind == "prompt":
        if against is None:
            raise Conflict("the plan counted on a live release, and there is none", todo="override it: `ratchet plan`")
        index_id = against.index_id
    else:
        index_id = str(index(settings, domain_name, version_id).outputs["artifact"])
    prompt = Prompt.load(domain.task.prompt, settings)
    base_hash = parts.base_sha256(domain)
    policy: dict[str, Any] = {"passages": domain.task.passages, "max_new_tokens": domain.base.max_new_tokens, **parts.turns(domain)}
    if domain.serving.min_confidence:
        policy["min_confidence"] = domain.serving.min_confidence
    step_hash = sha256(
        {
            "step": "assemble",
            "step_version": ASSEMBLE_VERSION,
            "version": version_id,
            "base": base_hash,
            "adapter": adapter_id,
            "index": index_id,
            "prompt": prompt.sha256,
            "policy": policy,
        }
    )
    candidate_id = candidates.assemble(
        settings,
        domain=domain_name,
        version_id=version_id,
        base=domain.base.model,
        base_sha256=base_hash,
        adapter_id=adapter_id,
        index_id=index_id,
        prompt=domain.task.prompt,
        prompt_sha256=prompt.sha256,
        policy=policy,
        step_hash=step_hash,
    )
    with transaction(settings) as session:
        session.get_one(Plan, version_id).done_at = now()
        told = prompt_versions.message(domain_name, candidate_id, prompt)
        outbox.put(session, "mlflow.prompt", f"mlflow.prompt/{candidate_id}", told)
    return candidate_id


def _against(settings: Settings, domain_name: str, version_id: str) -> Candidate | None:
    """The release that was live when the version was planned; for a plan that does not say, the one that is live."""
    with reading(settings) as session:
        signals = session.get_one(Plan, version_id).signals
    if "against" in signals:
        return candidates.get(settings, signals["against"]) if signals["against"] else None
    at = pointer.current(settings, domain_name)
    return candidates.get(settings, at.live_id) if at is not None and at.live_id else None


def _trained(settings: Settings, domain_name: str, version_id: str) -> str:
    """The version's own adapter."""
    with reading(settings) as session:
        found = session.scalars(
            select(Artifact.id)
            .where(
                Artifact.kind == "adapter",
                Artifact.domain == domain_name,
                Artifact.facts["version"].as_string() == version_id,
            )
            .order_by(Artifact.created_at.desc())
        ).first()
    if found is None:
        raise Conflict(f"no adapter was trained for {version_id}", todo="clear the train task")
    return found


def candidate_of(settings: Settings, domain_name: str, version_id: str) -> str | None:
    """The newest candidate made from a version."""
    with reading(settings) as session:
        return session.scalar(
            select(Candidate.id)
            .where(Candidate.domain == domain_name, Candidate.version_id == version_id)
            .order_by(Candidate.number.desc())
            .limit(1)
        )


def newly_assembled(settings: Settings, domain_name: str, version_id: str) -> str | None:
    """The version's candidate if it was not announced yet, marked as announced."""
    with transaction(settings) as session:
        row = session.scalar(
            select(Candidate)
            .where(Candidate.domain == domain_name, Candidate.version_id == version_id, Candidate.announced_at.is_(None))
            .order_by(Candidate.number.desc())
            .limit(1)
        )
        if row is None:
            return None
        row.announced_at = now()
        return row.id
