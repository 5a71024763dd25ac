"""From a dataset version to its adapter: examples, training set, training."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipelines.config import DomainConfig, Settings, load_domain
from pipelines.errors import BadInput, NotFound
from pipelines.governance import audit
from pipelines.manifest import Manifest, Outcome, run_step, sha256, sha256_file
from pipelines.registry import artifacts, costs, parts
from pipelines.state import outbox
from pipelines.state.database import reading, transaction
from pipelines.state.models import DatasetVersion, Plan
from pipelines.steps import budget
from pipelines.writing import write_json

EXAMPLES_VERSION = 2
TRAINING_SET_VERSION = 2
TRAIN_VERSION = 1


def examples(settings: Settings, domain_name: str, version_id: str) -> Manifest:
    """Make training examples from the version's documents, leaving out every text that a golden rests on, and what is near to it."""
    from pipelines.training import people

    domain = load_domain(domain_name, settings)
    version = version_of(settings, version_id)
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
            "kept_apart": _kept_apart(settings, domain),
            "people": sha256_file(written) if written else None,
        },
        body=lambda step_hash: _examples(settings, domain, version, step_hash),
    )


def _examples(settings: Settings, domain: DomainConfig, version: DatasetVersion, step_hash: str) -> Outcome:
    from pipelines.corpus import corrections, warehouse
    from pipelines.evaluation import suites
    from pipelines.training import corrections as corrected
    from pipelines.training import gather, people

    documents = warehouse.documents(settings, domain.domain, version.id)
    apart = suites.kept_apart(settings, domain, documents)
    path = people.path_of(settings, domain)
    texts = corrections.texts(documents)
    written = [*(people.load(path, domain.task.kind) if path else []), *corrected.examples(corrections.of(documents), texts, domain)]

    def fill(out: Path) -> None:
        write_json(out / "facts.json", gather.gather(texts, domain, apart, written, out))

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
                chat_template=domain.base.chat_template,
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
        config={**domain.model_dump(mode="json", include={"recipe"}), **parts.turns(domain)},
        inputs={"examples": made.hash, "base": parts.base_sha256(domain), "prompt": prompt.sha256},
        body=body,
    )


def train(settings: Settings, domain_name: str, version_id: str, watch: Callable[[Path], None] | None = None) -> Manifest:
    """Fine-tune an adapter on the packed training set. Resumes from its newest checkpoint after a crash.

    `watch` is called with the folder in which the training tells its progress. Conflict while the domain's budget does not allow it;
    BadInput for a base that cannot be trained, and for full fine-tuning: a candidate is an adapter on a base that other releases share.
    """
    from pipelines.training import base_model

    domain = load_domain(domain_name, settings)
    if domain.recipe.method == "full":
        raise BadInput(
            "full fine-tuning makes a base, not an adapter, and a candidate is an adapter on a base",
            where=f"configs/domains/{domain_name}.yaml, recipe.method",
            todo="train it as docs/recipes.md says and name the folder as base.model, or use lora",
        )
    base = str(base_model.check(domain.base.path, domain.base.revision))
    packed = training_set(settings, domain_name, version_id)

    def body(step_hash: str) -> Outcome:
        from pipelines.training import usage, worker

        budget.require(settings, domain_name, version_id)
        final = artifacts.place(settings, "adapter", step_hash)
        if not final.is_dir():
            source, work = settings.artifacts / packed.outputs["path"], settings.var / "work" / step_hash[:16]
            cores = len(os.sched_getaffinity(0))
            if watch is not None:
                watch(work)

            def build(out: Path) -> None:
                with usage.sampled(work):
                    worker.train(source, base, domain.recipe, out, work, cores)
                shutil.copyfile(work / usage.NAME, out / usage.NAME)

            artifacts.make(settings, "adapter", step_hash, build)
        facts = json.loads((final / "facts.json").read_text(encoding="utf-8"))
        cost = costs.metered(settings, domain, facts, usage.energy_kwh(usage.read(final)))
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
                "learning": parts.learning_parts(settings, domain),
                "cost": cost.model_dump(mode="json"),
                **{key: value for key, value in facts.items() if isinstance(value, int | float | str)},
            },
        )
        row = artifacts.get(settings, artifact_id)
        with transaction(settings) as session:
            costs.enter(session, costs.key(settings, domain, version_id), domain_name, version_id, cost, artifact_id)
            if (planned := session.get(Plan, version_id)) is not None:
                planned.cost = cost.model_dump(mode="json")
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
                    "training_set_id": packed.outputs["artifact"],
                    "content": version_of(settings, version_id).content,
                    "documents": version_of(settings, version_id).documents,
                    "cost": cost.model_dump(mode="json"),
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
            counts={
                "steps": facts["steps"],
                **({"final_loss": history[-1]["loss"]} if history else {}),
                **{name: value for name, value in cost.model_dump().items() if isinstance(value, int | float)},
            },
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


def version_of(settings: Settings, version_id: str) -> DatasetVersion:
    """One dataset version's row, detached."""
    with reading(settings) as session:
        row = session.get(DatasetVersion, version_id)
        if row is None:
            raise NotFound(f"there is no dataset version {version_id!r}", todo="`ratchet datasets list` shows them")
        return row


def _kept_apart(settings: Settings, domain: DomainConfig) -> str:
    """Hash of what training must not see: a suite's other cases may come and go without another training set."""
    from pipelines.evaluation import suites

    return sha256(sorted([case.question, case.cites, case.quote] for case in suites.kept_apart(settings, domain)))


def tell_others(settings: Settings) -> dict[str, Any]:
    """Deliver what waits in the outbox. A service that is down costs nothing but a later `ratchet doctor`."""
    if not outbox.pending(settings):
        return {"delivered": 0}
    from pipelines.training import tracking

    delivered, faults = outbox.drain(settings, tracking.HANDLERS)
    return {"delivered": delivered, "waiting": outbox.pending(settings), "faults": faults}
