"""HL7 C-CDA: the narrative of a clinical document, whole or a record per section.

The key is the document's type (LOINC) and its set id, or else its id: the versions of one document share it, a discharge summary and a
consultation note of one visit do not, though real systems give both one id. Subjects are the patient's names and identifiers. Coded
entries are not read: the standard asks that the narrative says the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from xml.etree.ElementTree import Element

from pipelines.intake.formats.attached import attached
from pipelines.intake.formats.documents import Head, compact_day, part_key, record, slug
from pipelines.intake.formats.files import MAX_KEY, Bad, Found, Job
from pipelines.intake.formats.narrative import lines
from pipelines.intake.records import RawRecord, Refusal, at, one_line

V3 = "{urn:hl7-org:v3}"


def read(root: Element, job: Job) -> Found:
    """Records of one ClinicalDocument."""
    shared = _head(root, job)
    body = root.find(f"{V3}component/{V3}structuredBody")
    outside = root.find(f"{V3}component/{V3}nonXMLBody/{V3}text")
    if body is None and outside is not None:
        kind, coded = outside.get("mediaType", "text/plain"), outside.get("representation") == "B64"
        for found in attached(kind, "".join(outside.itertext()), job, shared.key, coded=coded):
            yield _filed(found, shared)
        return
    if body is None:
        raise Bad("", "the document has no body")
    texts: list[str] = []
    keys: set[str] = set()
    for number, section in enumerate(_sections(body), 1):
        place = f"section {number}"
        text, title = _narrative(section), _text(section, "title")
        if not text:
            if not section.findall(f"{V3}component/{V3}section"):
                yield Refusal(place, "holds no narrative text")
        elif job.sources.split == "whole":
            texts.append(f"{title}\n{text}" if title else text)
        else:
            code = section.find(f"{V3}code")
            part = code.get("code", "") if code is not None else ""
            one = record(shared, text, part=part or slug(title), title=title, place=place)
            if isinstance(one, RawRecord) and one.key in keys:
                one = Refusal(place, "another section of the same kind stands before it")
            elif isinstance(one, RawRecord):
                keys.add(one.key)
            yield one
    if texts:
        yield record(shared, "\n\n".join(texts))


def _sections(body: Element) -> Iterator[Element]:
    for section in body.findall(f"{V3}component/{V3}section"):
        yield section
        yield from _sections(section)


def _narrative(section: Element) -> str:
    text = section.find(f"{V3}text")
    return "" if text is None else lines(text)


def _head(root: Element, job: Job) -> Head:
    code, named = root.find(f"{V3}code"), root.find(f"{V3}setId")
    named = root.find(f"{V3}id") if named is None else named
    identity = "^".join(filter(None, (named.get("root"), named.get("extension")))) if named is not None else ""
    if not identity or len(identity) > MAX_KEY - 20:
        raise Bad("", "the document has no id that can be a key")
    valid_from = job.effective
    if job.sources.dated_by == "document":
        moment = root.find(f"{V3}effectiveTime")
        try:
            valid_from = compact_day(moment.get("value", "")[:8] if moment is not None else "-")
        except ValueError:
            raise Bad("", "effectiveTime is missing or not a full date") from None
    kind = code.get("code", "") if code is not None else ""
    return Head(f"{kind[:15]}:{identity}" if kind else identity, valid_from, _subjects(root), _text(root, "title"))


def _subjects(root: Element) -> tuple[str, ...]:
    """Names and identifiers of the patient, in the document's order."""
    found: list[str] = []
    for role in root.findall(f"{V3}recordTarget/{V3}patientRole"):
        for name in role.findall(f"{V3}patient/{V3}name"):
            parts = [one_line("".join(part.itertext())) for part in name if part.tag in (f"{V3}given", f"{V3}family")]
            found.append(" ".join(filter(None, parts)) or one_line("".join(name.itertext())))
        found += [one.get("extension", "") for one in role.findall(f"{V3}id")]
    return tuple(dict.fromkeys(filter(None, found)))


def _text(node: Element, name: str) -> str:
    found = node.find(f"{V3}{name}")
    return "" if found is None else one_line("".join(found.itertext()))


def _filed(found: RawRecord | Refusal, shared: Head) -> RawRecord | Refusal:
    if isinstance(found, Refusal):
        return Refusal(at("body", found.place), found.reason)
    key = part_key(shared.key, found.key.partition("#")[2])
    return replace(found, key=key, title=found.title or shared.title, valid_from=shared.valid_from, subjects=shared.subjects)
