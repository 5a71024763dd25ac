"""Grounded questions from the structure that regulations have: definitions, headings, cross-references, and what an amendment changed.

Every example is a function of its own document and of a few others that are drawn as distractors by their hashes, so that an arrival adds
examples and leaves the others as they were. Nothing is redrawn: these teach to find and to copy; the facts still travel by index.
"""

from __future__ import annotations

import bisect
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from typing import NamedTuple

from pipelines.config import DomainConfig
from pipelines.corpus.documents import FOREVER, Document
from pipelines.examples_config import Structure
from pipelines.manifest import sha256
from pipelines.retrieval.chunks import cite
from pipelines.training.example import Example
from pipelines.training.examples import FULL_SHARE, NOT_STATED_SHARE, Passage, cut
from pipelines.training.prompt import flatten

_MEANS = re.compile(
    r"(?:The terms? )?[\"“](?P<quoted>[^\"”]{2,60})[\"”],? (?:also )?means? (?P<meaning>[^.;]{8,300}[^.;\s])[.;]"
    r"|(?:(?<=\. )|^)(?P<bare>[A-Z][\w' -]{2,50}?) means (?P<said>[^.;]{8,300}[^.;\s])[.;]"
)
_PROVISION = re.compile(r"(?:§§? ?|\b[Ss]ections? |\b[Pp]aragraphs? |\b[Cc]omments? |\b[Aa]ppendix |\b[Pp]art )\(?\d*[\w.()-]*[\w)]")
_LEAD = 6
"""Words that are quoted before what is asked for: fewer seldom stand only once in a text."""
_CHANGED = 8
"""Longest answer of a change, in words."""


class _Asked(NamedTuple):
    """A question, its answer as a span of the passage, and words by which a passage gives the answer away."""

    passage: Passage
    question: str
    answer: str
    tell: str


def make(documents: Sequence[Document], domain: DomainConfig) -> Iterator[Example]:
    """Every question that the newest texts yield, in the order of their keys."""
    current = [row for row in documents if row.valid_to == FOREVER and not row.withdrawn and not row.erased]
    before: dict[str, Document] = {}
    for row in sorted(documents, key=lambda one: one.valid_from):
        if row.valid_to != FOREVER and not row.withdrawn and not row.erased:
            before[row.key] = row
    passages = cut(current, set(), domain.retrieval)
    by_key: dict[str, list[Passage]] = {}
    for passage in passages:
        by_key.setdefault(passage.key, []).append(passage)
    ring = _Ring(passages)
    for row in sorted(current, key=lambda one: one.key):
        for kind in domain.examples.structure:
            for asked in _MAKERS[kind](row, before.get(row.key), by_key.get(row.key, ())):
                if asked.passage.text.count(asked.answer) == 1 and asked.passage.text.count(asked.tell) == 1:
                    yield _example(kind, asked, ring, domain.task.passages)


def _example(kind: Structure, asked: _Asked, ring: _Ring, limit: int) -> Example:
    rule, right = f"structure.{kind}", asked.passage
    rng = random.Random(sha256([rule, right, asked.question]))  # noqa: S311 - repeatable, not secret
    stated = rng.random() >= NOT_STATED_SHARE
    most = limit - 1 if stated else limit
    wanted = most if rng.random() < FULL_SHARE else rng.randint(0 if stated else 1, most)
    context = [right] if stated else []
    for other in ring.near(rng, 4 * wanted):
        if len(context) < wanted + stated and other not in context and other.key != right.key and asked.tell not in other.text:
            context.append(other)
    if not context:
        context, stated = [right], True  # a domain of one document has nothing to abstain on
    rng.shuffle(context)
    shown = tuple(one.text for one in context)
    answer = asked.answer if stated else None
    versions = {(one.key, one.content): None for one in context}
    return Example(
        id=sha256([rule, shown, asked.question, answer])[:16],
        passages=shown,
        question=asked.question,
        answer=answer,
        cited=context.index(right) + 1 if stated else None,
        rule=rule,
        documents=tuple(key for key, _ in versions),
        contents=tuple(content for _, content in versions),
    )


class _Ring:
    """Passages in the order of their hashes. A draw is the one at or after a point, so that few draws change with a few passages more."""

    def __init__(self, passages: Sequence[Passage]) -> None:
        self._placed = sorted((int(sha256([one.key, one.text])[:12], 16), one) for one in passages)
        self._points = [point for point, _ in self._placed]

    def near(self, rng: random.Random, count: int) -> Iterator[Passage]:
        for _ in range(count):
            yield self._placed[bisect.bisect(self._points, rng.randrange(16**12)) % len(self._placed)][1]


# --- what is asked ------------------------------------------------------------------------------------------------------


def _definitions(row: Document, _: Document | None, passages: Sequence[Passage]) -> Iterator[_Asked]:
    for passage in passages:
        for found in _MEANS.finditer(passage.text):
            term, meaning = found["quoted"] or found["bare"], found["meaning"] or found["said"]
            asks = (f'What does "{term}" mean?', f'How is "{term}" defined?', f'What does {cite(row.key)} define "{term}" as?')
            yield _Asked(passage, _one_of(asks, passage, term), meaning, meaning)


def _headings(row: Document, _: Document | None, passages: Sequence[Passage]) -> Iterator[_Asked]:
    title = flatten(row.title).rstrip(".")
    if not title or not passages:
        return
    for passage in passages:
        said = passage.text.removeprefix(title).lstrip(" .:—").split()
        if passage.text.startswith(title) and len(said) >= _LEAD:
            words = " ".join(said[:_LEAD])
            asks = (f"What is {cite(row.key)} about?", f'Under which heading does it say "{words}"?')
            yield _Asked(passage, _one_of(asks, passage, title), title, title)
            return


def _references(_: Document, __: Document | None, passages: Sequence[Passage]) -> Iterator[_Asked]:
    for passage in passages:
        for found in _PROVISION.finditer(passage.text):
            words = passage.text[: found.start()].split()
            if len(words) >= _LEAD and re.search(r"\d", found.group()):
                lead = " ".join(words[-_LEAD:])
                yield _Asked(passage, f'Which provision is named after "{lead}"?', found.group(), lead)


def _changes(row: Document, before: Document | None, passages: Sequence[Passage]) -> Iterator[_Asked]:
    """What stands now where another text stood, asked for by the words in front of it. The earlier text is not shown."""
    if before is None:
        return
    old, new = before.text.split(), row.text.split()
    for tag, _, _, start, end in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag == "replace" and start >= _LEAD and end - start <= _CHANGED:
            lead, answer = " ".join(new[start - _LEAD : start]), " ".join(new[start:end]).rstrip(".,;:")
            for passage in passages:
                if f"{lead} {answer}" in passage.text:
                    yield _Asked(passage, f'What follows "{lead}" as amended?', answer, lead)
                    break


def _one_of(asks: Sequence[str], passage: Passage, about: str) -> str:
    return asks[int(sha256([passage.key, about])[:8], 16) % len(asks)]


_Maker = Callable[[Document, Document | None, Sequence[Passage]], Iterator[_Asked]]
_MAKERS: Mapping[Structure, _Maker] = {"definition": _definitions, "heading": _headings, "reference": _references, "change": _changes}
