"""XML, hardened: no DTD, no entities, no deep nesting. The root element chooses the reader: RegML, eCFR or C-CDA."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import iterparse

from pipelines.intake import regml
from pipelines.intake.formats import ccda, ecfr
from pipelines.intake.formats.files import Bad, File, Found, Job, load, require_size
from pipelines.intake.formats.narrative import local

Events = Iterator[tuple[str, Element]]
_NAMES = {"regml": "RegML", "ecfr": "eCFR", "ccda": "C-CDA"}


def read_xml(file: File, job: Job) -> Found:
    """The records of whichever of the three the root element says it is."""
    require_size(file, job)
    found = events(file, job)
    first = next(found)
    kind = _kind(first[1].tag)
    taken = [name for name in _NAMES if name in job.sources.formats]
    if kind is None or kind not in taken:
        for _, element in found:
            element.clear()
        said = f"it is {_NAMES[kind]}" if kind else "its root element is unknown"
        raise Bad("", f"not {' or '.join(_NAMES[name] for name in taken)}: {said}")
    if kind == "regml":
        yield from regml.read(load(file, job), "", job.limits.depth)
    elif kind == "ecfr":
        yield from ecfr.read(chain([first], found), job)
    else:
        for _ in found:
            pass
        yield from ccda.read(first[1], job)


def events(file: File, job: Job) -> Events:
    """Starts and ends of elements. Bad, with the line, where the file stops being XML that is taken."""
    level = 0
    with file.open() as stream:
        try:
            for event, element in iterparse(stream, events=("start", "end"), forbid_dtd=True):
                level += 1 if event == "start" else -1
                if level > job.limits.depth:
                    raise Bad("", f"elements are nested more than {job.limits.depth} deep")
                yield event, element
        except ParseError as error:
            raise Bad(f"line {error.position[0]}", "not well-formed XML") from None
        except (DefusedXmlException, ValueError, LookupError):
            raise Bad("", "holds XML that is not taken (DTD or entities, or an unknown encoding)") from None


def _kind(tag: str) -> str | None:
    if tag in (f"{regml.NS}regulation", f"{regml.NS}notice"):
        return "regml"
    if tag == f"{ccda.V3}ClinicalDocument":
        return "ccda"
    return "ecfr" if local(tag) in ecfr.ROOTS and "}" not in tag else None
