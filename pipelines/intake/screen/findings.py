"""What the rules look at, and what they find. A finding says where and why, never what stands there: it goes to the ledger."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pipelines.corpus.documents import Document
from pipelines.intake.records import RawRecord
from pipelines.screen_config import Screen

Part = Literal["title", "text", ""]


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule against one record, or against the arrival where `row` is None."""

    rule: str
    reason: str
    row: int | None = None
    place: str = ""
    part: Part = ""
    start: int = 0
    end: int = 0
    """Characters of the part as delivered."""

    def words(self) -> str:
        """For the ledger: `encoding: a zero-width character (text, 12-13)`."""
        return f"{self.rule}: {self.reason}" + (f" ({self.part}, {self.start}-{self.end})" if self.part else "")


@dataclass(frozen=True, slots=True)
class History:
    """What the domain has accepted so far, as counts: documents by bin of length and by label."""

    lengths: dict[int, int] = field(default_factory=dict)
    labels: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Usage:
    """What the uploader delivered on the arrival's day: before it, and with it."""

    documents: int = 0
    size: int = 0
    """Bytes."""


@dataclass(frozen=True, slots=True)
class Seen:
    """An arrival: its records as delivered, their masked documents (both on disk, read in order), and what the domain knows from before."""

    records: Sequence[RawRecord]
    documents: Sequence[Document]
    config: Screen
    history: History = History()
    usage: Usage = Usage()


Rule = Callable[[Seen], Iterator[Finding]]
"""Yields findings of its own name only."""
Spans = Callable[[str, Screen], Iterator[tuple[int, int, str]]]
"""Start, end and reason of what a rule finds in one text."""


def each(rule: str, spans: Spans) -> Rule:
    """A rule about the arrival, made from one about a text."""

    def find(seen: Seen) -> Iterator[Finding]:
        for row, record in enumerate(seen.records):
            parts: tuple[tuple[Part, str], ...] = (("title", record.title), ("text", record.text))
            for part, text in parts:
                for start, end, reason in spans(text, seen.config):
                    yield Finding(rule, reason, row, record.place, part, start, end)

    return find
