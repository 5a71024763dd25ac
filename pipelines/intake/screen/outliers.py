"""Texts unlike what the domain has accepted so far: in length, and in a label where the domain names its column.

The history is a count per bin (eighths of a doubling of the number of words) and per label's hash: a few hundred rows whatever the size of
the corpus, and the same in any order of arrival. The median and the median absolute deviation are read from the bins.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from pipelines.corpus.documents import Document
from pipelines.intake.screen.findings import Finding, History, Seen
from pipelines.manifest import sha256
from pipelines.screen_config import Screen

_PER_DOUBLING = 8
_NORMAL = 0.6745
"""Of a normal distribution, the median absolute deviation in standard deviations."""


def measure(documents: Iterable[Document], config: Screen) -> History:
    """What accepted documents add to the history."""
    lengths: Counter[int] = Counter()
    labels: Counter[str] = Counter()
    for document in documents:
        if not document.withdrawn:
            lengths[_bin(document.text)] += 1
            if (label := _label(document, config)) is not None:
                labels[label] += 1
    return History(dict(lengths), dict(labels))


def lengths(seen: Seen) -> Iterator[Finding]:
    """Texts far from the median length."""
    config, known = seen.config.length, seen.history.lengths
    if sum(known.values()) < config.after_documents:
        return
    median, deviation = _robust(known)
    for row, (record, document) in enumerate(zip(seen.records, seen.documents, strict=True)):
        if document.withdrawn:
            continue
        score = _NORMAL * (_bin(document.text) - median) / deviation
        if abs(score) > config.deviations:
            way = "longer" if score > 0 else "shorter"
            reason = f"far {way} than the domain's texts ({abs(score):.1f} robust deviations)"
            yield Finding("length", reason, row, record.place, "text", 0, len(record.text))


def labels(seen: Seen) -> Iterator[Finding]:
    """Documents whose label no accepted document has."""
    config, known = seen.config.label, seen.history.labels
    if config.column is None or sum(known.values()) < config.after_documents:
        return
    for row, (record, document) in enumerate(zip(seen.records, seen.documents, strict=True)):
        label = _label(document, seen.config)
        if label is not None and label not in known:
            yield Finding("label", f"no accepted document has this {config.column}", row, record.place)


def _bin(text: str) -> int:
    return round(_PER_DOUBLING * math.log2(len(text.split()) + 1))


def _label(document: Document, config: Screen) -> str | None:
    """Hash of the masked label; None where there is none."""
    column = config.label.column
    if column is None or document.withdrawn:
        return None
    return sha256([column, document.title if column == "title" else document.source])[:16]


def _robust(counts: Mapping[int, int]) -> tuple[float, float]:
    """Median and median absolute deviation; the latter at least one bin, or a uniform past would make every text an outlier."""
    median = _median(counts)
    spread: Counter[int] = Counter()
    for place, count in counts.items():
        spread[abs(place - median)] += count
    return median, max(1.0, _median(spread))


def _median(counts: Mapping[int, int]) -> int:
    half, passed = sum(counts.values()) / 2, 0
    for place in sorted(counts):
        passed += counts[place]
        if passed >= half:
            return place
    return 0
