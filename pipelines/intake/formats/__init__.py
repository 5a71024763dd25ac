"""Delivered files into records: one reader per format, chosen by the file's suffix out of one table.

A reader is an iterator of records and refusals and goes on after a refusal: one bad row, or one bad file, costs no other. No refusal
repeats a delivered value: it goes to the ledger, unmasked. What each format takes as a record, and every limit: `docs/formats.md`.

`read` works in the calling process and is for files one trusts; `pipelines.intake.reader` does the same in a process of its own, with
limits on time and memory, and is what the intake uses.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from pipelines.config import Format, Sources
from pipelines.intake.formats import archives, documents, docx, jsons, kinds, markup, pdf, tables, textgrid, xml
from pipelines.intake.formats.files import MAX_KEY, MB, Bad, File, Found, Job, on_disk, require_size
from pipelines.intake.formats.textgrid import pair_of
from pipelines.intake.records import RawRecord, Refusal

__all__ = ["TABLE", "RawRecord", "Refusal", "pair_of", "read"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One way to read a file."""

    formats: tuple[Format, ...]
    """The domain must take one of these."""
    read: Callable[[File, Job], Found]
    content: tuple[str, ...] = ()
    """What the first bytes must say (`kinds.what`); empty for text."""


_JSON_LINES = Entry(("jsonl", "fhir"), jsons.read_jsonl)
_MARKDOWN = Entry(("markdown",), markup.read_markdown)
_HTML = Entry(("html",), markup.read_html)
_PARQUET = Entry(("parquet",), tables.read_parquet, ("Parquet",))
_TEXT = Entry(("text",), documents.read_text)
_TAR_GZ = Entry(("tar",), archives.read_tar, ("gzip",))

TABLE: dict[str, tuple[Entry, ...]] = {
    ".txt": (_TEXT,),
    ".md": (_MARKDOWN, _TEXT),
    ".markdown": (_MARKDOWN, _TEXT),
    ".html": (_HTML,),
    ".htm": (_HTML,),
    ".xhtml": (_HTML,),
    ".pdf": (Entry(("pdf",), pdf.read_pdf, ("PDF",)),),
    ".docx": (Entry(("docx",), docx.read_docx, ("zip",)),),
    ".csv": (Entry(("csv",), tables.read_csv),),
    ".json": (Entry(("json", "fhir"), jsons.read_json),),
    ".jsonl": (_JSON_LINES,),
    ".ndjson": (_JSON_LINES,),
    ".parquet": (_PARQUET,),
    ".pq": (_PARQUET,),
    ".xml": (Entry(("regml", "ecfr", "ccda"), xml.read_xml),),
    ".textgrid": (Entry(("textgrid",), textgrid.read_textgrid),),
    ".zip": (Entry(("zip",), archives.read_zip, ("zip",)),),
    ".tar": (Entry(("tar",), archives.read_tar, ("tar",)),),
    ".tgz": (_TAR_GZ,),
    ".tar.gz": (_TAR_GZ,),
}


def read(path: Path, sources: Sources, *, effective: str, where: str) -> Found:
    """Records and refusals of one file. `effective` is the ISO date of records that have none; `where` begins every place."""
    job = Job(sources, effective, read_file)
    total = 0
    try:
        file = on_disk(path)
    except Bad as bad:
        yield documents.placed(bad.refusal, where)
        return
    for found in read_file(file, job):
        if isinstance(found, RawRecord):
            total += len(found.text)
            if total > job.limits.expanded_mb * MB:
                yield Refusal(where, f"its text is more than {job.limits.expanded_mb:g} MB: the rest is not read")
                return
            found = _sound(found, job)
        yield documents.placed(found, where)


def read_file(file: File, job: Job) -> Found:
    """One file, on disk or inside another, by the table. Whatever its reader stumbles over becomes a refusal."""
    try:
        yield from _entry(file, job).read(file, job)
    except Bad as bad:
        yield bad.refusal
    except RecursionError:
        yield Refusal("", "nested too deep to be read")
    except (MemoryError, GeneratorExit):
        raise
    except Exception as error:
        # The class of the error says something to a developer and nothing about the data.
        yield Refusal("", f"its reader failed ({type(error).__name__})")


def _entry(file: File, job: Job) -> Entry:
    taken = job.sources.formats
    entry = next((one for one in TABLE.get(file.suffix, ()) if set(one.formats) & set(taken)), None)
    require_size(file, job)
    with file.open() as stream:
        first = stream.read(kinds.HEAD)
    if entry is None:
        named = next((one for one in (kinds.what(first), kinds.named(file.suffix)) if one and " " in one), None)
        if named:
            raise Bad("", f"{named}: only text is taken" if "as" not in named.split() else named)
        said = re.fullmatch(r"\.[a-z0-9]{1,10}", file.suffix) and file.suffix in TABLE
        shown = ", ".join(name for name in get_args(Format) if name in taken)
        raise Bad("", f"files {f'of {file.suffix}' if said else 'of this kind'} are not taken here; the domain takes {shown}")
    if not first or (len(first) < kinds.HEAD and not first.strip()):
        raise Bad("", "the file is empty")
    content = kinds.what(first)
    if (content or "") not in (entry.content or ("",)) and not (content is None and entry.content):
        raise Bad("", f"it is not what its name says: {content if ' ' in str(content) else f'it is {content}'}")
    return entry


def _sound(record: RawRecord, job: Job) -> RawRecord | Refusal:
    """The record, if every later step can hold it."""
    if not record.key or len(record.key) > MAX_KEY:
        return Refusal(record.place, f"its key is empty or longer than {MAX_KEY} characters")
    size = 0
    for value in (record.key, record.title, record.text, *record.subjects):
        if "\0" in value:
            return Refusal(record.place, "holds a NUL character")
        try:
            size += len(value.encode())
        except UnicodeEncodeError:
            return Refusal(record.place, "holds half of a character (a lone surrogate)")
    if size > job.limits.record_mb * MB:
        return Refusal(record.place, f"its text is longer than {job.limits.record_mb:g} MB")
    return record
