"""Arrivals up to their staged, masked documents: claim, prepare (verify, extract, contract, mask, screen), and settle once published.

Raw text is read from the landing zone and masked a record at a time; outside the landing zone only the masked form is written. What is
held in memory of an arrival is a batch of its text, and some hundred bytes a document for its account.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from pipelines.config import DomainConfig, Settings, load_domain
from pipelines.corpus import sealing, staging
from pipelines.errors import ArrivalRefused
from pipelines.manifest import Outcome, run_step
from pipelines.registry import artifacts
from pipelines.state import held, ledger
from pipelines.state.database import reading, transaction
from pipelines.state.models import Arrival

PREPARE_VERSION = 6


def unclaimed(settings: Settings, domain: str) -> int:
    """Sealed folders that no run has claimed, those just made of what lies quiet in the inbox included, and releases from quarantine.

    The watcher asks once a second.
    """
    from pipelines.intake import inbox, landing

    inbox.seal_quiet(settings, domain)
    known = ledger.known_folders(settings, domain)
    waiting = sum(folder.name not in known for folder in landing.sealed(settings, domain))
    return waiting + ledger.unclaimed_releases(settings, domain)


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
    if row.releases is not None:
        from pipelines.steps import quarantine

        return quarantine.prepare(settings, row)
    if row.staged is not None and (row.version_id is not None or _decided(settings, row.id)):
        # What was published, or decided on by a person, is what was staged then, whatever the domain file says now.
        kept = staging.read(settings.artifacts / row.staged, sealing.sealer(settings))
        return {"arrival": arrival_id, "state": "accepted", "reason": None, "documents": len(kept.documents)}
    refused: list[ledger.Line] = []
    try:
        manifest = run_step(
            settings,
            step="prepare",
            version=PREPARE_VERSION,
            domain=domain_name,
            config=domain.model_dump(mode="json", include={"sources", "contract", "screen", "privacy", "contract_version"}),
            inputs={"arrival": arrival_id, "seal": row.seal, "effective": row.effective},
            body=lambda step_hash: _prepare(settings, domain, row, step_hash, refused),
        )
    except ArrivalRefused as error:
        ledger.refuse(settings, arrival_id, str(error), refused)
        return {"arrival": arrival_id, "state": "refused", "reason": str(error)}
    return _enter(settings, row, manifest.outputs["staged"])


def _prepare(settings: Settings, domain: DomainConfig, row: Arrival, step_hash: str, refused: list[ledger.Line]) -> Outcome:
    from pipelines.intake import contract, extract
    from pipelines.masking import coverage, report
    from pipelines.masking.mask import Masker
    from pipelines.steps import corrections, screening

    folder = settings.landing_zone / domain.domain / row.folder
    extracted = extract.extract(folder, domain, row.effective)
    refused += extracted.refusals
    if extracted.too_many:
        raise ArrivalRefused(extracted.too_many, where=row.folder, todo="deliver it in parts")
    if extracted.corrected:
        corrections.keep_accepted(settings, domain.domain, extracted)
        domain = corrections.rules_for(domain)
        refused[:] = extracted.refusals
    if not extracted.records:
        raise _nothing_readable(row, refused)
    reports = artifacts.place(settings, "contract", step_hash)
    breaches = contract.check(extracted.records, domain, reports)
    ledger.prepared_as(settings, row.id, reports.name)
    said = "the data contract does not hold: " + "; ".join(breach.text for breach in breaches[:3])
    if breaches and domain.contract.on_breach == "refuse":
        refused += [ledger.Line("", breach.column, "refused", reason=breach.text) for breach in breaches]
        raise ArrivalRefused(said, where=row.folder, todo="see the validation report, mend and deliver again")
    if breaches:
        screening.drop_unstorable(extracted)
    keys, seal = sealing.sealer(settings), sealing.is_sealed(domain)
    if extracted.corrected:
        corrections.name_subjects(settings, domain, extracted, keys)
    else:
        extract.name_subjects(extracted, domain, keys)
    refused[:] = extracted.refusals
    if not extracted.records:
        raise _nothing_readable(row, refused)
    masker = Masker.open(settings, domain.privacy)
    tally = report.Tally()
    staged = extract.mask(extracted, masker, row.id, domain, tally.add)
    told = report.report(masker, tally, coverage.recall(settings, masker))
    masking = artifacts.make(settings, "masking", step_hash, lambda out: (out / "report.json").write_text(json.dumps(told, indent=2)))
    kept, apart, remarks = screening.screen(settings, domain, row, extracted, staged, said if breaches else "")
    target = artifacts.make(settings, "staged", step_hash, lambda out: staging.write(out, kept, keys, apart, seal=seal))
    # Read back: a try that was killed may have left the folder, and its decision stands.
    kept, waiting = staging.read(target, keys), staging.read_held(target, keys)
    return Outcome(
        outputs={
            "staged": target.relative_to(settings.artifacts).as_posix(),
            "contract_report": reports.relative_to(settings.artifacts).as_posix(),
            "masking_report": masking.relative_to(settings.artifacts).as_posix(),
            "screen": remarks,
        },
        counts={
            "documents": len(kept.documents),
            "held": len(waiting.staged.documents) if waiting else 0,
            "refused": len(extracted.refusals),
            **{f"masked_{kind}": one["total"] for kind, one in told["kinds"].items()},
        },
    )


def _nothing_readable(row: Arrival, refused: list[ledger.Line]) -> ArrivalRefused:
    reasons = "; ".join(sorted({line.reason or "" for line in refused})[:3])
    return ArrivalRefused(f"no document could be read: {reasons}", where=row.folder, todo="mend the files and deliver them again")


def _enter(settings: Settings, row: Arrival, staged: str) -> dict[str, Any]:
    """Write what is staged and what is held of it in one transaction; an arrival of which all is held is settled as quarantined."""
    keys, folder = sealing.sealer(settings), settings.artifacts / staged
    kept, waiting = staging.read(folder, keys), staging.read_held(folder, keys)
    documents = list(zip(waiting.staged.lines, waiting.findings, strict=True)) if waiting else []
    account = {(line.file, line.place): line for line in kept.lines}
    with transaction(settings) as session:
        current = session.get_one(Arrival, row.id)
        current.prepared = folder.name
        if current.staged != staged:
            current.staged = staged
            lines = [account[line.file, line.place] for line, _ in documents]
            held.enter(session, current, (held.Held(place, line, documents[place][1]) for place, line in enumerate(lines)))
        if not kept.documents and waiting is not None:
            reason = waiting.reason or f"all {len(documents)} documents are held by the screen"
            if not held.decided(session, row.id):
                ledger.hold(session, row.id, reason, kept.lines)
            return {"arrival": row.id, "state": "quarantined", "reason": reason, "documents": 0, "held": len(documents)}
    return {"arrival": row.id, "state": "accepted", "reason": None, "documents": len(kept.documents), "held": len(documents)}


def _decided(settings: Settings, arrival_id: str) -> bool:
    with reading(settings) as session:
        return held.decided(session, arrival_id)


def settle(settings: Settings, domain_name: str, arrival_ids: list[str]) -> dict[str, int]:
    """Counts by state. Raises ArrivalRefused when any arrival of this run was refused or quarantined: the run must not be green.

    Single documents that the screen holds do not redden a run whose other documents were published: the board and `ratchet quarantine list`
    show them.
    """
    rows = [ledger.arrival(settings, one) for one in arrival_ids]
    bad = [row for row in rows if row.state in ("refused", "quarantined")]
    if bad:
        raise ArrivalRefused(
            "; ".join(f"{row.id} {row.state}: {row.reason}" for row in bad),
            where=domain_name,
            todo="the others were published; tell the uploader, or deliver mended files",
        )
    return dict(Counter(row.state for row in rows))
