"""The search index of a dataset version: a LanceDB table of passages with vectors and a full-text index.

Every text that ever held is in it with its dates, so one index answers "as of" any day. A search asks both for the nearest vectors and
for the best BM25 matches, and adds the two scores, each brought to 0 ... 1: a convex combination, which keeps how much nearer the first
is than the second, where reciprocal ranks forget it (Bruch, Gai and Ingber, "An Analysis of Fusion Functions for Hybrid Retrieval",
ACM TOIS 42, 2023). Neither tells same-template lines apart by their year, so passages that hold the question's numbers are lifted.

Does not cover choosing between passages that hold the same numbers.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.config import DomainConfig
from pipelines.corpus.documents import Document, state_of
from pipelines.errors import BadInput, NotFound
from pipelines.retrieval.chunks import chunks
from pipelines.retrieval.embed import embed_cached, embedder, locate
from pipelines.writing import write_text

VERSION = 1
"""Raise when the same documents would give another index."""

_TABLE = "passages"
_VECTOR_WEIGHT = 0.7
"""Of the cosine in the fused score; BM25 has the rest. From 0.5 to 0.8 the same passages came first (docs/measurements.md)."""
_NUMBERS_LIFT = 0.25
"""What holding all of the question's numbers adds: more than two neighbours differ by, less than a passage on another matter lacks."""
_COLUMNS = ["key", "title", "text", "paragraph", "valid_from", "valid_to", "place"]
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")


@dataclass(frozen=True, slots=True)
class Passage:
    """What a search finds."""

    key: str
    title: str
    text: str
    """At most `retrieval.chunk_words` words of the document."""
    paragraph: str
    """How a reader cites it."""
    valid_from: str
    valid_to: str
    score: float
    """Fused score; comparable within one search only."""


def build(documents: list[Document], domain: DomainConfig, out: Path, cache: Path | None = None) -> dict[str, Any]:
    """Fill the folder `out` with the index of these documents; returns its facts, also written as facts.json.

    `cache`: folder of the embedding cache. BadInput when there is nothing to index.
    """
    import lancedb
    import pyarrow as pa
    from lancedb.index import FTS

    rule = domain.retrieval
    found = [chunk for document in documents for chunk in chunks(document, rule)]
    if not found:
        raise BadInput("there is no text to index", where=domain.domain, todo="deliver documents first")
    found.sort(key=lambda chunk: (chunk.key, chunk.valid_from, chunk.paragraph))
    vectors, fresh = embed_cached(rule.embedder, {chunk.sha256: chunk.searched for chunk in found}, cache)
    dimensions = len(next(iter(vectors.values())))

    schema = pa.schema(
        [
            *(pa.field(name, pa.string()) for name in ("key", "title", "text", "paragraph", "valid_from", "valid_to", "searched")),
            pa.field("place", pa.int32()),
            pa.field("vector", pa.list_(pa.float32(), dimensions)),
        ]
    )
    rows = [
        {
            "key": chunk.key,
            "title": chunk.title,
            "text": chunk.text,
            "paragraph": chunk.paragraph,
            "valid_from": chunk.valid_from,
            "valid_to": chunk.valid_to,
            "searched": chunk.searched,
            "place": place,
            "vector": vectors[chunk.sha256],
        }
        for place, chunk in enumerate(found)
    ]
    table = lancedb.connect(out).create_table(_TABLE, pa.Table.from_pylist(rows, schema=schema))
    table.create_index("searched", config=FTS(stem=True, remove_stop_words=True))
    facts = {
        "version": VERSION,
        "documents": len(documents),
        "chunks": len(found),
        "chunk_words": rule.chunk_words,
        "candidates": rule.candidates,
        "embedder": rule.embedder,
        "embedder_sha256": _weights(rule.embedder),
        "dimensions": dimensions,
        "known": state_of(documents),
    }
    write_text(out / "facts.json", json.dumps(facts, indent=2))
    return {**facts, "embedded": fresh}


class Index:
    """An index opened for searching; safe to share between threads. NotFound for a folder that is none."""

    def __init__(self, path: Path) -> None:
        facts = path / "facts.json"
        if not facts.is_file():
            raise NotFound("there is no index here", where=str(path), todo="build it, or check the path")
        import lancedb

        self.facts: dict[str, Any] = json.loads(facts.read_text(encoding="utf-8"))
        self._embedder = embedder(self.facts["embedder"])
        if self._embedder.sha256 != self.facts["embedder_sha256"]:
            raise BadInput("the index was built with other embedding weights", where=str(path), todo="build it again")
        self._table: Any = lancedb.connect(path).open_table(_TABLE)

    def search(self, question: str, *, as_of: str, k: int) -> list[Passage]:
        """The `k` best passages among those in force on `as_of` (ISO date), best first. Fewer, or none, when fewer hold."""
        if not _DAY.fullmatch(as_of):
            raise BadInput(f"not a date: {as_of!r}", where="as_of", todo="write it as YYYY-MM-DD")
        if not question.strip():
            raise BadInput("the question is empty", where="question", todo="ask something")
        from lancedb.query import MatchQuery

        count = max(k, int(self.facts["candidates"]))
        in_force = f"valid_from <= '{as_of}' AND valid_to > '{as_of}'"
        near = self._table.search(self._embedder.query(question), vector_column_name="vector").distance_type("cosine")
        words = self._table.search(MatchQuery(question, "searched"), query_type="fts")
        return _fuse(
            near.where(in_force, prefilter=True).select([*_COLUMNS, "_distance"]).limit(count).to_list(),
            words.where(in_force, prefilter=True).select([*_COLUMNS, "_score"]).limit(count).to_list(),
            question,
        )[:k]


def _fuse(near: list[dict[str, Any]], words: list[dict[str, Any]], question: str) -> list[Passage]:
    """Rows of both searches, best first. `near` have a cosine `_distance` (0 to 2), `words` a BM25 `_score`."""
    rows = {row["place"]: row for row in (*words, *near)}
    nearness = {row["place"]: 1 - row["_distance"] / 2 for row in near}
    matches = {row["place"]: row["_score"] for row in words}
    # What only the words found is at most as near as the farthest that the vectors found.
    farthest, best_match = min(nearness.values(), default=0.0), max(matches.values(), default=0.0) or 1.0
    asked = numbers(question)
    scores = {}
    for place, row in rows.items():
        held = numbers(f"{row['paragraph']} {row['title']} {row['text']}") if asked else set()
        scores[place] = (
            _VECTOR_WEIGHT * nearness.get(place, farthest)
            + (1 - _VECTOR_WEIGHT) * matches.get(place, 0.0) / best_match
            + _NUMBERS_LIFT * len(asked & held) / max(1, len(asked))
        )
    best = sorted(rows, key=lambda place: (-scores[place], place))
    return [Passage(**{name: rows[place][name] for name in _COLUMNS[:-1]}, score=scores[place]) for place in best]


def numbers(text: str) -> set[str]:
    """Years, amounts and other numbers of a text, without thousands separators."""
    return {number.replace(",", "") for number in _NUMBER.findall(text)}


def _weights(name: str) -> str:
    from pipelines.manifest import sha256_file

    return sha256_file(locate(name) / "model.safetensors")
