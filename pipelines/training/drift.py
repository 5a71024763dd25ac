"""How far a dataset version has moved from the one an adapter learned from: its words, and the shapes of text that question rules fit.

A profile is counts alone (words by hashed bucket, documents by rule), so that it holds no text and follows from an earlier one by the
rows that changed.

Does not cover meaning: the same words in another order do not drift. Digits are left out: figures change every year and travel by index.
"""

from __future__ import annotations

import json
import math
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

from pipelines.config import QuestionRule
from pipelines.corpus.documents import Document
from pipelines.manifest import sha256
from pipelines.training.prompt import flatten
from pipelines.writing import write_json

VERSION = 1
"""Raise when the same documents would give another profile."""

BUCKETS = 4096
Key = TypeVar("Key", int, str)
_WORD = re.compile(r"[^\W\d_]+")


@dataclass(frozen=True, slots=True)
class Profile:
    """Counts over the documents that can be read."""

    words: dict[int, int]
    """Words by CRC-32 modulo 4096."""
    shapes: dict[str, int]
    """Documents by the question rule that fits them (`task.rules[0]`); those of no rule under the empty name."""

    def after(self, *, gone: Profile, come: Profile) -> Profile:
        """The profile once some documents went and others came."""
        return Profile(_shifted(self.words, gone.words, come.words), _shifted(self.shapes, gone.shapes, come.shapes))


def profile(documents: Iterable[Document], rules: Sequence[QuestionRule]) -> Profile:
    """Count words and shapes. A document may fit several rules and counts once for each."""
    patterns = [(f"task.rules[{index}]", re.compile(rule.pattern)) for index, rule in enumerate(rules)]
    words: Counter[int] = Counter()
    shapes: Counter[str] = Counter()
    for document in documents:
        if document.withdrawn or document.erased:
            continue
        words.update(zlib.crc32(word.encode()) % BUCKETS for word in _WORD.findall(document.text.lower()))
        line = flatten(document.text)
        shapes.update([name for name, pattern in patterns if pattern.search(line)] or [""])
    return Profile(dict(words), dict(shapes))


def divergence(one: dict[int, int], other: dict[int, int]) -> float:
    """Jensen-Shannon divergence of two counts in bits, from 0 (same shares) to 1 (nothing in common); 0 where one of them is empty.

    H(M) - (H(P) + H(Q)) / 2 with M = (P + Q) / 2 and H Shannon's entropy to base 2: J. Lin, "Divergence measures based on the Shannon
    entropy", IEEE Transactions on Information Theory 37 (1991). Words that share a bucket can only lower it.
    """
    first, second = sum(one.values()), sum(other.values())
    if not first or not second:
        return 0.0
    total = 0.0
    for bucket in one.keys() | other.keys():
        p, q = one.get(bucket, 0) / first, other.get(bucket, 0) / second
        middle = (p + q) / 2
        total += sum(share / 2 * math.log2(share / middle) for share in (p, q) if share)
    return min(1.0, max(0.0, total))


def cached(folder: Path, content: str, rules: Sequence[QuestionRule], make: Profile | None = None) -> Profile | None:
    """The profile kept for a state of documents and rules, if there is one; `make` is kept where there is none."""
    path = folder / f"{sha256([VERSION, content, [rule.pattern for rule in rules]])[:32]}.json"
    if path.is_file():
        kept = json.loads(path.read_text(encoding="utf-8"))
        return Profile({int(bucket): count for bucket, count in kept["words"].items()}, kept["shapes"])
    if make is not None:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(path, asdict(make))
    return make


def _shifted(now: dict[Key, int], less: dict[Key, int], more: dict[Key, int]) -> dict[Key, int]:
    counts = Counter(now)
    counts.subtract(less)
    counts.update(more)
    return {key: count for key, count in counts.items() if count > 0}
