"""eCFR XML, of the versioner API and the bulk files: a record per section or appendix, read as a stream.

The key is the section's number (`1013.4`) or the appendix's name (`appendix-a-to-part-1013`), the title its heading. A section that is
reserved has no text any more: it is withdrawn. Authority, source and amendment notes in brackets (`CITA`) are not law and left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from xml.etree.ElementTree import Element

from pipelines.intake.formats.documents import slug
from pipelines.intake.formats.files import MAX_KEY, Bad, Found, Job
from pipelines.intake.formats.narrative import lines
from pipelines.intake.records import RawRecord, Refusal, iso_date, one_line

ROOTS = {"ECFR", "DLPSTEXTCLASS", *(f"DIV{number}" for number in range(1, 10))}
_APART = frozenset({"HEAD", "AUTH", "SOURCE", "CITA", "SECAUTH", "EDNOTE", "XREF", *(f"DIV{number}" for number in range(1, 10))})
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


def read(events: Iterator[tuple[str, Element]], job: Job) -> Found:
    """Records in order; each division is dropped from memory once it is read."""
    valid_from = job.effective
    number, found = 0, False
    above: list[str] = []
    seen: set[str] = set()
    for event, element in events:
        division = re.fullmatch("DIV([1-9])", element.tag)
        if event == "start":
            if division:
                above.append(element.get("N", ""))
            continue
        if element.tag == "AMDDATE" and job.sources.dated_by == "document":
            valid_from = _day("".join(element.itertext())) or valid_from
        if not division:
            continue
        number += 1
        place = f"division {number}"
        section = int(division[1]) >= 8
        names, above = above, above[:-1]
        if one := _record(element, names, valid_from, place, section):
            found = True
            if isinstance(one, RawRecord) and one.key in seen:
                one = Refusal(place, "the section occurs twice: the first one stands")
            elif isinstance(one, RawRecord):
                seen.add(one.key)
            yield one
        element.clear()
    if not found:
        raise Bad("", "holds no section")


def _record(element: Element, names: list[str], valid_from: str, place: str, section: bool) -> RawRecord | Refusal | None:
    head = element.find("HEAD")
    heading = one_line("".join(head.itertext())) if head is not None else ""
    text = lines(element, _APART)
    name = names[-1] if section else "-".join(names)
    given = re.sub(r"^§+\s*", "", one_line(name))
    key = given if re.fullmatch(r"[0-9A-Za-z][0-9A-Za-z.-]*", given) else slug(given)
    if not section:
        # Text that stands directly under a part or subpart is rare, and law all the same.
        return RawRecord(slug(key), heading, text, valid_from, "", False, (), place) if text else None
    if not given or len(key) > MAX_KEY:
        return Refusal(place, "the section has no number that can be a key")
    if not text:
        if "[reserved]" in heading.lower():
            return RawRecord(key, heading, "", valid_from, "", True, (), place)
        return Refusal(place, "the section holds no text: a picture, or a heading alone")
    return RawRecord(key, heading, text, valid_from, "", False, (), place)


def _day(text: str) -> str:
    """`Jan. 1, 2020` as an ISO date, empty when it is none."""
    match = re.fullmatch(r"([A-Za-z]{3})[A-Za-z]*\.?\s+(\d{1,2}),\s+(\d{4})", one_line(text))
    if match is None or match[1].lower() not in _MONTHS:
        return ""
    try:
        return iso_date(f"{match[3]}-{_MONTHS.index(match[1].lower()) + 1:02}-{int(match[2]):02}")
    except ValueError:
        return ""
