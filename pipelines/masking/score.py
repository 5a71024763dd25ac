"""Recall and precision of found spans against labelled ones, by characters: what the coverage gate, the tests and the bench count with.

A labelled span is found when nine tenths of its characters are masked, whatever name the mask has: a card number masked as an account is
not a leak. A found span is right when half of its characters lie in labelled spans of a kind that it may stand for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

Span = tuple[int, int, str]
FOUND_AT: Final = 0.9
RIGHT_AT: Final = 0.5


@dataclass(slots=True)
class Score:
    """Counts by kind: labelled and found of the labelled kinds; claimed, right, and labelled as anything, of the found ones."""

    labelled: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)
    claimed: Counter[str] = field(default_factory=Counter)
    right: Counter[str] = field(default_factory=Counter)
    labelled_at_all: Counter[str] = field(default_factory=Counter)

    def recall(self) -> dict[str, float]:
        """Share of the labelled spans that were found, by labelled kind."""
        return {kind: self.found[kind] / count for kind, count in sorted(self.labelled.items())}

    def precision(self) -> dict[str, float]:
        """Share of the found spans that were right, by found kind."""
        return {kind: self.right[kind] / count for kind, count in sorted(self.claimed.items())}

    def no_false_alarm(self) -> dict[str, float]:
        """Share of the found spans that lie on something labelled, be it of another kind (a firm taken for a person), by found kind."""
        return {kind: self.labelled_at_all[kind] / count for kind, count in sorted(self.claimed.items())}

    def add(self, labelled: Iterable[Span], found: Iterable[Span], meaning: Mapping[str, frozenset[str]] | None = None) -> None:
        """Counts one text. `meaning` says for a found kind which labelled kinds it may stand for; by default the same name."""
        found = list(found)
        masked = {n for start, end, _ in found for n in range(start, end)}
        kind_at: dict[int, str] = {}
        for start, end, kind in labelled:
            self.labelled[kind] += 1
            self.found[kind] += sum(n in masked for n in range(start, end)) >= FOUND_AT * (end - start)
            kind_at |= dict.fromkeys(range(start, end), kind)
        for start, end, kind in found:
            right = (meaning or {}).get(kind, frozenset({kind}))
            self.claimed[kind] += 1
            self.labelled_at_all[kind] += sum(n in kind_at for n in range(start, end)) >= RIGHT_AT * (end - start)
            self.right[kind] += sum(kind_at.get(n) in right for n in range(start, end)) >= RIGHT_AT * (end - start)
