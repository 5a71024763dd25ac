"""What `prepare` does otherwise with an arrival of corrections: only exactly what people accepted goes on, whoever sealed the arrival."""

from __future__ import annotations

from sqlalchemy import select

from pipelines.config import Contract, DomainConfig, Expectation, Settings
from pipelines.corpus import corrections, sealing, warehouse
from pipelines.feedback.corrections import digest
from pipelines.intake.extract import Extracted
from pipelines.screen_config import Duplicates, Flood, Label, Length, Quota
from pipelines.state.database import reading
from pipelines.state.ledger import Line
from pipelines.state.models import ReviewItem
from pipelines.steps import publish

_CONTRACT = Contract(
    expectations=(
        Expectation(type="ExpectColumnValuesToNotBeNull", args={"column": "key"}),
        Expectation(type="ExpectColumnValuesToNotBeNull", args={"column": "text"}),
        Expectation(type="ExpectColumnValuesToBeUnique", args={"column": "key"}),
    )
)


def rules_for(domain: DomainConfig) -> DomainConfig:
    """The domain with a contract for corrections, and a screen that still holds planted instructions and disguised text. The domain's own
    are about texts: beside paragraphs an answer of two words is an outlier."""
    quiet = {
        "length": Length(action="off"),
        "label": Label(action="off"),
        "flood": Flood(action="off"),
        "quota": Quota(action="off"),
        "duplicates": Duplicates(exact="off", near="off"),
    }
    return domain.model_copy(update={"contract": _CONTRACT, "screen": domain.screen.model_copy(update=quiet)})


def keep_accepted(settings: Settings, domain: str, extracted: Extracted) -> None:
    """Refuse every record that is not, word for word, what the reviewers of its question accepted."""
    accepted = _accepted(settings, domain)
    kept = []
    for place, record in enumerate(extracted.records):
        answer = None if record.text == corrections.NOT_STATED else record.text
        if accepted.get(corrections.fingerprint_of(record.key)) == digest(record.title, answer, record.source or None):
            kept.append(place)
        else:
            reason = "no reviewer accepted this: only what was accepted on the release board is learned from"
            extracted.refusals.append(Line(record.file, record.place, "refused", reason=reason))
    extracted.keep(kept)


def name_subjects(settings: Settings, domain: DomainConfig, extracted: Extracted, keys: sealing.Opener) -> None:
    """A correction concerns whom the document that it rests on concerns, and goes when they are erased; without one it gets its own."""
    if not sealing.is_sealed(domain):
        return
    newest = publish.latest(settings, domain.domain)
    cited = {record.source for record in extracted.records if record.source}
    subjects = warehouse.subjects_of(settings, domain.domain, newest.id, cited) if newest is not None and cited else {}
    for record in extracted.records:
        of_its_own = keys().subject(domain.domain, ("record", record.key))
        extracted.subjects.append(subjects.get(record.source) or ((of_its_own,) if of_its_own else ()))


def _accepted(settings: Settings, domain: str) -> dict[str, str]:
    """Beginning of the fingerprint -> hash of what was accepted."""
    with reading(settings) as session:
        rows = session.execute(
            select(ReviewItem.fingerprint, ReviewItem.answer_sha256).where(ReviewItem.domain == domain, ReviewItem.state == "accepted")
        )
        return {fingerprint[:16]: answer for fingerprint, answer in rows if answer is not None}
