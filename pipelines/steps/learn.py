"""From a dataset version to a candidate: plan, examples, training set, adapter, index, assembly."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from sqlalchemy import select

from pipelines.config import DomainConfig, Settings, load_domain
from pipelines.errors import Conflict, NotFound
from pipelines.governance import audit
from pipelines.manifest import Manifest, Outcome, run_step, sha256, sha256_file, write_json
from pipelines.registry import artifacts, candidates, parts, pointer
from pipelines.state import outbox
from pipelines.state.database import reading, transaction
from pipelines.state.models import Artifact, Candidate, DatasetVersion, Plan, now

EXAMPLES_VERSION = 2
TRAINING_SET_VERSION = 2
TRAIN_VERSION = 1
INDEX_VERSION = 1
ASSEMBLE_VERSION = 1


# --- plan -------------------------------------------------------------------------------------------------------------


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
                    cost={},
                    done_at=now(),
                    claimed_dag=dag_id,
                    claimed_run=run_id,
                )
            )
        session.add(Plan(version_id=newest, domain=domain_name, kind="pending", cost={}, claimed_dag=dag_id, claimed_run=run_id))
        return newest


def plan(settings: Settings, domain_name: str, version_id: str) -> str:
    """Decide what the version calls for and say why: `none`, `index` or `adapter`. Decided once; a rerun reads it."""
    with reading(settings) as session:
        row = session.get(Plan, version_id)
        if row is not None and row.kind != "pending":
            return row.kind
    domain = load_domain(domain_name, settings)
    kind, reason = _decide(settings, domain, version_id)
    cost = {"train_steps": domain.recipe.steps if kind == "adapter" else 0, "gpu_hours": 0.0}
    with transaction(settings) as session:
        row = session.get(Plan, version_id)
        if row is None:
            row = Plan(version_id=version_id, domain=domain_name, kind="pending", cost={})
            session.add(row)
        row.kind, row.reason, row.cost = kind, reason, cost
        if kind == "none":
            row.done_at = now()
        audit.record(
            session,
            actor="ratchet",
            action="plan.decided",
            subject=version_id,
            detail={"kind": kind, "reason": reason, "cost": cost},
        )
    return kind


def _decide(settings: Settings, domain: DomainConfig, version_id: str) -> tuple[str, str]:
    from pipelines.corpus import warehouse

    live = _live(settings, domain.domain)
    if live is None or live.adapter_id is None:
        return "adapter", "the domain has no live adapter yet"
    adapter = artifacts.get(settings, live.adapter_id)
    if adapter.facts["learning_key"] != parts.learning_key(settings, domain):
        return "adapter", "base, prompt, task or recipe changed since the live adapter was trained"
    if adapter.barred:
        return "adapter", f"the live adapter {adapter.barred}"
    if artifacts.get(settings, live.index_id).barred:
        return "index", f"the live index {artifacts.get(settings, live.index_id).barred}"
    with reading(settings) as session:
        wanted, served = session.get_one(DatasetVersion, version_id), session.get_one(DatasetVersion, live.version_id)
    if wanted.content == served.content:
        return "none", f"the documents are those of {live.id}"
    learnt = {document.content for document in warehouse.documents(settings, domain.domain, adapter.facts["version"])}
    present = warehouse.documents(settings, domain.domain, version_id)
    share = sum(document.content not in learnt for document in present) / max(len(present), 1)
    limit = domain.plan.retrain_when_new_share
    if share > limit:
        return "adapter", f"{share:.0%} of the documents are new to the live adapter, more than {limit:.0%}"
    return (
        "index",
        f"{share:.1%} of the documents are new to the live adapter, at most {limit:.0%}: facts travel by index",
    )


def _live(settings: Settings, domain_name: str) -> Candidate | None:
    at = pointer.current(settings, domain_name)
    return candidates.get(settings, at.live_id) if at is not None and at.live_id else None


# --- examples, training set, adapter ----------------------------------------------------------------------------------


def examples(settings: Settings, domain_name: str, version_id: str) -> Manifest:
    """Make training examples from the version's documents, leaving out every text that a golden rests on, and what is near to it."""
    from pipelines.training import people

    domain = load_domain(domain_name, settings)
    version = _version(settings, version_id)
    written = people.path_of(settings, domain)
    return run_step(
        settings,
        step="examples",
        version=EXAMPLES_VERSION,
        domain=domain_name,
        config={
            **domain.model_dump(mode="json", include={"task", "examples"}),
            "passages": domain.retrieval.model_dump(mode="json", include={"chunk_words", "join_sentences"}),
            "count": domain.recipe.examples,
            "seed": domain.recipe.seed,
        },
        inputs={
            "version": version_id,
            "content": version.content,
            "goldens": goldens_hash(settings, domain),
            "people": sha256_file(written) if written else None,
        },
        body=lambda step_hash: _examples(settings, domain, version, step_hash),
    )


def _examples(settings: Settings, domain: DomainConfig, version: DatasetVersion, step_hash: str) -> Outcome:
    from pipelines.corpus import warehouse
    from pipelines.evaluation.goldens import load
    from pipelines.training import gather, people

    documents = warehouse.documents(settings, domain.domain, version.id)
    goldens = load(settings.configs / domain.gate.goldens)
    path = people.path_of(settings, domain)
    written = people.load(path, domain.task.kind) if path else []

    def fill(out: Path) -> None:
        write_json(out / "facts.json", gather.gather(documents, domain, goldens, written, out))

    folder = artifacts.make(settings, "examples", step_hash, fill)
    # Read back: a try that was killed may have left the folder.
    counts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
    return Outcome(outputs={"path": folder.relative_to(settings.artifacts).as_posix()}, counts=counts)


def training_set(settings: Settings, domain_name: str, version_id: str) -> Manifest:
    """Tokenise and pack the examples."""
    domain = load_domain(domain_name, settings)
    made = examples(settings, domain_name, version_id)
    from pipelines.training.prompt import Prompt

    prompt = Prompt.load(domain.task.prompt, settings)

    def body(step_hash: str) -> Outcome:
        from pipelines.training import example, gather, tokens
        from pipelines.training import training_set as packing

        source = settings.artifacts / made.outputs["path"]
        held_out = source / gather.HELD_OUT

        def fill(out: Path) -> None:
            packing.build(
                source / example.FILE,
                domain.recipe,
                domain.base.path,
                prompt,
                out,
                held_out=held_out if held_out.is_file() else None,
                cache=tokens.folder_of(settings, domain_name),
            )

        folder = artifacts.make(settings, "training_set", step_hash, fill)
        facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
        artifact_id = artifacts.enter(settings, "training_set", domain_name, step_hash, {"version": version_id, **facts})
        counts = {key: float(value) for key, value in {**made.counts, **facts}.items() if isinstance(value, int | float)}
        return Outcome(
            outputs={"artifact": artifact_id, "path": folder.relative_to(settings.artifacts).as_posix()},
            counts=counts,
        )

    return run_step(
        settings,
        step="training-set",
        version=TRAINING_SET_VERSION,
        domain=domain_name,
        config=domain.model_dump(mode="json", include={"recipe"}),
        inputs={"examples": made.hash, "base": parts.base_sha256(domain), "prompt": prompt.sha256},
        body=body,
    )


def train(settings: Settings, domain_name: str, version_id: str) -> Manifest:
    """Fine-tune an adapter on the packed training set. Resumes from its newest checkpoint after a crash."""
    domain = load_domain(domain_name, settings)
    packed = training_set(settings, domain_name, version_id)

    def body(step_hash: str) -> Outcome:
        from pipelines.training import worker

        final = artifacts.place(settings, "adapter", step_hash)
        if not final.is_dir():
            source, work = settings.artifacts / packed.outputs["path"], settings.var / "work" / step_hash[:16]
            cores = len(os.sched_getaffinity(0))
            artifacts.make(
                settings, "adapter", step_hash, lambda out: worker.train(source, domain.base.path, domain.recipe, out, work, cores)
            )
        facts = json.loads((final / "facts.json").read_text(encoding="utf-8"))
        history = facts.pop("history", [])
        artifact_id = artifacts.enter(
            settings,
            "adapter",
            domain_name,
            step_hash,
            {
                "version": version_id,
                "training_set": packed.outputs["artifact"],
                "learning_key": parts.learning_key(settings, domain),
                **{key: value for key, value in facts.items() if isinstance(value, int | float | str)},
            },
        )
        row = artifacts.get(settings, artifact_id)
        with transaction(settings) as session:
            outbox.put(
                session,
                "mlflow.training",
                f"mlflow.training/{artifact_id}",
                {
                    "domain": domain_name,
                    "adapter_id": artifact_id,
                    "path": row.path,
                    "sha256": row.sha256,
                    "step_hash": step_hash,
                    "version_id": version_id,
                },
            )
            audit.record(
                session,
                actor="ratchet",
                action="adapter.trained",
                subject=artifact_id,
                detail={"version": version_id, "training_set": packed.outputs["artifact"], "sha256": row.sha256},
            )
        return Outcome(
            outputs={"artifact": artifact_id, "path": row.path, "sha256": row.sha256},
            counts={"steps": domain.recipe.steps, **({"final_loss": history[-1]["loss"]} if history else {})},
        )

    return run_step(
        settings,
        step="train",
        version=TRAIN_VERSION,
        domain=domain_name,
        config=domain.model_dump(mode="json", include={"recipe"}),
        inputs={"training_set": packed.hash, "base": parts.base_sha256(domain)},
        body=body,
    )


# --- index and assembly -----------------------------------------------------------------------------------------------


def index(settings: Settings, domain_name: str, version_id: str) -> Manifest:
    """Build the retrieval index over every document of the version, past and present."""
    domain = load_domain(domain_name, settings)
    version = _version(settings, version_id)

    def body(step_hash: str) -> Outcome:
        from pipelines.corpus import warehouse
        from pipelines.retrieval import index as indexing

        documents = warehouse.documents(settings, domain_name, version_id)
        folder = artifacts.make(
            settings,
            "index",
            step_hash,
            lambda out: indexing.build(documents, domain, out, settings.var / "cache" / "embeddings"),
        )
        artifact_id = artifacts.enter(settings, "index", domain_name, step_hash, {"version": version_id, "documents": len(documents)})
        return Outcome(
            outputs={"artifact": artifact_id, "path": folder.relative_to(settings.artifacts).as_posix()},
            counts={"documents": len(documents)},
        )

    return run_step(
        settings,
        step="index",
        version=INDEX_VERSION,
        domain=domain_name,
        config=domain.model_dump(mode="json", include={"retrieval"}),
        inputs={"content": version.content, "version": version_id},
        body=body,
    )


def assemble(settings: Settings, domain_name: str, version_id: str) -> str:
    """Freeze the parts under the next number and close the plan; returns the candidate's id."""
    from pipelines.training.prompt import Prompt

    domain = load_domain(domain_name, settings)
    kind = plan(settings, domain_name, version_id)
    if kind not in ("adapter", "index"):
        raise Conflict(f"{version_id} calls for {kind!r}", todo="nothing is to be assembled")
    built = index(settings, domain_name, version_id)
    adapter_id = _adapter_for(settings, domain_name, version_id, kind)
    prompt = Prompt.load(domain.task.prompt, settings)
    base_hash = parts.base_sha256(domain)
    policy = {"passages": domain.task.passages, "max_new_tokens": domain.base.max_new_tokens}
    step_hash = sha256(
        {
            "step": "assemble",
            "step_version": ASSEMBLE_VERSION,
            "version": version_id,
            "base": base_hash,
            "adapter": adapter_id,
            "index": built.outputs["artifact"],
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
        index_id=str(built.outputs["artifact"]),
        prompt=domain.task.prompt,
        prompt_sha256=prompt.sha256,
        policy=policy,
        step_hash=step_hash,
    )
    with transaction(settings) as session:
        session.get_one(Plan, version_id).done_at = now()
    return candidate_id


def _adapter_for(settings: Settings, domain_name: str, version_id: str, kind: str) -> str | None:
    """The version's own adapter where the plan called for one, else the live release's at the time of planning."""
    if kind == "index":
        # What was assembled before must be assembled again, whatever went live in between.
        with reading(settings) as session:
            earlier = session.scalar(select(Candidate).where(Candidate.version_id == version_id).order_by(Candidate.number).limit(1))
            if earlier is not None:
                return earlier.adapter_id
        live = _live(settings, domain_name)
        if live is None:
            raise Conflict(
                "the plan counted on a live adapter, and there is none",
                todo="deliver the next arrival, or train by hand",
            )
        return live.adapter_id
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


def _version(settings: Settings, version_id: str) -> DatasetVersion:
    with reading(settings) as session:
        row = session.get(DatasetVersion, version_id)
        if row is None:
            raise NotFound(f"there is no dataset version {version_id!r}", todo="`ratchet datasets list` shows them")
        return row


def goldens_hash(settings: Settings, domain: DomainConfig) -> str:
    """Hash of the domain's goldens file."""
    path = settings.configs / domain.gate.goldens
    if not path.is_file():
        raise NotFound("the goldens file is missing", where=str(path), todo="write it, or mend gate.goldens in the domain file")
    return sha256_file(path)


def tell_others(settings: Settings) -> dict[str, Any]:
    """Deliver what waits in the outbox. A service that is down costs nothing but a later `ratchet doctor`."""
    if not outbox.pending(settings):
        return {"delivered": 0}
    from pipelines.training import tracking

    delivered, faults = outbox.drain(settings, tracking.HANDLERS)
    return {"delivered": delivered, "waiting": outbox.pending(settings), "faults": faults}
