"""What masking did to an arrival, as counts: never a value, never a place in a text.

The shape of the artifact (`masking/<hash>/report.json`):

    {"schema": 1, "profile": "safe_harbor", "texts": 40, "texts_changed": 31,
     "recogniser": {"name": "ratchet-minilm", "sha256": "..."} | null,
     "certificate": {"id": "...", "expires": "2027-01-31"} | null,
     "min_recall": 0.9, "coverage": {"NAME": 0.99, ...} | null,
     "kinds": {"NAME": {"total": 52, "by": {"ratchet-minilm": 50, "titles and lists": 2}}, ...}}
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pipelines.masking.mask import Masked, Masker
from pipelines.masking.taggers import is_used, tagger

SCHEMA: Final = 1


@dataclass(slots=True)
class Tally:
    """Counts over masked texts, which are not kept."""

    texts: int = 0
    changed: int = 0
    by: dict[str, Counter[str]] = field(default_factory=dict)
    """Per kind, how many each recogniser found."""

    def add(self, masked: Masked) -> None:
        """One more text."""
        self.texts += 1
        self.changed += bool(masked.counts)
        for kind, found in masked.found.items():
            self.by.setdefault(kind, Counter()).update(found)


def report(masker: Masker, tally: Tally, coverage: Mapping[str, float] | None = None) -> dict[str, Any]:
    """The report over an arrival's masked texts; `coverage` is what the gate measured, where it was asked."""
    by = tally.by
    privacy = masker.privacy
    return {
        "schema": SCHEMA,
        "profile": privacy.profile,
        "texts": tally.texts,
        "texts_changed": tally.changed,
        "recogniser": {"name": privacy.recogniser, "sha256": tagger(privacy.recogniser).sha256} if is_used(privacy) else None,
        "certificate": {"id": privacy.certificate.id, "expires": privacy.certificate.expires.isoformat()} if privacy.certificate else None,
        "min_recall": privacy.min_recall,
        "coverage": dict(coverage) if coverage is not None else None,
        "kinds": {kind: {"total": sum(by[kind].values()), "by": dict(sorted(by[kind].items()))} for kind in sorted(by)},
    }
