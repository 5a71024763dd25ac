"""A document inside a document: the attachment of a FHIR resource, the body of a C-CDA that is not XML."""

from __future__ import annotations

import base64
import binascii
from dataclasses import replace

from pipelines.intake.formats.files import MB, Bad, Found, Job, in_memory
from pipelines.intake.records import Refusal

_SUFFIX = {
    "text/plain": ".txt",
    "text/markdown": ".md",
    "text/html": ".html",
    "application/xhtml+xml": ".html",
    "application/pdf": ".pdf",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": ".docx",
    "application/xml": ".xml",
    "text/xml": ".xml",
    "application/hl7-cda+xml": ".xml",
}
_REFUSED = {"image": "a picture", "audio": "a sound recording", "video": "a film"}


def attached(kind: str, data: str, job: Job, key: str, *, coded: bool = True) -> Found:
    """Records of an attachment of the media type `kind`, keyed by `key`. Text and HTML are always taken."""
    media = kind.partition(";")[0].strip().lower()
    if media.partition("/")[0] in _REFUSED:
        yield Refusal("", f"{_REFUSED[media.partition('/')[0]]}: only text is taken")
        return
    if media not in _SUFFIX:
        yield Refusal("", "an attachment of a kind that has no reader")
        return
    try:
        content = base64.b64decode("".join(data.split()), validate=True) if coded else data.encode()
    except (binascii.Error, ValueError):
        raise Bad("", "the attachment is not Base64") from None
    if len(content) > job.sources.max_file_mb * MB:
        raise Bad("", f"the attachment is larger than {job.sources.max_file_mb:g} MB")
    formats = (*job.sources.formats, "text", "html")
    sources = job.sources.model_copy(update={"formats": formats, "file_name": None, "encoding": "utf-8"})
    yield from job.inner(in_memory(f"{key.replace('/', '_')}{_SUFFIX[media]}", content), replace(job.deeper(), sources=sources))
