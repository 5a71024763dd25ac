"""RegML, the CFPB's XML of a regulation (`regulation`) and of the notices that change it (`notice`).

A document is a `paragraph` or `interpParagraph`: its label is the key; its text is its own title and content without the paragraphs
nested in it. A paragraph without a title carries the nearest title above it; in a notice, which shows nothing above, the
regulation's. Tables of contents are ignored. A heading that has no content of its own is no document, it titles what is below; a
picture without alternative text is refused.

A change that replaces a paragraph replaces everything below it too (checked against the consolidated Reg M and Reg B); the reader does
not know what was there, so it says `replaces_below`, and which document the notice amends; `corpus.chain` replays both.

Not covered: a change of one part of a paragraph (`subpath`) other than its content.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from pipelines.intake.records import RawRecord, Refusal, at, iso_date, one_line

NS = "{eregs}"
MAX_DEPTH = 64
_PARAGRAPHS = (f"{NS}paragraph", f"{NS}interpParagraph")
_HEADINGS = (f"{NS}title", f"{NS}subject", f"{NS}appendixTitle")
_NUMBER = re.compile(r"[0-9A-Za-z][0-9A-Za-z_.-]{0,59}")
_LABEL = re.compile(r"[0-9A-Za-z][0-9A-Za-z._()\[\]-]{0,159}")


@dataclass(frozen=True, slots=True)
class _Origin:
    """What every record of a file shares."""

    source: str
    valid_from: str
    title: str
    where: str


def read(data: bytes, where: str, depth: int = MAX_DEPTH) -> Iterator[RawRecord | Refusal]:
    """Records of a regulation, or the changes of a notice in order, each key once. A file that is not RegML is one refusal."""
    try:
        root: Element = fromstring(data, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError) as error:
        line = getattr(error, "position", (None,))[0]
        what = "not well-formed XML" if isinstance(error, ParseError) else "holds XML that is not taken (DTD or entities)"
        yield Refusal(at(where, f"line {line}" if line else ""), what)
        return
    kind = root.tag.removeprefix(NS)
    if kind not in ("regulation", "notice"):
        yield Refusal(where, "not RegML: the root element is neither an eregs regulation nor a notice")
        return
    if _too_deep(root, depth):
        yield Refusal(where, f"elements are nested more than {depth} deep")
        return
    number, effective = (one_line(root.findtext(f"{NS}preamble/{NS}{name}") or "") for name in ("documentNumber", "effectiveDate"))
    if not _NUMBER.fullmatch(number):
        yield Refusal(at(where, "preamble"), "documentNumber is missing or not a document number")
        return
    try:
        iso_date(effective)
    except ValueError:
        yield Refusal(at(where, "preamble"), "effectiveDate is missing or not a date written YYYY-MM-DD")
        return
    name = one_line(root.findtext(f"{NS}fdsys/{NS}title") or "")
    origin = _Origin(number, effective, name.capitalize() if name.isupper() else name, where)
    amends = "" if kind == "regulation" else _base(root)
    if amends is None:
        yield Refusal(at(where, "changeset"), "the notice does not say which document it amends (leftDocumentNumber)")
        return
    for found in _once(_below(root, origin, origin.title, "the root")) if kind == "regulation" else _notice(root, origin):
        yield replace(found, amends=amends) if isinstance(found, RawRecord) else found


def _base(root: Element) -> str | None:
    """`number` or `number@date` of what a notice amends; None when that is missing or not to be read."""
    changeset = root.find(f"{NS}changeset")
    if changeset is None:
        return ""  # no changes either, and refused for that
    number, day = changeset.get("leftDocumentNumber", ""), changeset.get("leftEffectiveDate", "")
    if not _NUMBER.fullmatch(number):
        return None
    try:
        return f"{number}@{iso_date(day)}" if day else number
    except ValueError:
        return None


def _notice(root: Element, origin: _Origin) -> Iterator[RawRecord | Refusal]:
    changes = root.findall(f"{NS}changeset/{NS}change")
    if not changes:
        yield Refusal(origin.where, "the notice holds no change")
        return
    held: dict[str, RawRecord] = {}
    for index, change in enumerate(changes, 1):
        label = change.get("label", "")
        named = f"change {index} ({label})" if _LABEL.fullmatch(label) else f"change {index}"
        for found in _change(change, origin, named):
            if isinstance(found, Refusal):
                yield found
            else:
                # A notice may restate a paragraph inside a larger one: the later change stands.
                before = held.pop(found.key, None)
                held[found.key] = replace(found, replaces_below=found.replaces_below or (before is not None and before.replaces_below))
    yield from held.values()


def _change(change: Element, origin: _Origin, named: str) -> Iterator[RawRecord | Refusal]:
    place = at(origin.where, named)
    operation, label, subpath = change.get("operation", ""), change.get("label", ""), change.get("subpath")
    unknown = sorted(set(change.attrib) - {"operation", "label", "parent", "after", "before", "subpath"})
    if unknown:
        yield Refusal(place, f"unknown attribute of a change: {_word(unknown[0])}")
    elif not _LABEL.fullmatch(label):
        yield Refusal(place, "the change has no label that can be a key")
    elif operation == "deleted" and subpath is None:
        yield RawRecord(label, "", "", origin.valid_from, origin.source, True, (), place, replaces_below=True)
    elif operation not in ("added", "modified"):
        yield Refusal(place, f"unknown operation {_word(operation)}: known are added, modified, deleted")
    elif subpath is not None:
        content = change.find(f"{NS}content")
        text = "" if content is None else _flatten(content)
        if subpath != "content" or operation != "modified" or not text:
            yield Refusal(place, f"a change of the subpath {_word(subpath)} is not understood: only modified content is")
        else:
            yield RawRecord(label, origin.title, text, origin.valid_from, origin.source, False, (), place, keeps_heading=True)
    elif len(change) == 0:
        yield Refusal(place, f"{operation} without the text")
    else:
        found = list(_below(change, origin, origin.title, named))
        if not any(isinstance(record, RawRecord) and record.key == label for record in found) and operation == "modified":
            # The paragraph became a mere heading: its former text must go.
            yield RawRecord(label, "", "", origin.valid_from, origin.source, True, (), place, replaces_below=True)
        for record in found:
            top = isinstance(record, RawRecord) and record.key == label
            yield replace(record, replaces_below=operation == "modified") if top and isinstance(record, RawRecord) else record


def _below(node: Element, origin: _Origin, title: str, place: str) -> Iterator[RawRecord | Refusal]:
    """Every paragraph at or below the children of `node`, in order."""
    title = _heading(node) or title
    for child in node:
        if child.tag in _PARAGRAPHS:
            yield from _paragraph(child, origin, title, place)
        elif child.tag != f"{NS}tableOfContents" and len(child):
            yield from _below(child, origin, title, child.get("label") or place)


def _paragraph(node: Element, origin: _Origin, title: str, place: str) -> Iterator[RawRecord | Refusal]:
    label = node.get("label", "")
    heading = _heading(node)
    content = node.find(f"{NS}content")
    text = "" if content is None else _flatten(content)
    if not _LABEL.fullmatch(label):
        if text:
            yield Refusal(at(origin.where, f"below {place}"), "a paragraph without a label that can be a key")
    elif text:
        shown = (heading or title).rstrip(" .:—")
        full = one_line(f"{heading} {text}")
        yield RawRecord(label, shown, full, origin.valid_from, origin.source, False, (), at(origin.where, label))
    elif content is not None and content.find(f".//{NS}graphic") is not None:
        yield Refusal(at(origin.where, label), "holds only a picture without alternative text")
    for child in node:
        if child.tag in _PARAGRAPHS:
            yield from _paragraph(child, origin, heading or title, label or place)


def _once(found: Iterable[RawRecord | Refusal]) -> Iterator[RawRecord | Refusal]:
    seen: set[str] = set()
    for record in found:
        if isinstance(record, RawRecord) and record.key in seen:
            yield Refusal(record.place, "the label occurs twice: the first one stands")
        else:
            if isinstance(record, RawRecord):
                seen.add(record.key)
            yield record


def _heading(node: Element) -> str:
    return next((one_line("".join(child.itertext())) for child in node if child.tag in _HEADINGS), "")


def _flatten(node: Element) -> str:
    """Text of a content element on one line; of a picture, its alternative text."""
    parts: list[str] = []

    def walk(element: Element) -> None:
        if element.tag == f"{NS}graphic":
            parts.append(f" {element.findtext(f'{NS}altText') or ''} ")
        else:
            parts.append(element.text or "")
            for child in element:
                walk(child)
                parts.append(child.tail or "")

    walk(node)
    return one_line("".join(parts))


def _too_deep(root: Element, limit: int) -> bool:
    level, depth = [root], 0
    while level:
        depth += 1
        if depth > limit:
            return True
        level = [child for node in level for child in node]
    return False


def _word(value: str) -> str:
    """A value from the file, cut to what can be named in a reason."""
    return repr(re.sub(r"[^\w.:{}/-]", "?", value)[:40])
