"""Training examples from corrections that people accepted (`corpus.corrections`): the question as asked, and what it should have got.

The passage is cut anew from the newest text of the document that the correction rests on. Where that text no longer states the answer the
example says so by a content hash that nothing has, and is suspended like any other whose text was replaced (`people.sort`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from pipelines.config import DomainConfig
from pipelines.corpus.corrections import Correction
from pipelines.corpus.documents import FOREVER, Document
from pipelines.manifest import sha256
from pipelines.retrieval.chunks import Chunk, chunks
from pipelines.training.example import Example
from pipelines.training.prompt import flatten

RULE = "feedback"
_REPLACED = "0" * 64


def examples(corrections: Sequence[Correction], texts: Sequence[Document], domain: DomainConfig) -> Iterator[Example]:
    """Examples of every correction of kind `example`, each `examples.corrected_weight` times: a handful among thousands would not be
    noticed. `texts`: the version's documents without corrections."""
    wanted = {one.cites for one in corrections}
    newest = {row.key: row for row in texts if row.key in wanted and row.valid_to == FOREVER and not row.withdrawn and not row.erased}
    for one in corrections:
        if one.kind != "example":
            continue
        if domain.task.kind == "grounded_extraction":
            made = _grounded(one, newest.get(one.cites), domain)
        elif one.answer is not None:
            made = _of_turns(one, domain)
        else:
            continue
        yield made
        yield from (replace(made, id=f"{made.id}-{number}") for number in range(2, domain.examples.corrected_weight + 1))


def _grounded(one: Correction, row: Document | None, domain: DomainConfig) -> Example:
    found = _passage(one, chunks(row, domain.retrieval)) if row is not None else None
    passage = flatten(found.text) if found is not None else ""
    answer = flatten(one.answer) if one.answer is not None else None
    content = row.content if row is not None and found is not None else _REPLACED
    question = flatten(one.question)
    return Example(
        id=sha256([RULE, domain.task.kind, passage, question, answer])[:16],
        passages=(passage,),
        question=question,
        answer=answer,
        cited=1 if answer is not None else None,
        rule=RULE,
        documents=(one.cites,),
        contents=(content,),
        author=RULE,
        reviewer=one.key,
    )


def _passage(one: Correction, passages: Sequence[Chunk]) -> Chunk | None:
    """The passage that states the answer; of a question that nothing answers, the one that shares most words with it."""
    if one.answer is not None:
        return next((chunk for chunk in passages if flatten(one.answer) in flatten(chunk.text)), None)
    asked = set(one.question.casefold().split())
    return max(passages, key=lambda chunk: len(asked & set(chunk.text.casefold().split())), default=None)


def _of_turns(one: Correction, domain: DomainConfig) -> Example:
    turns = tuple(flatten(line) for line in one.question.splitlines() if line.strip())
    answer = (one.answer or "").strip()
    return Example(
        id=sha256([RULE, domain.task.kind, turns, answer])[:16],
        passages=turns,
        question="",
        answer=answer,
        cited=None,
        rule=RULE,
        documents=(),
        contents=(),
        kind=domain.task.kind,
        author=RULE,
        reviewer=one.key,
    )
