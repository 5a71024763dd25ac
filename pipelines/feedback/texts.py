"""What an item of the review queue holds in words, all of it masked, and how it lies in the control database."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import Field

from pipelines.config import DomainConfig, Settings
from pipelines.errors import NotFound
from pipelines.retrieval.spans import flatten
from pipelines.strict import Strict
from pipelines.traffic import sealed
from pipelines.traffic.samples import Sample, Shown

Passage = Shown
"""Here, what is shown is the whole item."""

HARVEST = "harvest"
"""Who raised an item that nobody complained about."""


class Said(Strict):
    """Somebody's words about an answer."""

    text: str
    by: str
    """`key:<name>`, `person:<pseudonym>`, or a reviewer's user name."""


class Turn(Strict):
    """One turn of a conversation that arrived as a file."""

    role: Literal["user", "assistant"]
    text: str


class Accepted(Strict):
    """What reviewers accepted."""

    answer: str | None = Field(description="None: nothing states it")
    cites: str | None = None
    passage: Passage | None = None
    author: str
    """Never the reviewer: see docs/feedback.md."""
    reviewer: str


class Text(Strict):
    """What `ReviewItem.sealed` holds."""

    question: str
    answer: str = Field(description="as the caller was told")
    span: str | None = Field(None, description="the answer alone, without its citation; None where there was none")
    as_of: str
    passages: tuple[Passage, ...] = ()
    cited: str | None = None
    suggested: str | None = Field(None, description="of `suggestions`, the one most callers made, the newest of equals")
    suggestions: tuple[Said, ...] = Field((), description="oldest first, one a caller")
    comments: tuple[Said, ...] = ()
    turns: tuple[Turn, ...] = ()
    raised_by: str = HARVEST
    accepted: Accepted | None = None

    def heard(self, by: str, suggestion: str | None, comment: str | None) -> Text:
        """The same with what this caller says now in place of what they said before."""
        suggestions = [one for one in self.suggestions if one.by != by] + ([Said(text=suggestion, by=by)] if suggestion else [])
        comments = [one for one in self.comments if one.by != by] + ([Said(text=comment, by=by)] if comment else [])
        counts = Counter(flatten(one.text) for one in suggestions)
        suggested = max(enumerate(suggestions), key=lambda numbered: (counts[flatten(numbered[1].text)], numbered[0]), default=(0, None))[1]
        return self.model_copy(
            update={
                "suggestions": tuple(suggestions[-50:]),
                "comments": tuple(comments[-50:]),
                "suggested": suggested.text if suggested is not None else None,
            }
        )


def of_sample(domain: DomainConfig, sample: Sample, raised_by: str = HARVEST) -> Text:
    """The text of an item about a kept answer."""
    return Text(
        question=tidy(domain, sample.question),
        answer=sample.answer,
        span=sample.span,
        as_of=sample.as_of,
        passages=sample.passages,
        cited=sample.cited,
        raised_by=raised_by,
    )


def tidy(domain: DomainConfig, question: str) -> str:
    """A question as it is learned from: on one line where the domain's prompt has it on one line."""
    return flatten(question) if domain.task.kind == "grounded_extraction" else question.strip()


def seal(settings: Settings, domain: DomainConfig, text: Strict, day: str) -> bytes:
    """What is stored of a text whose retention counts from `day` (ISO date). MaskingFailed once that day's key was destroyed."""
    return sealed.close(settings, domain, text.model_dump(mode="json"), day)


def unseal(settings: Settings, domain: str, stored: bytes | None) -> dict[str, Any]:
    """What `seal` was given. NotFound when the text is past its retention."""
    if not stored:
        raise NotFound("the text is past its retention and was taken away", where=domain, todo="see feedback.keep_days in the domain file")
    return sealed.read(settings, domain, stored)


def read(settings: Settings, domain: str, stored: bytes | None) -> Text:
    """An item's text. NotFound when it is past its retention."""
    return Text.model_validate(unseal(settings, domain, stored))


def day_of(at: datetime) -> str:
    """The UTC day under which a text of that moment is kept."""
    return at.astimezone(UTC).date().isoformat()
