"""Evaluation questions with known answers: JSON lines, written by one person, reviewed by another, never trained on."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Self, TypeVar

from pydantic import model_validator

from pipelines.config import PROJECT
from pipelines.errors import ConfigError
from pipelines.evaluation.cases import Case, Day, Filled
from pipelines.parsing import read_lines

Kind = TypeVar("Kind", bound=Case)


class Golden(Case):
    """A question, its answer as a literal span, and the passage that states it: by document key (`cites`), or by words it holds (`quote`).

    `quote` serves where keys are surrogates drawn at random. The answer holds from `valid_from` until before `valid_to`.
    """

    answer: Filled
    valid_from: Day

    @model_validator(mode="after")
    def _says_what_it_wants(self) -> Self:
        if not self.cites and not self.quote:
            raise ValueError("needs `cites` or `quote`: an answer without its passage cannot be checked")
        if self.passages:
            raise ValueError("has `passages`: a golden is asked of what retrieval finds; cases on given text go into a suite")
        return super()._says_what_it_wants()  # type: ignore[no-any-return, operator]


def load(path: Path) -> list[Golden]:
    """All goldens of a file; a relative path starts at the project. ConfigError names the line."""
    return read(Golden, path, "goldens", "see gate.goldens in the domain file")


def read(kind: type[Kind], path: Path, called: str, todo: str) -> list[Kind]:
    """All cases of a file, ids unique; a relative path starts at the project. ConfigError names the line, or the file that is missing."""
    place = PROJECT / path
    if not place.is_file():
        raise ConfigError(f"there is no such file of {called}", where=str(path), todo=todo)
    cases: dict[str, Kind] = {}
    for where, case in read_lines(kind, place, str(path)):
        if case.id in cases:
            raise ConfigError(f"the id {case.id!r} is taken", where=where, todo="give every case an id of its own")
        cases[case.id] = case
    return list(cases.values())


def applicable(cases: Sequence[Kind], known_on: str) -> list[tuple[Kind, str]]:
    """The cases whose answer is known by that day, each with the day as of which to ask.

    That is the last day on which the answer holds, but never later than `known_on`.
    """
    return [(case, _ask_as_of(case, known_on)) for case in cases if case.valid_from <= known_on]


def _ask_as_of(case: Case, known_on: str) -> str:
    last = date.fromisoformat(case.valid_to) - timedelta(days=1)
    return min(last.isoformat(), known_on)
