"""A sealed folder into records, and records into masked documents, with a line of the account for everything met on the way.

Neither is ever whole in memory: records wait in a spool (`corpus.spool`) in the landing zone, the only place for raw text, and their masked
documents in another beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from pipelines.config import DomainConfig, Sources
from pipelines.corpus import corrections, sealing
from pipelines.corpus.chain import Link, part_of
from pipelines.corpus.documents import Document, document
from pipelines.corpus.spool import Picked, Spool
from pipelines.corpus.staging import Chained, Staged
from pipelines.errors import MaskingFailed
from pipelines.intake import landing, reader
from pipelines.intake.records import RawRecord, Refusal
from pipelines.masking.mask import Masked, Masker
from pipelines.state.ledger import Line


@dataclass(slots=True)
class Extracted:
    """Records, and lines for what could not be taken."""

    folder: Path
    """Where their spool lies: beside the arrival."""
    records: Sequence[RawRecord]
    refusals: list[Line] = field(default_factory=list)
    subjects: list[tuple[str, ...]] = field(default_factory=list)
    """Per record, whose keys its text is encrypted for: see `name_subjects`. Empty where the domain is public."""

    too_many: str = ""
    """Why the arrival is refused as a whole; what was read until then is in here."""
    corrected: bool = False
    """It brings corrections that people accepted, and no texts: see `corpus.corrections`."""

    def keep(self, places: Sequence[int]) -> None:
        """Only these records go on."""
        if len(places) < len(self.records):
            self.records = Picked(self.records, places)


CORRECTIONS = Sources(formats=("jsonl",), key="key", title="question", text=("answer",), source="cites")
"""How the file of an arrival of corrections is read, whatever the domain takes."""


def brings_corrections(seal: landing.Seal) -> bool:
    """Whether a sealed arrival says that it is one of corrections. Whether people accepted them is not for the seal to say."""
    return seal.source == corrections.SOURCE and [file.name for file in seal.files] == [corrections.FILE]


def extract(folder: Path, domain: DomainConfig, effective: str) -> Extracted:
    """Verify the seal and read every file. A bad file or record is a line, not an error.

    ArrivalRefused when the seal does not hold, or the arrival has more documents than the domain takes at once.
    """
    seal = landing.verify(folder)
    records = Spool[RawRecord](folder.parent, asdict, _record)
    found = Extracted(folder.parent, records, corrected=brings_corrections(seal))
    sources = CORRECTIONS if found.corrected else domain.sources
    seen: set[tuple[str, str, str | None]] = set()
    with reader.isolated(sources) as read:
        for file in sorted(seal.files, key=lambda one: one.name):
            for item in read(folder / file.name, effective):
                if isinstance(item, Refusal):
                    found.refusals.append(Line(file.file_id, item.place, "refused", reason=item.reason))
                elif corrections.is_one(item.key) != found.corrected:
                    reason = (
                        f"keys that begin with `{corrections.PREFIX}` are those of corrections that people accepted, and of nothing else"
                    )
                    found.refusals.append(Line(file.file_id, item.place, "refused", reason=reason))
                elif (item.key, item.valid_from, item.amends) in seen:
                    reason = "this arrival holds another text of the same key and date before it"
                    found.refusals.append(Line(file.file_id, item.place, "refused", reason=reason))
                elif len(records) == domain.sources.limits.documents:
                    found.too_many = f"it holds more than {len(records)} documents (sources.limits.documents)"
                    return found
                else:
                    seen.add((item.key, item.valid_from, item.amends))
                    records.append(replace(item, file=file.file_id))
    return found


def name_subjects(found: Extracted, domain: DomainConfig, keys: sealing.Opener) -> None:
    """Draw the key of each record's subject; a record without one gets its own. What concerns an erased subject becomes a refusal."""
    if not sealing.is_sealed(domain):
        return
    kept: list[int] = []
    for place, record in enumerate(found.records):
        subject = keys().subject(domain.domain, record.subjects or ("record", record.key))
        if subject is None:
            found.refusals.append(Line(record.file, record.place, "refused", reason="its subject was erased on request"))
        else:
            kept.append(place)
            found.subjects.append((subject,))
    found.keep(kept)


def mask(found: Extracted, masker: Masker, arrival_id: str, domain: DomainConfig, tell: Callable[[Masked], None]) -> Staged:
    """Mask every record: what is to be staged. `tell` hears of every masked title and text, for the report.

    MaskingFailed when one cannot be masked: the arrival stops, nothing of it is kept.
    """
    documents = Spool[Document](found.folder, _values, _document)
    lines: list[Line] = []
    links: dict[Link, tuple[list[int], list[str], list[str]]] = {}
    for place, record in enumerate(found.records):
        row = _mask(record, masker, arrival_id, domain, tell, found.subjects[place] if found.subjects else ())
        documents.append(row)
        lines.append(Line(record.file, record.place, "accepted", key=row.key, content=row.content))
        if record.amends is not None:
            link = Link(part_of(row.key), record.source, record.valid_from, record.amends)
            places, subtrees, headless = links.setdefault(link, ([], [], []))
            places.append(place)
            subtrees += [row.key] * record.replaces_below
            headless += [row.key] * record.keeps_heading
    chained = [Chained(link, tuple(places), tuple(subtrees), tuple(headless)) for link, (places, subtrees, headless) in links.items()]
    return Staged(documents, lines + found.refusals, chained)


def _mask(
    record: RawRecord, masker: Masker, arrival_id: str, domain: DomainConfig, tell: Callable[[Masked], None], subjects: tuple[str, ...]
) -> Document:
    plain = domain.privacy.profile == "public" or corrections.is_one(record.key)
    key = record.key if plain else masker.surrogate(record.key)
    try:
        title, text = masker.mask(record.title, record.subjects), masker.mask(record.text, record.subjects)
    except MaskingFailed as error:
        raise MaskingFailed(error.what, where=f"{arrival_id}, {record.file}, {record.place}", todo=error.todo) from None
    tell(title)
    tell(text)
    return document(
        key=key,
        title=title.text,
        text=text.text,
        valid_from=record.valid_from,
        arrival_id=arrival_id,
        source=record.source,
        withdrawn=record.withdrawn,
        subjects=subjects,
    )


def _record(values: dict[str, Any]) -> RawRecord:
    return RawRecord(**values | {"subjects": tuple(values["subjects"])})


def _values(row: Document) -> dict[str, Any]:
    return {**asdict(row), "sealed": None}


def _document(values: dict[str, Any]) -> Document:
    return Document(**values | {"subjects": tuple(values["subjects"])})
