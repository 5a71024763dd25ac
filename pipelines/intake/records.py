"""What a reader yields: a record, or a refusal with its reason and place. Neither ends the file it comes from."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date


@dataclass(frozen=True, slots=True)
class RawRecord:
    """One text as delivered, not masked yet: before masking it must not leave memory and the landing zone."""

    key: str
    title: str
    text: str
    valid_from: str
    """ISO date."""
    source: str
    withdrawn: bool
    subjects: tuple[str, ...]
    """Values of the columns that name the person the record is about; together they name one person."""
    place: str
    """Where in the file: a row, a paragraph label. Never a value."""
    replaces_below: bool = False
    """An amendment that stands for its whole subtree: what lies below the key and is not delivered with it is repealed."""
    keeps_heading: bool = False
    """A change of the content alone: the paragraph keeps the heading it has."""
    amends: str | None = None
    """Number of the source document that this record's file changes, `@date` added where the source tells two of one number apart; empty
    for a whole text; None where the source knows no such chain."""
    file: str = ""
    """Id of the delivered file it is from; no reader knows it."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Something that could not be taken, and why. Holds no delivered value: it goes to the ledger."""

    place: str
    reason: str


def at(where: str, inner: str) -> str:
    """A place inside a place."""
    return f"{where}, {inner}" if where and inner else where or inner


def one_line(text: str) -> str:
    """Runs of white space as one space."""
    return " ".join(text.split())


def iso_date(value: str) -> str:
    """The value, if it is a calendar date written YYYY-MM-DD; ValueError otherwise."""
    if len(value) != 10 or date.fromisoformat(value).isoformat() != value:
        raise ValueError("not a date written YYYY-MM-DD")
    return value
