"""Examples that are a text as it stands: dialogue and note, chat and better answer, and plain text for continued pretraining."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from pipelines.config import DomainConfig
from pipelines.corpus.documents import FOREVER, Document
from pipelines.errors import ConfigError
from pipelines.examples_config import Pretrain
from pipelines.manifest import sha256
from pipelines.retrieval.chunks import chunks
from pipelines.training.example import Example
from pipelines.training.prompt import flatten


def make(documents: Iterable[Document], domain: DomainConfig) -> Iterator[Example]:
    """One example per newest text that holds both columns; the turns, a line each, are its passages."""
    pairs, kind = domain.examples.pairs, domain.task.kind
    if pairs is None or kind == "grounded_extraction":
        return
    for row in sorted((row for row in documents if _is_current(row)), key=lambda one: one.key):
        found = columns(row.text, domain.sources.text)
        turns = tuple(flatten(line) for line in found.get(pairs.given, "").splitlines() if line.strip())
        wanted = found.get(pairs.wanted, "").strip()
        if not turns or not wanted:
            continue
        try:
            question = flatten(pairs.ask.format(title=row.title))
        except (KeyError, IndexError, ValueError):
            where = f"configs/domains/{domain.domain}.yaml, examples.pairs.ask"
            raise ConfigError("only {title} can be filled in", where=where, todo="mend the wording") from None
        yield Example(
            id=sha256(["pairs", kind, turns, question, wanted])[:16],
            passages=turns,
            question=question,
            answer=wanted,
            cited=None,
            rule="pairs",
            documents=(row.key,),
            contents=(row.content,),
            kind=kind,
        )


def columns(text: str, names: Iterable[str]) -> dict[str, str]:
    """The columns of a text that was joined with `sources.named_columns`: a line "name:" begins each. A name that comes again is text."""
    heads = {f"{name}:": name for name in names}
    found: dict[str, list[str]] = {}
    current: list[str] = []
    for line in text.splitlines():
        name = heads.get(line)
        if name is not None and name not in found:
            current = found[name] = []
        else:
            current.append(line)
    return {name: "\n".join(lines) for name, lines in found.items()}


def plain(documents: Iterable[Document], domain: DomainConfig, rule: Pretrain) -> Iterator[Example]:
    """The newest texts in pieces of whole sentences, of at most `rule.words` words each."""
    cutting = domain.retrieval.model_copy(update={"chunk_words": rule.words, "join_sentences": True})
    for row in sorted((row for row in documents if _is_current(row)), key=lambda one: one.key):
        for chunk in chunks(row, cutting):
            text = chunk.searched
            example = Example(sha256(["pretrain", text])[:16], (text,), "", None, None, "pretrain", (row.key,), (row.content,))
            yield replace(example, kind="pretrain")


def _is_current(row: Document) -> bool:
    return row.valid_to == FOREVER and not row.withdrawn and not row.erased
