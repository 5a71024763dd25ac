"""Arrivals into dataset versions: claim, prepare (verify, extract, contract, mask), publish, settle.

Raw text is read from the landing zone, masked in memory, and only the masked form is written anywhere.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from sqlalchemy import select

from pipelines.config import DomainConfig, Settings, load_domain
from pipelines.errors import ArrivalRefused
from pipelines.governance import audit
from pipelines.manifest import Outcome, run_step
from pipelines.registry import artifacts
from pipelines.state import ledger
from pipelines.state.database import reading, transaction
from pipelines.state.models import Arrival, DatasetVersion, now

PREPARE_VERSION = 1


def unclaimed(settings: Settings, domain: str) -> int:
    """Sealed folders that no run has claimed. Cheap: the watcher asks once a second."""
    from pipelines.intake import landing

    known = ledger.known_folders(settings, domain)
    return sum(folder.name not in known for folder in landing.sealed(settings, domain))


def claim(settings: Settings, domain: str, dag_id: str, run_id: str) -> list[str]:
    """Enter sealed folders in the ledger and claim what nobody has; a cleared run gets its own arrivals back."""
    from pipelines.intake import landing

    known = ledger.known_folders(settings, domain)
    fresh = [landing.read_delivery(folder) for folder in landing.sealed(settings, domain) if folder.name not in known]
    ledger.register(settings, domain, fresh)
    return ledger.claim(settings, domain, dag_id, run_id)


def prepare(settings: Settings, domain_name: str, arrival_id: str) -> dict[str, Any]:
    """Verify, extract, check and mask one arrival. A refusal is written to the ledger and returned, not raised: others go on."""
    domain = load_domain(domain_name, settings)
    row = ledger.arrival(settings, arrival_id)
    if row.duplicate_of:
        return {"arrival": arrival_id, "state": "duplicate", "reason": f"the same delivery as {row.duplicate_of}"}
    refused: list[ledger.Line] = []
    try:
        manifest = run_step(
            settings,
            step="prepare",
            version=PREPARE_VERSION,
            domain=domain_name,
            config=domain.model_dump(mode="json", include={"sources", "contract", "privacy", "contract_version"}),
            inputs={"arrival": arrival_id, "seal": row.seal, "effective": row.effective},
            body=lambda step_hash: _prepare(settings, domain, row, step_hash, refused),
        )
    except ArrivalRefused as error:
        ledger.refuse(settings, arrival_id, str(error), refused)
        return {"arrival": arrival_id, "state": "refused", "reason": str(error)}
    with transaction(settings) as session:
        session.get_one(Arrival, arrival_id).staged = manifest.outputs["staged"]
    return {
        "arrival": arrival_id,
        "state": "accepted",
        "reason": None,
        "documents": manifest.counts.get("documents", 0),
    }


def _prepare(settings: Settings, domain: DomainConfig, row: Arrival, step_hash: str, refused: list[ledger.Line]) -> Outcome:
    from pipelines.corpus.staging import write
    from pipelines.intake import contract, extract
    from pipelines.masking.mask import Masker

    folder = settings.landing_zone / domain.domain / row.folder
    extracted = extract.extract(folder, domain, row.effective)
    refused += extracted.refusals
    if not extracted.records:
        raise ArrivalRefused(
            "no document could be read: " + "; ".join(sorted({line.reason or "" for line in refused})[:3]),
            where=row.folder,
            todo="mend the files and deliver them again",
        )
    reports = settings.artifacts / "contract" / step_hash[:16]
    breaches = contract.check([record for record, _ in extracted.records], domain, reports)
    if breaches:
        refused += [ledger.Line("", breach.column, "refused", reason=breach.text) for breach in breaches]
        raise ArrivalRefused(
            "the data contract does not hold: " + "; ".join(breach.text for breach in breaches[:3]),
            where=row.folder,
            todo="see the validation report, mend and deliver again",
        )
    masked = extract.mask(extracted.records, Masker.open(settings, domain.privacy.profile), row.id, domain)
    lines = masked.lines + extracted.refusals
    target = artifacts.make(settings, "staged", step_hash, lambda out: write(out, masked.documents, lines, masked.subtrees))
    return Outcome(
        outputs={
            "staged": target.relative_to(settings.artifacts).as_posix(),
            "contract_report": f"contract/{step_hash[:16]}",
        },
        counts={
            "documents": len(masked.documents),
            "refused": len(extracted.refusals),
            **{f"masked_{k}": v for k, v in sorted(masked.counts.items())},
        },
    )


def publish(settings: Settings, domain_name: str, arrival_ids: list[str]) -> list[str]:
    """One dataset version per prepared arrival, in order of effective date. Returns their ids; a rerun returns the same ones."""
    from pipelines.corpus import warehouse
    from pipelines.corpus.staging import read, repeals

    domain = load_domain(domain_name, settings)
    rows = sorted((ledger.arrival(settings, one) for one in arrival_ids), key=lambda a: (a.effective, a.received_at, a.id))
    made: list[str] = []
    for row in rows:
        if row.version_id is not None:
            made.append(row.version_id)
            continue
        if row.duplicate_of is not None:
            _settle_duplicate(settings, row)
            continue
        if row.staged is None:
            continue
        documents, lines, subtrees = read(settings.artifacts / row.staged)
        parent = latest(settings, domain_name)
        if subtrees and parent is not None:
            documents += repeals(documents, subtrees, warehouse.documents(settings, domain_name, parent.id))
        major, minor = _next(domain, parent)
        version_id = f"{domain.dataset}_v{major}.{minor}"
        published = warehouse.publish(
            settings,
            domain,
            row.id,
            documents,
            version_id=version_id,
            parent_snapshot=parent.snapshot_id if parent else None,
        )
        with transaction(settings) as session:
            session.add(
                DatasetVersion(
                    id=version_id,
                    domain=domain_name,
                    major=major,
                    minor=minor,
                    snapshot_id=str(published.snapshot_id),
                    arrival_id=row.id,
                    known_on=max(row.effective, parent.known_on) if parent else row.effective,
                    documents=published.documents,
                    changed=published.changed,
                    content=published.content,
                    parent_id=parent.id if parent else None,
                )
            )
            session.flush()
            current = session.get_one(Arrival, row.id)
            current.state, current.version_id, current.settled_at = "accepted", version_id, now()
            ledger.account(session, row.id, lines)
            audit.record(
                session,
                actor="ratchet",
                action="dataset.published",
                subject=version_id,
                detail={"arrival": row.id, "snapshot": str(published.snapshot_id), "content": published.content},
            )
        made.append(version_id)
    return made


def _settle_duplicate(settings: Settings, row: Arrival) -> None:
    original = ledger.arrival(settings, row.duplicate_of or "")
    if original.state == "received":
        return  # its twin is still on the way; the next run settles this one
    with transaction(settings) as session:
        current = session.get_one(Arrival, row.id)
        current.state, current.version_id, current.settled_at = original.state, original.version_id, now()
        current.reason = f"the same delivery as {original.id}: nothing was stored twice"


def latest(settings: Settings, domain_name: str) -> DatasetVersion | None:
    """The domain's newest dataset version."""
    with reading(settings) as session:
        return session.scalar(
            select(DatasetVersion)
            .where(DatasetVersion.domain == domain_name)
            .order_by(DatasetVersion.major.desc(), DatasetVersion.minor.desc())
            .limit(1)
        )


def _next(domain: DomainConfig, parent: DatasetVersion | None) -> tuple[int, int]:
    """Minor step per arrival, major step when the contract changes. Starts at v1.0."""
    if parent is None or domain.contract_version > parent.major:
        return domain.contract_version, 0
    return parent.major, parent.minor + 1


def newly_published(settings: Settings, domain_name: str, dag_id: str, run_id: str) -> list[str]:
    """Versions of this run's arrivals that were not announced yet, marked as announced: a cleared task announces nothing."""
    with transaction(settings) as session:
        fresh = session.scalars(
            select(DatasetVersion)
            .join(Arrival, Arrival.id == DatasetVersion.arrival_id)
            .where(
                DatasetVersion.domain == domain_name,
                DatasetVersion.announced_at.is_(None),
                Arrival.claimed_dag == dag_id,
                Arrival.claimed_run == run_id,
            )
            .order_by(DatasetVersion.major, DatasetVersion.minor)
        ).all()
        for version in fresh:
            version.announced_at = now()
        return [version.id for version in fresh]


def settle(settings: Settings, domain_name: str, arrival_ids: list[str]) -> dict[str, int]:
    """Counts by state. Raises ArrivalRefused when any arrival of this run was refused or quarantined: the run must not be green."""
    rows = [ledger.arrival(settings, one) for one in arrival_ids]
    bad = [row for row in rows if row.state in ("refused", "quarantined")]
    if bad:
        raise ArrivalRefused(
            "; ".join(f"{row.id} {row.state}: {row.reason}" for row in bad),
            where=domain_name,
            todo="the others were published; tell the uploader, or deliver mended files",
        )
    return dict(Counter(row.state for row in rows))
