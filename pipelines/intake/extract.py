"""A sealed folder into records, and records into masked documents, with a line of the account for everything met on the way."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from pipelines.config import DomainConfig
from pipelines.corpus import sealing
from pipelines.corpus.chain import Link, part_of
from pipelines.corpus.documents import Document, document
from pipelines.corpus.staging import Chained, Staged
from pipelines.errors import MaskingFailed
from pipelines.intake import landing, reader
from pipelines.intake.records import RawRecord, Refusal
from pipelines.masking.mask import Masked, Masker
from pipelines.state.ledger import Line


@dataclass(slots=True)
class Extracted:
    """Records with the id of their file, and lines for what could not be taken."""

    records: list[tuple[RawRecord, str]] = field(default_factory=list)
    refusals: list[Line] = field(default_factory=list)
    subjects: list[tuple[str, ...]] = field(default_factory=list)
    """Per record, whose keys its text is encrypted for: see `name_subjects`. Empty where the domain is public."""


def extract(folder: Path, domain: DomainConfig, effective: str) -> Extracted:
    """Verify the seal and read every file. ArrivalRefused when the seal does not hold; a bad file or record is a line, not an error."""
    seal = landing.verify(folder)
    found = Extracted()
    seen: set[tuple[str, str, str | None]] = set()
    with reader.isolated(domain.sources) as read:
        for file in sorted(seal.files, key=lambda one: one.name):
            for item in read(folder / file.name, effective):
                if isinstance(item, Refusal):
                    found.refusals.append(Line(file.file_id, item.place, "refused", reason=item.reason))
                elif (item.key, item.valid_from, item.amends) in seen:
                    reason = "this arrival holds another text of the same key and date before it"
                    found.refusals.append(Line(file.file_id, item.place, "refused", reason=reason))
                else:
                    seen.add((item.key, item.valid_from, item.amends))
                    found.records.append((item, file.file_id))
    return found


def name_subjects(found: Extracted, domain: DomainConfig, keys: sealing.Opener) -> None:
    """Draw the key of each record's subject; a record without one gets its own. What concerns an erased subject becomes a refusal."""
    if not sealing.is_sealed(domain):
        return
    kept: list[tuple[RawRecord, str]] = []
    for record, file in found.records:
        subject = keys().subject(domain.domain, record.subjects or ("record", record.key))
        if subject is None:
            found.refusals.append(Line(file, record.place, "refused", reason="its subject was erased on request"))
        else:
            kept.append((record, file))
            found.subjects.append((subject,))
    found.records = kept


def mask(found: Extracted, masker: Masker, arrival_id: str, domain: DomainConfig) -> tuple[Staged, list[Masked]]:
    """Mask every record in memory: what is to be staged, and every masked title and text, for the report.

    MaskingFailed when one cannot be masked: the arrival stops, nothing of it is written.
    """
    public = domain.privacy.profile == "public"
    documents: list[Document] = []
    lines: list[Line] = []
    links: dict[Link, list[int]] = {}
    masked: list[Masked] = []
    for place, (record, file) in enumerate(found.records):
        key = record.key if public else masker.surrogate(record.key)
        try:
            title, text = masker.mask(record.title, record.subjects), masker.mask(record.text, record.subjects)
        except MaskingFailed as error:
            raise MaskingFailed(error.what, where=f"{arrival_id}, {file}, {record.place}", todo=error.todo) from None
        masked += (title, text)
        row = document(
            key=key,
            title=title.text,
            text=text.text,
            valid_from=record.valid_from,
            arrival_id=arrival_id,
            source=record.source,
            withdrawn=record.withdrawn,
            subjects=found.subjects[place] if found.subjects else (),
        )
        documents.append(row)
        lines.append(Line(file, record.place, "accepted", key=key, content=row.content))
        if record.amends is not None:
            links.setdefault(Link(part_of(key), record.source, record.valid_from, record.amends), []).append(place)
    chained = [
        Chained(
            link,
            tuple(places),
            subtrees=tuple(documents[place].key for place in places if found.records[place][0].replaces_below),
            headless=tuple(documents[place].key for place in places if found.records[place][0].keeps_heading),
        )
        for link, places in links.items()
    ]
    return Staged(documents, lines + found.refusals, chained), masked
