"""The document: one text with a stable key, a content hash and the dates between which it holds.

A later text of the same key closes the earlier one by the source's own dates, whatever the order in which the two were delivered.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

from pipelines.manifest import sha256
from pipelines.writing import canonical

FOREVER = "9999-12-31"
"""`valid_to` of a text that is still in force."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """The encrypted title and text of a document whose domain is not public, as they are stored."""

    content: str
    """Hash of what was encrypted: another title or text needs another encryption."""
    data: bytes
    wrapped: bytes
    """The document's own key, under the keys of its subjects."""


@dataclass(frozen=True, slots=True)
class Document:
    """One row of a dataset version. Dates are ISO `YYYY-MM-DD`, so that they compare as text."""

    key: str
    """Paragraph label ("9013-2-e-Interp-9-v"), or a surrogate where the domain is not public."""
    title: str
    text: str
    """Masked. Empty where `withdrawn`."""
    content: str
    """SHA-256 of key, title and text."""
    valid_from: str
    """Inclusive."""
    valid_to: str
    """Exclusive."""
    arrival_id: str
    source: str
    """Number of the source document ("2013-28194"), or empty."""
    withdrawn: bool
    """The key is repealed from `valid_from` on."""
    subjects: tuple[str, ...] = ()
    """Random ids of the record's subjects in the key store; empty where the domain is public."""
    erased: bool = False
    """The key of a subject was destroyed: neither title nor text can be read any more."""
    sealed: Sealed | None = field(default=None, compare=False, repr=False)

    def holds(self, day: str) -> bool:
        """Whether this is the text of its key on that day."""
        return self.valid_from <= day < self.valid_to and not self.withdrawn and not self.erased


def document(
    *,
    key: str,
    title: str,
    text: str,
    valid_from: str,
    arrival_id: str,
    source: str = "",
    withdrawn: bool = False,
    valid_to: str = FOREVER,
    subjects: tuple[str, ...] = (),
) -> Document:
    """A document with its content hash. The warehouse sets `valid_to`, from the documents that follow it."""
    return Document(
        key=key,
        title=title,
        text=text,
        content=content_of(key, title, text),
        valid_from=valid_from,
        valid_to=valid_to,
        arrival_id=arrival_id,
        source=source,
        withdrawn=withdrawn,
        subjects=subjects,
    )


def content_of(key: str, title: str, text: str) -> str:
    """SHA-256 of what a reader sees."""
    return sha256([key, title, text])


Place = tuple[str, str, str]
"""Key, valid-from date and content hash: what a state is told apart by."""

_LANES = 1024


def state_of(documents: Iterable[Document]) -> str:
    """Hash of the set of (key, valid_from, content): equal for equal states, however they came about."""
    return digest(lanes((row.key, row.valid_from, row.content) for row in documents))


def lanes(places: Iterable[Place]) -> bytes:
    """The set as LtHash16: 1024 sums modulo 2^16 over each member's 2048 bytes of SHAKE256.

    Sums can be taken away again and do not know an order, so that a state's hash follows from the one before and the rows that changed.
    A plain sum of 256-bit hashes would do that too, but colliding sets are found for it in 2^32 steps (Wagner's generalised birthday);
    for LtHash16 some 2^200 are known (Lewi, Kim, Maykov and Weis, "Securing Update Propagation with Homomorphic Hashing", 2019).
    """
    import numpy as np

    total = np.zeros(_LANES, dtype="<u2")
    for place in places:
        total += np.frombuffer(hashlib.shake_256(canonical(place)).digest(2 * _LANES), dtype="<u2")
    return bytes(total)


def shifted(state: bytes, *, less: bytes, more: bytes) -> bytes:
    """The lanes of a state after some rows went and others came."""
    import numpy as np

    one, two, three = (np.frombuffer(value, dtype="<u2") for value in (state, less, more))
    return bytes(one - two + three)


def digest(state: bytes) -> str:
    """The hash by which lanes are named."""
    return sha256(state)


def as_of(documents: Iterable[Document], day: str) -> list[Document]:
    """What holds on a day."""
    return [row for row in documents if row.holds(day)]


def faults(documents: Iterable[Document]) -> list[str]:
    """Everything that must not be in a dataset version, one line each; empty when it is sound. Names keys, never text.

    Of each document only its key and dates are kept in memory.
    """
    found: list[str] = []
    by_key: dict[str, list[tuple[str, str]]] = {}
    for row in documents:
        by_key.setdefault(row.key, []).append((row.valid_from, row.valid_to))
        if not row.erased and row.content != content_of(row.key, row.title, row.text):
            found.append(f"{row.key}: the content hash is wrong")
        if row.withdrawn and row.text:
            found.append(f"{row.key}: withdrawn, but it has a text")
        if not row.withdrawn and not row.erased and not row.text.strip():
            found.append(f"{row.key}: the text is empty")
        if not row.valid_from < row.valid_to:
            found.append(f"{row.key}: holds from {row.valid_from} to {row.valid_to}")
    for key, days in by_key.items():
        for (begin, end), (next_begin, _) in pairwise(sorted(days)):
            if begin == next_begin:
                found.append(f"{key}: two texts from {begin}")
            elif end > next_begin:
                found.append(f"{key}: the text of {begin} overlaps that of {next_begin}")
    return found
