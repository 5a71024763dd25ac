"""How a domain's arrivals are screened: `screen` in its file, every rule `off`, `report` or `hold`. See docs/contract.md."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from pipelines.strict import Share, Strict

Action = Literal["off", "report", "hold"]
"""`report`: the document goes on and the ledger says what was found. `hold`: it waits for a person."""


class Flood(Strict):
    """Many texts of one arrival that are nearly the same."""

    action: Action = "hold"
    similarity: float = Field(0.8, ge=0.8, le=1.0, description="Jaccard similarity of three-word shingles")
    documents: int = Field(25, ge=2, description="texts in one group of near-duplicates")
    share: Share = Field(0.2, description="of the arrival's texts")


class Length(Strict):
    """Texts far longer or shorter than those the domain has accepted."""

    action: Action = "report"
    deviations: float = Field(6.0, gt=0, description="distance from the median in scaled median absolute deviations, of log words")
    after_documents: int = Field(200, ge=1, description="accepted documents before the rule speaks")


class Label(Strict):
    """Labels that the domain has not met."""

    action: Action = "report"
    column: Literal["title", "source"] | None = Field(None, description="the column that holds a label; without one the rule is silent")
    after_documents: int = Field(200, ge=1, description="accepted documents before the rule speaks")


class Quota(Strict):
    """What one uploader may deliver to this domain on one day (UTC). An arrival that goes beyond is held as a whole."""

    action: Action = "hold"
    documents_per_day: int | None = Field(None, ge=1, description="none: no limit")
    mb_per_day: float | None = Field(None, gt=0, description="none: no limit")


class Duplicates(Strict):
    """Texts that the domain already holds under another key. Records of an amendment chain are never touched."""

    exact: Literal["off", "report", "link"] = Field("link", description="link: not stored again, the ledger names the key it equals")
    near: Literal["off", "report", "link"] = "report"
    similarity: float = Field(0.9, ge=0.8, le=1.0, description="Jaccard similarity of three-word shingles that counts as near")
    min_words: int = Field(20, ge=1, description="shorter texts repeat by nature and are never linked")


class Screen(Strict):
    """The rules, with defaults for a domain that says nothing."""

    instructions: Action = Field("hold", description="instructions to a language model inside the text")
    triggers: Action = Field("hold", description="control tokens of chat templates, and the phrases below")
    trigger_phrases: tuple[str, ...] = Field((), description="phrases that must not occur, whatever their case and spacing")
    encoding: Action = Field("hold", description="characters that hide or disguise text")
    flood: Flood = Flood()
    length: Length = Length()
    label: Label = Label()
    quota: Quota = Quota()
    duplicates: Duplicates = Duplicates()

    @field_validator("trigger_phrases")
    @classmethod
    def _phrases_say_something(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if short := next((phrase for phrase in value if len("".join(phrase.split())) < 3), None):
            raise ValueError(f"{short!r} is too short for a trigger phrase")
        return value

    def action(self, rule: str) -> Action:
        """What a rule's finding leads to."""
        value: Action | Flood | Length | Label | Quota = getattr(self, rule)
        return value if isinstance(value, str) else value.action
