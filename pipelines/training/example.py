"""One training example, and a version's examples as a Parquet file: read by column and in batches, never whole."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from pipelines.errors import BadInput

Kind = Literal["grounded_extraction", "dialogue_note", "chat", "pretrain"]
FILE = "examples.parquet"
BATCH = 1024
"""Rows of a row group, and so of what is in memory at once."""


@dataclass(frozen=True, slots=True)
class Example:
    """One training example, and whose it is.

    Of kind `grounded_extraction`, `answer` is a literal span of `passages[cited - 1]`; both are None where no passage states it. Of a
    dialogue or chat the passages are its turns and `answer` is the note or the better reply. Of kind `pretrain` the one passage is learned
    itself.
    """

    id: str
    """Hash of everything its tokens depend on, apart from tokenizer and prompt."""
    passages: tuple[str, ...]
    question: str
    answer: str | None
    cited: int | None
    rule: str
    """Who made it: `task.rules[3]`, `structure.definition`, `pairs`, `pretrain`, `person` or `feedback`."""
    documents: tuple[str, ...]
    """Keys of the documents it rests on."""
    contents: tuple[str, ...] = ()
    """Content hash of each of them: once another text of the key is in force, the example is out of date."""
    kind: Kind = "grounded_extraction"
    author: str = "rule"
    """`rule`, or the person's name."""
    reviewer: str = ""
    """Who reviewed it; rules are reviewed as the domain file is."""


def schema() -> Any:
    """Arrow schema of the file."""
    import pyarrow as pa

    text, texts = pa.string(), pa.list_(pa.string())
    columns = {"id": text, "passages": texts, "question": text, "answer": text, "cited": pa.int32(), "rule": text, "documents": texts}
    columns |= {"contents": texts, "kind": text, "author": text, "reviewer": text}
    return pa.schema(list(columns.items()))


def write(examples: Iterable[Example], path: Path) -> dict[str, int]:
    """Write a Parquet file, under a temporary name first; returns the number of examples by rule. An id that comes again is left out."""
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

    counts: dict[str, int] = {}
    seen: set[str] = set()
    rows = iter(examples)
    temporary = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    with ParquetWriter(temporary, schema(), compression="zstd") as writer:
        while batch := list(islice(rows, BATCH)):
            fresh = [example for example in batch if example.id not in seen and not seen.add(example.id)]  # type: ignore[func-returns-value]
            for example in fresh:
                counts[example.rule] = counts.get(example.rule, 0) + 1
            writer.write_table(pa.Table.from_pylist([asdict(example) for example in fresh], schema()))
    temporary.rename(path)
    return counts


def read(path: Path) -> list[Example]:
    """All of a file; for people and tests. Training streams `dataset(path)` instead."""
    return [_example(row) for batch in dataset(path).to_batches(batch_size=BATCH) for row in batch.to_pylist()]


def dataset(source: Path | Iterable[Example]) -> Any:
    """A `pyarrow.dataset.Dataset` of a file, or of examples at hand. BadInput for a file that is none."""
    import pyarrow as pa
    from pyarrow import dataset as sets
    from pyarrow.parquet import read_schema

    if not isinstance(source, Path):
        return sets.dataset(pa.Table.from_pylist([asdict(example) for example in source], schema()))
    try:
        if read_schema(source).equals(schema()):
            return sets.dataset(source, schema(), format="parquet")
        raise pa.ArrowInvalid
    except (pa.ArrowInvalid, FileNotFoundError):
        raise BadInput("not a file of examples", where=str(source), todo="clear the examples task: it makes them again") from None


def among(source: Any, wanted: set[str]) -> Iterator[list[Example]]:
    """The examples with these ids, in batches; row groups without any of them are not read but for their ids."""
    import pyarrow as pa
    from pyarrow import compute

    if not wanted:
        return
    ids = pa.array(sorted(wanted))
    for fragment in source.get_fragments():
        groups = fragment.split_by_row_group() if hasattr(fragment, "split_by_row_group") else [fragment]
        for group in groups:
            here = compute.is_in(group.to_table(columns=["id"])["id"], value_set=ids)
            if compute.any(here).as_py():
                yield [_example(row) for row in group.to_table().filter(here).to_pylist()]


def _example(row: dict[str, Any]) -> Example:
    return Example(**{**row, **{name: tuple(row[name] or ()) for name in ("passages", "documents", "contents")}})
