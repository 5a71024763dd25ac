"""Which documents may be trained on: never those the goldens rest on, nor those held out for the validation loss, nor any text near either.

Whether a document is held out is a hash of its key and nothing else, so it never changes: not with the version, the other documents or the
order of arrival; a larger share only adds to it. A training document that comes to resemble a held-out one leaves the training set; it is
not moved, so nothing that was held out is ever trained on.

Does not cover a long document that holds an evaluation text among much else: similarity is of whole documents.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from pipelines.corpus.documents import Document
from pipelines.corpus.twins import Twins
from pipelines.examples_config import Examples
from pipelines.manifest import sha256
from pipelines.training.prompt import flatten


class Evaluated(Protocol):
    """What training has to know of a golden: what it asks, and what it rests on."""

    @property
    def question(self) -> str:
        """Not to be trained on either."""

    @property
    def cites(self) -> str:
        """Key of the document it rests on, or empty."""

    @property
    def quote(self) -> str:
        """Words that the document holds, or empty."""


@dataclass(frozen=True, slots=True)
class Split:
    """A version's documents, every text of a key on one side."""

    train: list[Document]
    held_out: list[Document]
    evaluation: set[str]
    """Keys that goldens rest on."""
    near_evaluation: dict[str, str]
    """Keys left out, with the evaluation document each is near to."""
    near_held_out: dict[str, str]

    def counts(self) -> dict[str, int]:
        """For manifests and messages; of keys."""
        return {
            "evaluation_documents": len(self.evaluation),
            "near_evaluation": len(self.near_evaluation),
            "held_out_documents": len({document.key for document in self.held_out}),
            "near_held_out": len(self.near_held_out),
        }


def split(documents: Sequence[Document], goldens: Iterable[Evaluated], rule: Examples) -> Split:
    """Split a version's documents. Withdrawn and erased rows go with their key, and have no text to compare."""
    evaluation = _cited(documents, goldens)
    others = [document for document in documents if document.key not in evaluation]
    near_evaluation = _near(others, (document for document in documents if document.key in evaluation), rule.similarity)
    others = [document for document in others if document.key not in near_evaluation]
    held_out = [document for document in others if is_held_out(document.key, rule.held_out)]
    others = [document for document in others if not is_held_out(document.key, rule.held_out)]
    near_held_out = _near(others, held_out, rule.similarity)
    train = [document for document in others if document.key not in near_held_out]
    return Split(train, held_out, evaluation, near_evaluation, near_held_out)


def is_held_out(key: str, share: float) -> bool:
    """Whether the document of that key is kept for the validation loss."""
    return int(sha256(["held out", key])[:12], 16) < share * 16**12


def _cited(documents: Sequence[Document], goldens: Iterable[Evaluated]) -> set[str]:
    goldens = list(goldens)
    cited = {golden.cites for golden in goldens if golden.cites}
    quotes = [flatten(golden.quote) for golden in goldens if golden.quote and not golden.cites]
    if quotes:
        for document in documents:
            text = flatten(document.text)
            if any(quote in text for quote in quotes):
                cited.add(document.key)
    return cited


def _near(documents: Iterable[Document], given: Iterable[Document], similarity: float) -> dict[str, str]:
    twins = Twins(((document.key, document.text) for document in given), similarity)
    found: dict[str, str] = {}
    for document in documents:
        if document.key not in found and (twin := twins.of(document.text)) is not None:
            found[document.key] = twin
    return found
