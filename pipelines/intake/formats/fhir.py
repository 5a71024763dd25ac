"""FHIR R4: DocumentReference, DiagnosticReport and Composition, alone, in a Bundle, or one per line.

The key is `Type/id`. A resource that was entered in error is withdrawn. Several contents of a DocumentReference are by the standard one
document in several formats: the first that can be read is taken. Subjects are the names and identifiers of the Patient, where the same
file holds that before (in a Bundle: anywhere), else what the reference says. Every other resource is refused by its place.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from pipelines.intake.formats import rows
from pipelines.intake.formats.attached import attached
from pipelines.intake.formats.documents import Head, part_key, record, slug
from pipelines.intake.formats.files import Bad, Found, Job
from pipelines.intake.formats.markup import plain
from pipelines.intake.records import RawRecord, Refusal, at, one_line

Patients = dict[str, tuple[str, ...]]
DOCUMENTS = ("DocumentReference", "DiagnosticReport", "Composition")
# Only these are named in a reason: the file could write anything as its type.
_OTHERS = {
    *("Patient", "Practitioner", "PractitionerRole", "Organization", "Encounter", "Observation", "Condition", "Procedure", "Location"),
    *("MedicationRequest", "Medication", "AllergyIntolerance", "Immunization", "CarePlan", "CareTeam", "Claim", "Coverage", "Device"),
    *("ImagingStudy", "Provenance", "ExplanationOfBenefit", "ServiceRequest", "Specimen", "Binary", "OperationOutcome", "Media"),
}


def is_resource(value: object) -> bool:
    """Whether a JSON value says that it is a FHIR resource."""
    return isinstance(value, dict) and isinstance(value.get("resourceType"), str)


def resource(value: Any, job: Job, place: str, patients: Patients) -> Found:
    """Records and refusals of one resource; a Patient is remembered in `patients`."""
    kind = value["resourceType"]
    if kind == "Bundle":
        yield from _bundle(value, job, place)
        return
    if kind not in DOCUMENTS:
        if kind == "Patient":
            patients.update(_patient(value, ""))
        named = f"{kind} holds" if kind in _OTHERS else "this type of resource holds"
        yield Refusal(place, f"{named} no document: taken are {', '.join(DOCUMENTS)}")
        return
    try:
        head = _head(value, job, patients)
        if value.get("status") == "entered-in-error" or value.get("docStatus") == "entered-in-error":
            yield RawRecord(head.key, head.title, "", head.valid_from, "", True, head.subjects, place)
            return
        reader = {"DocumentReference": _reference, "DiagnosticReport": _report, "Composition": _composition}[kind]
        for found in reader(value, job, head):
            yield replace(found, place=at(place, found.place))
    except Bad as bad:
        yield Refusal(at(place, bad.refusal.place), bad.refusal.reason)
    except (AttributeError, TypeError, KeyError):
        yield Refusal(place, f"not a {kind} as FHIR R4 describes it")


def _bundle(value: dict[str, Any], job: Job, place: str) -> Found:
    entries = value.get("entry")
    if not isinstance(entries, list) or not entries:
        raise Bad(place, "the Bundle holds no entry")
    patients: Patients = {}
    for entry in entries:
        inner: Any = entry.get("resource") if isinstance(entry, dict) else None
        if is_resource(inner) and inner["resourceType"] == "Patient":
            patients.update(_patient(inner, entry.get("fullUrl")))
    for number, entry in enumerate(entries, 1):
        inner = entry.get("resource") if isinstance(entry, dict) else None
        where = at(place, f"entry {number}")
        if not is_resource(inner):
            yield Refusal(where, "the entry holds no resource")
        elif inner["resourceType"] == "Bundle":
            yield Refusal(where, "a Bundle inside a Bundle")
        else:
            yield from resource(inner, job, where, patients)


def _patient(value: dict[str, Any], url: object) -> Patients:
    found: list[str] = []
    for name in _list(value.get("name")):
        full = name.get("text") or " ".join([*_list(name.get("given")), name.get("family") or ""]) if isinstance(name, dict) else ""
        found.append(one_line(str(full)))
    found += [str(one.get("value") or "") for one in _list(value.get("identifier")) if isinstance(one, dict)]
    subjects = tuple(dict.fromkeys(filter(None, [*found, str(value.get("id") or "")])))
    return {str(name): subjects for name in (f"Patient/{value.get('id')}", url) if name}


def _head(value: dict[str, Any], job: Job, patients: Patients) -> Head:
    kind, given = value["resourceType"], value.get("id")
    if not isinstance(given, str) or not re.fullmatch(r"[A-Za-z0-9.-]{1,64}", given):
        raise Bad("", f"the {kind} has no id that can be a key")
    valid_from = job.effective
    if job.sources.dated_by == "document":
        moment = next((value[name] for name in ("date", "effectiveDateTime", "issued") if name in value), "")
        try:
            valid_from = rows.day(str(moment))
        except ValueError:
            raise Bad("", f"the {kind} has no full date") from None
    subject = value.get("subject") or {}
    reference = str(subject.get("reference") or "")
    said = (one_line(str(subject.get("display") or "")), reference.rpartition("/")[2].removeprefix("urn:uuid:"))
    subjects = patients.get(reference) or tuple(filter(None, said))
    concept = value.get("code") if kind == "DiagnosticReport" else value.get("type")
    title = value.get("title") or value.get("description") or _said(concept)
    return Head(f"{kind}/{given}", valid_from, subjects, one_line(str(title)))


def _said(concept: Any) -> str:
    if not isinstance(concept, dict):
        return ""
    codings = (coding.get("display") for coding in _list(concept.get("coding")) if isinstance(coding, dict))
    return str(concept.get("text") or next(filter(None, codings), ""))


def _reference(value: dict[str, Any], job: Job, head: Head) -> Found:
    attachments = [content["attachment"] for content in _list(value.get("content"))]
    yield from _first_readable(attachments, job, head, "content")


def _report(value: dict[str, Any], job: Job, head: Head) -> Found:
    refusals: list[RawRecord | Refusal] = []
    if forms := _list(value.get("presentedForm")):
        found = list(_first_readable(forms, job, head, "presented form"))
        if any(isinstance(one, RawRecord) for one in found):
            yield from found
            return
        refusals = found
    narrative = "\n".join(filter(None, (_div(value), str(value.get("conclusion") or ""))))
    if narrative.strip():
        yield record(head, narrative)
        yield from refusals
    elif refusals:
        yield from refusals
    else:
        yield Refusal("", "the report holds neither a form, a narrative nor a conclusion")


def _composition(value: dict[str, Any], job: Job, head: Head) -> Found:
    texts: list[str] = []
    keys: set[str] = set()
    for number, (section, deep) in enumerate(_sections(_list(value.get("section"))), 1):
        place, title, text = f"section {number}", one_line(str(section.get("title") or _said(section.get("code")))), _div(section)
        if not text:
            if not deep and "emptyReason" not in section:
                yield Refusal(place, "holds no narrative text")
        elif job.sources.split == "whole":
            texts.append(f"{title}\n{text}" if title else text)
        else:
            key = part_key(head.key, slug(title))
            if key in keys:
                yield Refusal(place, "another section of the same title stands before it")
            else:
                keys.add(key)
                yield record(head, text, part=slug(title), title=title, place=place)
    if texts:
        yield record(head, "\n\n".join(texts))
    elif not keys:
        if text := _div(value):
            yield record(head, text)
        elif not _list(value.get("section")):
            yield Refusal("", "the Composition holds no section")


def _sections(given: list[Any]) -> Iterator[tuple[dict[str, Any], bool]]:
    """Sections in order with whether others lie inside."""
    for section in given:
        inner = _list(section.get("section"))
        yield section, bool(inner)
        yield from _sections(inner)


def _div(value: dict[str, Any]) -> str:
    text = value.get("text")
    return plain(text["div"]) if isinstance(text, dict) and isinstance(text.get("div"), str) else ""


def _first_readable(attachments: list[Any], job: Job, head: Head, name: str) -> Found:
    refusals: list[Refusal] = []
    for number, attachment in enumerate(attachments, 1):
        place = f"{name} {number}"
        if not isinstance(attachment.get("data"), str):
            reason = "holds only a link: deliver the text itself" if attachment.get("url") else "holds no data"
            refusals.append(Refusal(place, reason))
            continue
        kind = str(attachment.get("contentType") or "text/plain")
        try:
            found = list(attached(kind, attachment["data"], job, head.key))
        except Bad as bad:
            refusals.append(Refusal(at(place, bad.refusal.place), bad.refusal.reason))
            continue
        if any(isinstance(one, RawRecord) for one in found):
            yield from (_filed(one, head, place) for one in found)
            return
        refusals += [Refusal(at(place, one.place), one.reason) for one in found if isinstance(one, Refusal)]
    yield from refusals or [Refusal("", f"the resource holds no {name}")]


def _filed(found: RawRecord | Refusal, head: Head, place: str) -> RawRecord | Refusal:
    if isinstance(found, Refusal):
        return replace(found, place=at(place, found.place))
    key = part_key(head.key, found.key.partition("#")[2])
    title = found.title or head.title
    return replace(found, key=key, title=title, valid_from=head.valid_from, subjects=head.subjects, place=at(place, found.place))


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
