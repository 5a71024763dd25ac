"""Arrivals up to their staged, masked documents: claim, prepare (verify, extract, contract, mask), and settle once they are published.

Raw text is read from the landing zone, masked in memory, and only the masked form is written anywhere.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from pipelines.config import DomainConfig, Settings, load_domain
from pipelines.errors import ArrivalRefused
from pipelines.manifest import Outcome, run_step
from pipelines.registry import artifacts
from pipelines.state import ledger
from pipelines.state.database import transaction
from pipelines.state.models import Arrival

PREPARE_VERSION = 3


def unclaimed(settings: Settings, domain: str) -> int:
    """Sealed folders that no run has claimed, those just made of what lies quiet in the inbox included. The watcher asks once a second."""
    from pipelines.intake import inbox, landing

    inbox.seal_quiet(settings, domain)
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
    from pipelines.corpus import sealing
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
    keys, seal = sealing.sealer(settings), sealing.is_sealed(domain)
    extract.name_subjects(extracted, domain, keys)
    staged, masked = extract.mask(extracted, Masker.open(settings, domain.privacy.profile), row.id, domain)
    target = artifacts.make(settings, "staged", step_hash, lambda out: write(out, staged, keys, seal=seal))
    return Outcome(
        outputs={
            "staged": target.relative_to(settings.artifacts).as_posix(),
            "contract_report": f"contract/{step_hash[:16]}",
        },
        counts={
            "documents": len(staged.documents),
            "refused": len(extracted.refusals),
            **{f"masked_{k}": v for k, v in sorted(masked.items())},
        },
    )


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
