"""Many nearly equal texts in one arrival: what someone sends who wants one sentence to weigh more than all others.

Paragraphs of an amendment chain and texts under twenty words are left out: law and notes repeat those by nature.
"""

from __future__ import annotations

from collections.abc import Iterator

from pipelines.corpus import near
from pipelines.intake.screen.findings import Finding, Seen


def find(seen: Seen) -> Iterator[Finding]:
    """One finding for the arrival, where a group of near-duplicates is large in number and in share."""
    config, least = seen.config.flood, seen.config.duplicates.min_words
    sketches = [
        near.signature(document.text)
        for record, document in zip(seen.records, seen.documents, strict=True)
        if record.amends is None and not record.withdrawn and len(document.text.split()) >= least
    ]
    if len(sketches) < config.documents:
        return
    largest = max(map(len, near.groups(sketches, config.similarity)), default=0)
    if largest >= config.documents and largest >= config.share * len(sketches):
        yield Finding("flood", f"{largest} of {len(sketches)} texts are nearly the same")
