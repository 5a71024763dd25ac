"""DOCX: paragraphs and tables of the text in order, footnotes at its end. Deleted text of tracked changes is left out, inserted text is in.

Not read: headers, footers, comments, pictures.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from xml.etree.ElementTree import Element, ParseError
from zipfile import ZipFile

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from pipelines.intake.formats import archives
from pipelines.intake.formats.documents import Block, cut, head
from pipelines.intake.formats.files import Bad, File, Found, Job
from pipelines.intake.records import one_line

W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_LEFT_OUT = {f"{W}del", f"{W}moveFrom", f"{W}rPr", f"{W}pPr", "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"}


def read_docx(file: File, job: Job) -> Found:
    """One record, or one per heading; headings are known by their style or outline level."""
    with archives.open_zip(file, job) as archive:
        document = _part(archive, "word/document.xml", job)
        if document is None:
            raise Bad("", "not a DOCX: it holds no word/document.xml")
        body = document.find(f"{W}body")
        if body is None:
            raise Bad("", "not a DOCX: it has no body")
        styles = _headings(_part(archive, "word/styles.xml", job))
        blocks = list(_blocks(body, styles))
        for name, word in (("footnotes", "footnote"), ("endnotes", "endnote")):
            notes = _part(archive, f"word/{name}.xml", job)
            for note in [] if notes is None else notes.findall(f"{W}{word}"):
                if note.get(f"{W}type") is None and (text := " ".join(line for _, line in _blocks(note, {}))):
                    blocks.append((0, f"[{note.get(f'{W}id', '')[:6]}] {text}"))
        core = _part(archive, "docProps/core.xml", job)
    title = "" if core is None else one_line(core.findtext("{http://purl.org/dc/elements/1.1/}title") or "")
    yield from cut(head(file, job, title or next((text for level, text in blocks if level), "")), job, blocks)


def _part(archive: ZipFile, name: str, job: Job) -> Element | None:
    data = archives.part(archive, name, job)
    if data is None:
        return None
    try:
        root: Element = fromstring(data, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError):
        raise Bad("", "not a DOCX that can be read: its XML is damaged or holds a DTD") from None
    level, depth = [root], 0
    while level:
        depth += 1
        if depth > job.limits.depth:
            raise Bad("", f"elements are nested more than {job.limits.depth} deep")
        level = [child for node in level for child in node]
    return root


def _headings(styles: Element | None) -> dict[str, int]:
    """Style id -> level. The ids are in the author's language, the names are not."""
    found: dict[str, int] = {}
    for style in [] if styles is None else styles.findall(f"{W}style"):
        name = style.find(f"{W}name")
        match = re.fullmatch(r"heading ([1-9])", name.get(f"{W}val", "").lower()) if name is not None else None
        if match:
            found[style.get(f"{W}styleId", "")] = int(match[1])
    return found


def _blocks(node: Element, styles: dict[str, int]) -> Iterator[Block]:
    for child in node:
        if child.tag == f"{W}p":
            if text := _text(child):
                yield _level(child, styles), text
        elif child.tag == f"{W}tbl":
            for row in child.iter(f"{W}tr"):
                cells = [" ".join(line for _, line in _blocks(cell, {})) for cell in row.findall(f"{W}tc")]
                if any(cells):
                    yield 0, one_line(" | ".join(cells))
        elif child.tag not in _LEFT_OUT:
            yield from _blocks(child, styles)


def _level(paragraph: Element, styles: dict[str, int]) -> int:
    outline, style = paragraph.find(f"{W}pPr/{W}outlineLvl"), paragraph.find(f"{W}pPr/{W}pStyle")
    if outline is not None and re.fullmatch("[0-8]", outline.get(f"{W}val", "")):
        return int(outline.get(f"{W}val", "")) + 1
    return styles.get(style.get(f"{W}val", ""), 0) if style is not None else 0


def _text(paragraph: Element) -> str:
    parts: list[str] = []

    def walk(node: Element) -> None:
        for child in node:
            if child.tag == f"{W}t":
                parts.append(child.text or "")
            elif child.tag in (f"{W}tab", f"{W}noBreakHyphen"):
                parts.append(" " if child.tag == f"{W}tab" else "-")
            elif child.tag in (f"{W}br", f"{W}cr"):
                parts.append("\n")
            elif child.tag == f"{W}footnoteReference":
                parts.append(f" [{child.get(f'{W}id', '')[:6]}]")
            elif child.tag not in _LEFT_OUT:
                walk(child)

    walk(paragraph)
    return "\n".join(filter(None, (one_line(line) for line in "".join(parts).split("\n"))))
