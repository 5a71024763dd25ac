"""Corrections that people accepted, as they travel through a domain's dataset versions: documents of their own, beside its texts.

    key      feedback.<kind>.<fingerprint of the question>
    title    the question
    text     the answer, word for word as a passage states it, or `not stated`
    source   key of the document that it rests on

They are versioned, encrypted and erased like any document, and no text: no index holds one, no plan counts them as new text. An `example`
is trained on, and the gate asks it apart; a `golden` or a `regression` case is asked by the gate and kept from training, with what it rests
on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from pipelines.corpus.documents import FOREVER, Document

Kind = Literal["example", "golden", "regression"]
PREFIX = "feedback."
SOURCE = "feedback"
"""What the seal of their arrival says it is from."""
FILE = "corrections.jsonl"
NOT_STATED = "not stated"
_LETTERS = 16


@dataclass(frozen=True, slots=True)
class Correction:
    """One that is in force."""

    key: str
    kind: Kind
    question: str
    answer: str | None
    """None: nothing states it."""
    cites: str
    """Key of the document that states the answer, or, without one, of that which was shown."""
    valid_from: str


def key_of(kind: Kind, fingerprint: str) -> str:
    """The key of a question's correction."""
    return f"{PREFIX}{kind}.{fingerprint[:_LETTERS]}"


def is_one(key: str) -> bool:
    """Whether a document of this key is a correction."""
    return key.startswith(PREFIX)


def fingerprint_of(key: str) -> str:
    """The beginning of the fingerprint that the key was made of."""
    return key.rpartition(".")[2]


def texts(documents: Iterable[Document]) -> list[Document]:
    """The documents that are no corrections."""
    return [row for row in documents if not is_one(row.key)]


def of(documents: Sequence[Document]) -> list[Correction]:
    """The corrections in force, by key; what was withdrawn or erased is not among them."""
    found = []
    for row in documents:
        kind = row.key.removeprefix(PREFIX).partition(".")[0]
        if is_one(row.key) and kind in get_args(Kind) and row.valid_to == FOREVER and not row.withdrawn and not row.erased:
            answer = None if row.text.strip() == NOT_STATED else row.text
            found.append(Correction(row.key, kind, row.title, answer, row.source, row.valid_from))  # type: ignore[arg-type]
    return sorted(found, key=lambda one: one.key)
