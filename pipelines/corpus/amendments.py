"""Folds what arrivals state into intervals of validity, so that any order of arrival ends in the same state.

What is kept per key is the set of statements "from this day, this text". A statement that only repeats the text in force is not stored
again; it is remembered as a restatement of the row that holds the text. That memory is what makes the order irrelevant: when a text
arrives late that took effect between the two, the repetition becomes a row of its own again.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from pipelines.corpus.chain import part_of
from pipelines.corpus.documents import FOREVER, Document

_NUMBERED = re.compile(r"\d{4}-\d+(_\d+)?")


@dataclass(frozen=True, slots=True)
class Restated:
    """A later statement of the same text: from which day, by which source and arrival."""

    valid_from: str
    source: str
    arrival_id: str


@dataclass(frozen=True, slots=True)
class Row:
    """A stored document and the statements that only repeat it, by date."""

    document: Document
    restated: tuple[Restated, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Folded:
    """The whole new state, the keys whose rows differ from before, and what became of each delivered document."""

    rows: list[Row]
    touched: set[str]
    changed: dict[str, int]
    """Counts of added, superseded, withdrawn, unchanged."""


def fold(state: Iterable[Row], arriving: Iterable[Document]) -> Folded:
    """The state after an arrival. Where two sources state a text from the same day, the newer source stands (see `_newer`)."""
    before: dict[str, list[Row]] = {}
    for row in state:
        before.setdefault(row.document.key, []).append(row)
    by_key: dict[str, list[Document]] = {}
    for document in arriving:
        by_key.setdefault(document.key, []).append(document)

    changed: Counter[str] = Counter(added=0, superseded=0, withdrawn=0, unchanged=0)
    after = dict(before)
    for key, documents in by_key.items():
        statements = {one.valid_from: one for row in before.get(key, []) for one in _unpack(row)}
        for document in sorted(documents, key=lambda one: one.valid_from):
            changed[_state_one(statements, document)] += 1
        after[key] = _pack(statements)
    touched = {key for key in by_key if after[key] != before.get(key)}
    rows = [row for key in sorted(after) for row in after[key]]
    return Folded(rows, touched, dict(changed))


def replaced(folded: Folded, parts: dict[str, list[Document]], delivered: int) -> Folded:
    """The same state with whole parts replaced by what their chain's replay gives; `delivered` documents of this arrival are of the chain.

    Counts are of rows that are new: a text that follows another supersedes it.
    """
    before = {key: [row.document for row in rows] for key, rows in _by_key(folded.rows, parts).items()}
    after: dict[str, list[Document]] = {}
    for row in sorted((row for rows in parts.values() for row in rows), key=lambda one: (one.key, one.valid_from)):
        after.setdefault(row.key, []).append(row)
    touched = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
    changed = Counter(folded.changed)
    for key in touched:
        known = {(row.valid_from, row.content, row.withdrawn) for row in before.get(key, [])}
        for index, row in enumerate(after.get(key, [])):
            if (row.valid_from, row.content, row.withdrawn) not in known:
                follows = index > 0 and not after[key][index - 1].withdrawn
                changed["withdrawn" if row.withdrawn else "superseded" if follows else "added"] += 1
    new = sum(changed[name] - folded.changed[name] for name in ("added", "superseded", "withdrawn"))
    changed["unchanged"] += max(0, delivered - new)
    kept = [row for row in folded.rows if part_of(row.document.key) not in parts]
    rows = sorted(
        [*kept, *(Row(row) for rows in after.values() for row in rows)], key=lambda one: (one.document.key, one.document.valid_from)
    )
    return Folded(rows, folded.touched | touched, dict(changed))


def _by_key(rows: Iterable[Row], parts: Iterable[str]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        if part_of(row.document.key) in parts:
            found.setdefault(row.document.key, []).append(row)
    return found


def _state_one(statements: dict[str, Document], document: Document) -> str:
    """Add one statement; says what it did."""
    there = statements.get(document.valid_from)
    if there is not None and _same(there, document):
        # Same day, same text. A newer source still counts, or it would not stand against what lies between the two.
        if _newer(document.source, there.source):
            statements[document.valid_from] = document
        return "unchanged"
    if there is not None and _newer(there.source, document.source):
        return "unchanged"
    earlier = max((day for day in statements if day < document.valid_from), default=None)
    before = there or (statements[earlier] if earlier is not None else None)
    statements[document.valid_from] = document
    if before is not None and _same(before, document):
        return "unchanged"
    if document.withdrawn:
        return "withdrawn"
    return "superseded" if before is not None and not before.withdrawn else "added"


def _same(one: Document, other: Document) -> bool:
    return one.content == other.content and one.withdrawn == other.withdrawn


def _newer(one: str, other: str) -> bool:
    """Whether document number `one` was published after `other`. Sources without a number cannot tell: the later delivery stands."""
    if not (_NUMBERED.fullmatch(one) and _NUMBERED.fullmatch(other)):
        return False
    return [int(part) for part in re.findall(r"\d+", one)] > [int(part) for part in re.findall(r"\d+", other)]


def _unpack(row: Row) -> list[Document]:
    """The statements behind a row."""
    again = (replace(row.document, valid_from=one.valid_from, source=one.source, arrival_id=one.arrival_id) for one in row.restated)
    return [row.document, *again]


def _pack(statements: dict[str, Document]) -> list[Row]:
    """One row per run of equal texts, each closed by the day on which the next one begins."""
    runs: list[list[Document]] = []
    for day in sorted(statements):
        if runs and _same(runs[-1][0], statements[day]):
            runs[-1].append(statements[day])
        else:
            runs.append([statements[day]])
    ends = [run[0].valid_from for run in runs[1:]] + [FOREVER]
    return [
        Row(
            document=replace(run[0], valid_to=end),
            restated=tuple(Restated(one.valid_from, one.source, one.arrival_id) for one in run[1:]),
        )
        for run, end in zip(runs, ends, strict=True)
    ]
