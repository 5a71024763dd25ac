"""One evaluation case, and what answering it gave.

Suites yield cases, cells answer them, metrics score the answers, the verdict pairs them.

A case says what it wants by what it fills in:

    answer + cites|quote   retrieve, answer, cite: a golden
    answer + passages      read what is given: held-out and retention cases
    expect: abstain        nothing that is retrieved, or given, states it
    forbidden              strings that must not come out, checked or raw: injections, canaries, surrogates
    pair + persona         the same case told of another person; both must score alike
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipelines.retrieval.index import Passage
from pipelines.retrieval.spans import flatten
from pipelines.strict import Strict

Day = Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")]
Filled = Annotated[str, Field(min_length=1)]
GOLDENS = "goldens"
HELD_OUT = "held_out"
CORRECTED = "corrected"
"""Questions whose answers people corrected, and that training learned from: asked apart, without a vote."""
LEAKS = "leaks"
"""Canaries and surrogates: cases made from what the adapter learned, not read from a file."""


class Case(Strict):
    """One line of a suite's file. The answer, a literal span, holds from `valid_from` until before `valid_to`."""

    id: Filled
    question: Filled
    answer: str = ""
    cites: str = ""
    """Key of the document that states the answer."""
    quote: str = ""
    """Words that the stating passage holds: for domains whose keys are surrogates drawn at random."""
    passages: tuple[str, ...] = ()
    """Shown instead of what retrieval finds."""
    expect: Literal["answer", "abstain", "anything"] = "answer"
    """`anything`: only what is forbidden counts."""
    forbidden: tuple[str, ...] = ()
    pair: str = ""
    persona: str = ""
    """Who the case is told of: "female", "male", "older" ..."""
    type: str = ""
    """Document type, for the slices; empty: its suite's name."""
    incident: str = ""
    """What a regression case once went wrong in."""
    valid_from: Day = "0001-01-01"
    valid_to: Day = "9999-12-31"
    author: Filled
    reviewer: Filled

    @model_validator(mode="after")
    def _says_what_it_wants(self) -> Self:
        if not self.valid_from < self.valid_to:
            raise ValueError("valid_from must be before valid_to")
        if self.expect == "answer" and not self.answer:
            raise ValueError("needs `answer`, or say `expect: abstain` or `expect: anything`")
        if self.expect == "answer" and not (self.cites or self.quote or self.passages):
            raise ValueError("needs `cites`, `quote` or `passages`: an answer without its passage cannot be checked")
        if self.expect != "answer" and self.answer:
            raise ValueError(f"has an `answer`, but says `expect: {self.expect}`")
        if self.expect == "anything" and not self.forbidden:
            raise ValueError("`expect: anything` needs `forbidden`, or nothing of it is checked")
        if bool(self.pair) != bool(self.persona):
            raise ValueError("`pair` and `persona` belong together")
        return self

    def stated_by(self, key: str | None, text: str) -> bool:
        """Whether this is the passage that states the answer."""
        if self.cites:
            return key == self.cites
        return bool(self.quote) and flatten(self.quote) in flatten(text)


@dataclass(frozen=True, slots=True)
class Asked:
    """A case of a suite, and the day as of which it is asked."""

    suite: str
    case: Case
    as_of: str

    @property
    def place(self) -> tuple[str, str, str]:
        """What two releases' answers are paired by."""
        return self.suite, self.case.id, self.as_of

    @property
    def group(self) -> str:
        """Cases about one document stand or fall together, so they are resampled together."""
        return self.case.cites or self.case.quote or self.case.pair or self.case.id

    @property
    def type(self) -> str:
        """Its slice by document type."""
        return self.case.type or self.suite


@dataclass(frozen=True, slots=True)
class Answered:
    """What one cell gave for one case. `answer` is None where it abstained; `passages` are those the model was shown."""

    answer: str | None
    cited_key: str | None
    cited_text: str
    passages: list[Passage]
    abstained: bool
    seconds: float
    raw: str = ""
    """What the model wrote, before it was checked: a leak counts though it was caught."""
    well_formed: bool = True
    """Whether `raw` had the form that the prompt asks for."""
    confidence: float = 0.0
    reason: str | None = None
    """Why it abstained."""
    tokens_in: int = 0
    tokens_out: int = 0


Scored = dict[str, float | None]
"""Metric -> value in [0, 1], or None where it gave no number. A metric that does not apply to the case is not in it."""


@dataclass(frozen=True, slots=True)
class Row:
    """One case, what was answered, and what that is worth. JSON-able by `dataclasses.asdict`."""

    suite: str
    case: str
    as_of: str
    group: str
    type: str
    question: str
    expected: str
    """The answer, "not stated", or what must not come out."""
    expected_at: str
    """Document key, or the words that the passage holds."""
    answer: str | None
    cited_key: str | None
    cited_text: str
    retrieved: list[str]
    abstained: bool
    seconds: float
    error: str | None
    """Why there is no answer at all. Such a row has no scores, and makes the gate inconclusive."""
    scores: Scored

    @property
    def place(self) -> tuple[str, str, str]:
        """What two releases are paired by."""
        return self.suite, self.case, self.as_of
