"""Evaluation questions with known answers: JSON lines, written by one person, reviewed by another, never trained on."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from pipelines.config import PROJECT
from pipelines.errors import ConfigError
from pipelines.parsing import read_lines
from pipelines.strict import Strict

Day = Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")]
Filled = Annotated[str, Field(min_length=1)]


class Golden(Strict):
    """A question, its answer as a literal span, and the passage that states it: by document key (`cites`), or by words it holds (`quote`).

    `quote` serves where keys are surrogates drawn at random. The answer holds from `valid_from` until before `valid_to`.
    """

    id: Filled
    question: Filled
    answer: Filled
    cites: str = ""
    quote: str = ""
    valid_from: Day
    valid_to: Day = "9999-12-31"
    author: Filled
    reviewer: Filled

    @model_validator(mode="after")
    def _says_where(self) -> Self:
        if not self.cites and not self.quote:
            raise ValueError("needs `cites` or `quote`: an answer without its passage cannot be checked")
        if not self.valid_from < self.valid_to:
            raise ValueError("valid_from must be before valid_to")
        return self

    def stated_by(self, key: str | None, text: str) -> bool:
        """Whether this is the passage that states the answer."""
        if self.cites:
            return key == self.cites
        return " ".join(self.quote.split()) in " ".join(text.split())


def load(path: Path) -> list[Golden]:
    """All goldens of a file; a relative path starts at the project. ConfigError names the line."""
    place = PROJECT / path
    if not place.is_file():
        raise ConfigError("there is no such file of goldens", where=str(path), todo="see gate.goldens in the domain file")
    goldens: list[Golden] = []
    for where, golden in read_lines(Golden, place, str(path)):
        goldens.append(golden)
        if any(goldens[-1].id == earlier.id for earlier in goldens[:-1]):
            raise ConfigError(f"the id {goldens[-1].id!r} is taken", where=where, todo="give every golden an id of its own")
    return goldens


def applicable(goldens: list[Golden], known_on: str) -> list[tuple[Golden, str]]:
    """The goldens whose answer is known by that day, each with the day as of which to ask.

    That is the last day on which the answer holds, but never later than `known_on`.
    """
    return [(golden, _ask_as_of(golden, known_on)) for golden in goldens if golden.valid_from <= known_on]


def _ask_as_of(golden: Golden, known_on: str) -> str:
    last = date.fromisoformat(golden.valid_to) - timedelta(days=1)
    return min(last.isoformat(), known_on)
