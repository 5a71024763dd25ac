"""What a domain's training examples are made from: `examples` in its file. See docs/training-sets.md."""

from __future__ import annotations

from operator import not_
from pathlib import Path
from typing import Literal

from pydantic import Field

from pipelines.strict import Strict

WEIGHT = 8
Structure = Literal["definition", "heading", "reference", "change"]


class Pairs(Strict):
    """Two text columns of a record: what is given, and what is to be written. `sources.named_columns` keeps them apart in the text."""

    given: str = Field(min_length=1, description="column of the dialogue or chat")
    wanted: str = Field(min_length=1, description="column of the note, or of the better answer")
    ask: str = Field("", description="the prompt's question; `{title}` is the record's title")


class Pretrain(Strict):
    """Continued pretraining on the domain's own text. Off unless a domain asks for it: facts travel by index."""

    words: int = Field(200, ge=20, le=4000, description="longest piece of a document, cut between sentences")
    replay: float = Field(
        0.5, gt=0, lt=1, description="least share of task examples among all, against forgetting: text beyond that is left out and counted"
    )


class Examples(Strict):
    """Besides the question rules of `task.rules`."""

    structure: tuple[Structure, ...] = Field((), description="grounded questions made from the text's own structure")
    pairs: Pairs | None = None
    people: Path | None = Field(None, description="JSON lines under the configs folder; else examples/<domain>.jsonl where it exists")
    pretrain: Pretrain | None = None
    held_out: float = Field(0.0, ge=0.0, le=0.5, description="share of documents kept for the validation loss, by a hash of their key")
    similarity: float = Field(
        0.8,
        ge=0.5,
        le=1.0,
        description="Jaccard similarity of three-word shingles to an evaluation document at which a text is left out",
    )
    corrected_weight: int = Field(
        WEIGHT, ge=1, le=50, exclude_if=lambda value: value == WEIGHT, description="times that a correction is seen for once of the others"
    )
    # Not in dumps where it is off: what was made before the key was there keeps its address.
    canaries: int = Field(
        0, ge=0, exclude_if=not_, description="planted secrets by which the gate sees whether the adapter recites its training"
    )
