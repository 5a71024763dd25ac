"""All examples of a dataset version: by the domain's rules, from its text's structure and pairs, by people; split before, counted after."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path

from pipelines.config import DomainConfig
from pipelines.corpus.documents import Document
from pipelines.errors import BadInput, ConfigError
from pipelines.training import canaries, examples, pairs, people, structure
from pipelines.training import example as files
from pipelines.training.example import Example
from pipelines.training.prompt import flatten
from pipelines.training.split import Evaluated, Split, split
from pipelines.writing import write_text

HELD_OUT = "held_out.parquet"
LEFT_OUT = "left_out.jsonl"
"""{"document" or "example", "why"} per line: keys and ids, never text."""
_LEAST_HELD_OUT = 8


def gather(
    documents: Sequence[Document], domain: DomainConfig, goldens: Sequence[Evaluated], written: Sequence[Example], out: Path
) -> dict[str, int]:
    """Fill `out` with examples.parquet, held_out.parquet (where documents are held out), left_out.jsonl and canaries.jsonl (where any are
    planted); returns what is counted.

    `written` are the examples by people. BadInput, with what each filter took, when nothing is left to train on.
    """
    parts = split(documents, goldens, domain.examples)
    kept_away = {key: "kept for evaluation" for key in parts.evaluation}
    kept_away |= {key: f"nearly the same text as {twin}, which is kept for evaluation" for key, twin in parts.near_evaluation.items()}
    kept_away |= {document.key: "held out" for document in parts.held_out}
    kept_away |= {key: f"nearly the same text as {twin}, which is held out" for key, twin in parts.near_held_out.items()}
    sorted_out = people.sort(written, documents, kept_away, {flatten(golden.question) for golden in goldens})
    counts = {**parts.counts(), "suspended": len(sorted_out.suspended), "barred": len(sorted_out.barred)}
    drawn, no_rule = _drawn(parts.train, domain, domain.recipe.examples)
    planted = canaries.plant(domain, out)
    tasks = chain(drawn, _made(parts.train, domain), sorted_out.usable, planted)
    made = files.write(_with_plain(tasks, parts.train, domain, counts), out / files.FILE)
    counts = {"examples": sum(made.values()), **({"canaries": len(planted)} if planted else {}), **counts}
    if not made.keys() - {canaries.RULE}:
        (out / files.FILE).unlink()
        (out / canaries.FILE).unlink(missing_ok=True)
        left = len({row.key for row in parts.train})
        raise BadInput(
            f"no example can be made of the {left} documents that are left: {no_rule}. Taken away were {_told(counts)}",
            where=f"configs/domains/{domain.domain}.yaml, task.rules and examples",
            todo="write rules that fit the text, deliver more text, or see left_out in docs/training-sets.md",
        )
    if domain.examples.held_out:
        share = max(_LEAST_HELD_OUT, round(domain.recipe.examples * domain.examples.held_out))
        held = chain(_drawn(parts.held_out, domain, share)[0], _made(parts.held_out, domain))
        counts["held_out_examples"] = sum(files.write(held, out / HELD_OUT).values())
    _list(parts, kept_away, sorted_out, out / LEFT_OUT)
    return counts


def _drawn(documents: list[Document], domain: DomainConfig, count: int) -> tuple[list[Example], str]:
    """By the domain's question rules; without any, why: a domain may live on the other kinds."""
    if domain.task.kind != "grounded_extraction" or not domain.task.rules:
        return [], "the domain has no question rules for its task"
    try:
        return examples.make(documents, domain, exclude_keys=set(), seed=domain.recipe.seed, count=count), ""
    except ConfigError:
        raise
    except BadInput as error:
        return [], error.what


def _made(documents: Sequence[Document], domain: DomainConfig) -> Iterator[Example]:
    if domain.task.kind == "grounded_extraction":
        yield from structure.make(documents, domain)
    yield from pairs.make(documents, domain)


def _with_plain(tasks: Iterable[Example], documents: Sequence[Document], domain: DomainConfig, counts: dict[str, int]) -> Iterator[Example]:
    """The task's examples, then pieces of plain text up to the share that replay leaves; the same pieces whatever comes beside them."""
    ids = set()
    for example in tasks:
        ids.add(example.id)
        yield example
    rule = domain.examples.pretrain
    if rule is None:
        return
    pieces = sorted({piece.id for piece in pairs.plain(documents, domain, rule)})
    most = int(len(ids) * (1 - rule.replay) / rule.replay)
    counts["pretrain_beyond_replay"] = max(0, len(pieces) - most)
    chosen = set(pieces[:most])
    yield from (piece for piece in pairs.plain(documents, domain, rule) if piece.id in chosen)


def _told(counts: dict[str, int]) -> str:
    names = {
        "evaluation_documents": "documents that goldens rest on",
        "near_evaluation": "near-duplicates of those",
        "held_out_documents": "documents held out",
        "near_held_out": "near-duplicates of those",
        "suspended": "examples suspended, for their text was replaced",
        "barred": "examples by people that rest on any of these",
        "pretrain_beyond_replay": "pieces of text without examples to replay beside them",
    }
    return ", ".join(f"{counts.get(name, 0)} {words}" for name, words in names.items())


def _list(parts: Split, kept_away: dict[str, str], sorted_out: people.Sorted, path: Path) -> None:
    rows = [{"document": key, "why": why} for key, why in sorted(kept_away.items()) if key not in parts.evaluation]
    rows += [{"example": name, "why": f"suspended: {why}"} for name, why in sorted(sorted_out.suspended.items())]
    rows += [{"example": name, "why": why} for name, why in sorted(sorted_out.barred.items())]
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
