"""Examples written by people or taken from feedback: JSON lines, each with its author, another person as reviewer, and what it rests on.

{"question": "...", "passages": ["..."], "answer": "...", "cited": 1, "made_by": "person", "author": "...", "reviewer": "...",
 "documents": [{"key": "1013-2-e", "content": "<sha256>"}]}
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipelines.config import DomainConfig, Settings
from pipelines.corpus.documents import FOREVER, Document
from pipelines.errors import ConfigError
from pipelines.manifest import sha256
from pipelines.parsing import read_lines
from pipelines.strict import Strict
from pipelines.training.example import Example, Kind
from pipelines.training.prompt import flatten

Filled = Annotated[str, Field(min_length=1)]


class Version(Strict):
    """A document version: its key and content hash, as `examples.parquet` and the warehouse give them."""

    key: Filled
    content: str = Field(pattern=r"^[0-9a-f]{64}$")


class Written(Strict):
    """One line."""

    passages: tuple[Filled, ...] = Field(min_length=1)
    question: str = ""
    answer: str | None = None
    cited: int | None = Field(None, ge=1)
    documents: tuple[Version, ...] = ()
    made_by: Literal["person", "feedback"] = "person"
    author: Filled
    reviewer: Filled

    @model_validator(mode="after")
    def _two_people(self) -> Self:
        if self.author == self.reviewer:
            raise ValueError("author and reviewer are the same: another person must have read it")
        return self

    def fault(self, kind: Kind) -> str | None:
        """Why this cannot be an example of the domain's task."""
        if kind != "grounded_extraction":
            return None if self.answer and self.answer.strip() else "needs an answer"
        if not self.question.strip() or not self.documents:
            return "needs a question, and the document versions that its passages are of"
        if (self.answer is None) != (self.cited is None):
            return "an answer needs the passage it cites, and a citation an answer; both are left out where no passage states it"
        if self.answer is not None and self.cited is not None:
            if self.cited > len(self.passages):
                return f"cites passage {self.cited} of {len(self.passages)}"
            if not self.answer.strip() or flatten(self.answer) not in flatten(self.passages[self.cited - 1]):
                return "the answer must stand, word for word, in the passage it cites"
        return None


@dataclass(frozen=True, slots=True)
class Sorted:
    """A file's examples by what may be done with them; left out ones with the reason."""

    usable: list[Example]
    suspended: dict[str, str]
    """Rest on a text that another one has replaced."""
    barred: dict[str, str]
    """Rest on a document that is kept for evaluation, or ask what a golden asks."""


def path_of(settings: Settings, domain: DomainConfig) -> Path | None:
    """The domain's file; None where it names none and the usual one does not exist. ConfigError for a named file that is missing."""
    named = domain.examples.people
    path = settings.configs / (named or Path("examples") / f"{domain.domain}.jsonl")
    if path.is_file():
        return path
    if named is not None:
        raise ConfigError("there is no such file of examples", where=str(path), todo="see examples.people in the domain file")
    return None


def load(path: Path, kind: Kind) -> list[Example]:
    """All examples of a file. ConfigError names the line."""
    made: list[Example] = []
    for where, written in read_lines(Written, path, path.name):
        if (fault := written.fault(kind)) is not None:
            raise ConfigError(fault, where=where, todo="mend the line")
        made.append(_example(written, kind))
    return made


def sort(made: Iterable[Example], documents: Iterable[Document], kept_away: Mapping[str, str], asked: set[str]) -> Sorted:
    """What may be trained on in this version. `kept_away`: why, by key, a document is not; `asked`: the goldens' questions."""
    newest = {row.key: row.content for row in documents if row.valid_to == FOREVER and not row.withdrawn and not row.erased}
    found = Sorted([], {}, {})
    for example in made:
        away = next((key for key in example.documents if key in kept_away), None)
        old = next((key for key, content in zip(example.documents, example.contents, strict=True) if newest.get(key) != content), None)
        if away is not None:
            found.barred[example.id] = f"{away} is {kept_away[away]}"
        elif flatten(example.question) in asked:
            found.barred[example.id] = "asks what a golden asks"
        elif old is not None:
            found.suspended[example.id] = f"{old} has another text now" if old in newest else f"{old} is not in force any more"
        else:
            found.usable.append(example)
    return found


def _example(written: Written, kind: Kind) -> Example:
    passages = tuple(map(flatten, written.passages))
    answer = None if written.answer is None else flatten(written.answer) if kind == "grounded_extraction" else written.answer.strip()
    return Example(
        id=sha256([written.made_by, kind, passages, written.question, answer, written.cited])[:16],
        passages=passages,
        question=flatten(written.question),
        answer=answer,
        cited=written.cited,
        rule=written.made_by,
        documents=tuple(one.key for one in written.documents),
        contents=tuple(one.content for one in written.documents),
        kind=kind,
        author=written.author,
        reviewer=written.reviewer,
    )
