"""PDF: its text layer, one record or one per page. A page that only shows a picture is refused by number: nothing reads pictures."""

from __future__ import annotations

import logging
import os

from pipelines.intake.formats.documents import head, record
from pipelines.intake.formats.files import Bad, File, Found, Job, seekable
from pipelines.intake.records import Refusal

_TAIL = 2_048


def read_pdf(file: File, job: Job) -> Found:
    """Records of the pages that have text. Blank pages count for nothing."""
    from pypdf import PdfReader
    from pypdf.errors import PyPdfError

    # Its warnings may quote the file.
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    with seekable(file, job) as stream:
        if stream.read(1024).find(b"%PDF-") < 0:
            raise Bad("", "not a PDF")
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(0, size - _TAIL))
        if b"%%EOF" not in stream.read():
            raise Bad("", "the PDF is cut short: it has no end")
        stream.seek(0)
        try:
            pdf = PdfReader(stream, strict=False)
            if pdf.is_encrypted and not pdf.decrypt(""):
                raise Bad("", "the PDF is encrypted: deliver it without a password")
            count = len(pdf.pages)
            title = str((pdf.metadata and pdf.metadata.title) or "")
        except (PyPdfError, ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError, NotImplementedError):
            raise Bad("", "not readable as PDF: damaged") from None
        if count > job.limits.pages:
            raise Bad("", f"more than {job.limits.pages} pages")
        shared = head(file, job, title)
        texts: list[str] = []
        blank = 0
        for number in range(count):
            place = f"page {number + 1}"
            try:
                page = pdf.pages[number]
                text = page.extract_text().strip()
                contents = None if text else page.get_contents()
            except (MemoryError, Bad):
                raise
            except Exception:
                # The library raises whatever a damaged page makes it stumble over.
                yield Refusal(place, "the page cannot be read: damaged")
                continue
            if text and job.sources.split == "section":
                yield record(shared, text, part=place.replace(" ", "-"), place=place)
            elif text:
                texts.append(text)
            elif contents is not None and contents.get_data().strip():
                yield Refusal(place, "holds no text layer: a scan or a drawing")
            else:
                blank += 1
        if blank == count:
            raise Bad("", "the PDF holds no text")
        if texts:
            yield record(shared, "\n".join(texts))
