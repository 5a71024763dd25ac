"""The search index of a dataset version: a LanceDB table of passages with vectors and a full-text index.

Every text that ever held is in it with its dates, so one index answers "as of" any day. A search asks both for the nearest vectors and
for the best BM25 matches, and adds the two scores, each brought to 0 ... 1: a convex combination, which keeps how much nearer the first
is than the second, where reciprocal ranks forget it (Bruch, Gai and Ingber, "An Analysis of Fusion Functions for Hybrid Retrieval",
ACM TOIS 42, 2023); a domain may choose reciprocal ranks instead. Neither search tells same-template lines apart by their year, so
passages that hold the question's numbers are lifted.

What a caller may not see, or what is not in force, is left out inside both searches, never after them. Passages that hold over the same
days for the same callers share a window, and a search names windows: from dates in two columns the same search takes twice as long.

Does not cover choosing between passages that hold the same numbers.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from pipelines.config import DomainConfig, Retrieval
from pipelines.corpus.documents import Document, state_of
from pipelines.domain_config import AccessRule
from pipelines.errors import BadInput, NotFound
from pipelines.manifest import sha256_file
from pipelines.retrieval import rerank
from pipelines.retrieval.chunks import Chunk, chunks
from pipelines.retrieval.embed import embed_cached, embedder, locate
from pipelines.writing import write_text

VERSION = 2
"""Raise when the same documents would give another index. What version 1 built is still searched: it has no windows and no offsets."""

APPROXIMATE_FROM = 5_000
"""Passages from which vectors get an index (IVF with RaBitQ codes); fewer are compared one by one, exactly."""
PARTITIONS = 32
"""All of them are looked into: reading the codes costs a millisecond a 100,000, and a caller who may see little is found all of it."""
BITS = 4
"""A code's, per dimension."""
REFINE = 2
"""How many times the candidates asked for are compared by their whole vectors."""

_TABLE = "passages"
_VECTOR_WEIGHT = 0.7
"""Of the cosine in the fused score; BM25 has the rest. From 0.5 to 0.8 the same passages came first (docs/measurements.md)."""
_NUMBERS_LIFT = 0.25
"""What holding all of the question's numbers adds: more than two neighbours differ by, less than a passage on another matter lacks."""
_RANK_CONSTANT = 60
"""Of reciprocal-rank fusion: Cormack, Clarke and Buettcher, "Reciprocal Rank Fusion outperforms Condorcet", SIGIR 2009."""
_TEXTS = ("key", "title", "text", "paragraph", "valid_from", "valid_to")
_PASSAGE = (*_TEXTS, "content", "start", "end")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")

Fusion = Literal["scores", "ranks"]


@dataclass(frozen=True, slots=True)
class Passage:
    """What a search finds, with all that a citation needs."""

    key: str
    title: str
    text: str
    """At most `retrieval.chunk_words` words of the document."""
    paragraph: str
    """How a reader cites it."""
    valid_from: str
    valid_to: str
    score: float
    """Fused score, or the reranker's logit; comparable within one search only."""
    content: str = ""
    """Content hash of the document."""
    version: str = ""
    """The dataset version that the index was built of."""
    start: int = 0
    end: int = 0
    """Characters `start` until before `end` of the document's text are `text`."""


@dataclass(frozen=True, slots=True)
class _Window:
    """Passages that hold over the same days and that the same rules restrict."""

    valid_from: str
    valid_to: str
    rules: tuple[int, ...]
    passages: int


@dataclass(frozen=True, slots=True)
class _Scope:
    """What a search may find: an SQL condition, None where that is everything, and how many passages fulfil it."""

    where: str | None
    passages: int


def build(documents: list[Document], domain: DomainConfig, out: Path, cache: Path | None = None, *, version: str = "") -> dict[str, Any]:
    """Fill the folder `out` with the index of these documents of a dataset version; returns its facts, also written as facts.json, and
    how many passages were `embedded` and had not been before.

    The whole table is written anew: with the vectors cached that is a small part of embedding (docs/retrieval.md), and what was erased
    cannot be carried over. `cache`: folder of the embedding cache. BadInput when there is nothing to index.
    """
    import lancedb
    from lancedb.index import FTS, Bitmap, IvfRq

    rule = domain.retrieval
    found = [chunk for document in documents for chunk in chunks(document, rule)]
    if not found:
        raise BadInput("there is no text to index", where=domain.domain, todo="deliver documents first")
    found.sort(key=lambda chunk: (chunk.key, chunk.valid_from, chunk.paragraph))
    vectors, fresh = embed_cached(rule.embedder, {chunk.sha256: chunk.searched for chunk in found}, cache)
    places, windows = _windows(found, rule.access)
    dimensions = len(next(iter(vectors.values())))
    approximate = len(found) >= APPROXIMATE_FROM

    table = lancedb.connect(out).create_table(_TABLE, _rows(found, vectors, places, dimensions))
    table.create_index("searched", config=FTS(stem=True, remove_stop_words=True))
    if approximate:
        table.create_index("window", config=Bitmap())
        table.create_index("vector", config=IvfRq(distance_type="cosine", num_partitions=PARTITIONS, num_bits=BITS))
    facts = {
        "version": VERSION,
        "dataset_version": version,
        "documents": len(documents),
        "chunks": len(found),
        "chunk_words": rule.chunk_words,
        "candidates": rule.candidates,
        "fusion": rule.fusion,
        "embedder": rule.embedder,
        "dimensions": dimensions,
        "approximate": approximate,
        "known": state_of(documents),
        "reranker": rule.reranker,
        **weights(rule),
        "access": [
            {"key": one.key, "roles": one.roles, "passages": sum(window.passages for window in windows if number in window.rules)}
            for number, one in enumerate(rule.access)
        ],
        "restricted": sum(window.passages for window in windows if window.rules),
        "windows": [[window.valid_from, window.valid_to, window.rules, window.passages] for window in windows],
    }
    write_text(out / "facts.json", json.dumps(facts, indent=2))
    return {**facts, "embedded": fresh}


def weights(rule: Retrieval) -> dict[str, str | None]:
    """SHA-256 of the weights that a search rests on besides the documents. NotFound where they are not installed."""
    return {
        "embedder_sha256": sha256_file(locate(rule.embedder) / "model.safetensors"),
        "reranker_sha256": rerank.weights(rule.reranker) if rule.reranker else None,
    }


def _windows(found: Sequence[Chunk], access: Sequence[AccessRule]) -> tuple[list[int], list[_Window]]:
    """Number of each passage's window, and the windows."""
    patterns = [re.compile(one.key) for one in access]
    rules = {key: tuple(number for number, pattern in enumerate(patterns) if pattern.search(key)) for key in {chunk.key for chunk in found}}
    of_each = [(chunk.valid_from, chunk.valid_to, rules[chunk.key]) for chunk in found]
    counts = sorted(Counter(of_each).items())
    numbers = {place: number for number, (place, _) in enumerate(counts)}
    return [numbers[place] for place in of_each], [_Window(*place, count) for place, count in counts]


def _rows(found: Sequence[Chunk], vectors: dict[str, Any], windows: Sequence[int], dimensions: int) -> Any:
    """The table as it is stored: `place` is the order in which equal scores stand."""
    import numpy as np
    import pyarrow as pa

    matrix = np.stack([vectors[chunk.sha256] for chunk in found]).astype(np.float32, copy=False)
    return pa.table(
        {
            **{name: pa.array([getattr(chunk, name) for chunk in found], pa.string()) for name in (*_TEXTS, "content", "searched")},
            **{name: pa.array([getattr(chunk, name) for chunk in found], pa.int32()) for name in ("start", "end")},
            "place": pa.array(range(len(found)), pa.int32()),
            "window": pa.array(windows, pa.int32()),
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(matrix.ravel()), dimensions),
        }
    )


class Index:
    """An index opened for searching; safe to share between threads. NotFound for a folder that is none, BadInput when the weights of its
    embedder or reranker are not those it was built with."""

    def __init__(self, path: Path) -> None:
        facts = path / "facts.json"
        if not facts.is_file():
            raise NotFound("there is no index here", where=str(path), todo="build it, or check the path")
        import lancedb

        self.facts: dict[str, Any] = json.loads(facts.read_text(encoding="utf-8"))
        self._embedder = embedder(self.facts["embedder"])
        if self._embedder.sha256 != self.facts["embedder_sha256"]:
            raise BadInput("the index was built with other embedding weights", where=str(path), todo="build it again")
        self._reranker: str | None = self.facts.get("reranker")
        if self._reranker and rerank.weights(self._reranker) != self.facts["reranker_sha256"]:
            raise BadInput("the index was built with other weights of the reranker", where=str(path), todo="build it again")
        self._table: Any = lancedb.connect(path).open_table(_TABLE)
        # Reading ten columns of forty passages from disk took a third of a search.
        columns = [name for name in (*_PASSAGE, "place") if name in self._table.schema.names]
        rows = self._table.search().select(columns).limit(int(self.facts["chunks"])).to_arrow()
        self._rows: Any = rows.sort_by("place").drop_columns(["place"]).combine_chunks()
        self._windows = [_Window(begin, end, tuple(rules), count) for begin, end, rules, count in self.facts.get("windows", [])]
        self._roles = [frozenset(one["roles"]) for one in self.facts.get("access", [])]
        self._scope = lru_cache(maxsize=64)(self._scoped)
        self._threads = ThreadPoolExecutor(len(os.sched_getaffinity(0)), thread_name_prefix="words")

    def search(self, question: str, *, as_of: str, k: int, roles: frozenset[str] | None = None) -> list[Passage]:
        """The `k` best passages among those in force on `as_of` (ISO date) that a caller with these roles may see, best first. Fewer, or
        none, when fewer hold. Without roles only what no rule restricts is found.
        """
        if not _DAY.fullmatch(as_of):
            raise BadInput(f"not a date: {as_of!r}", where="as_of", todo="write it as YYYY-MM-DD")
        if not question.strip():
            raise BadInput("the question is empty", where="question", todo="ask something")
        scope = self._scope(as_of, roles or frozenset())
        if not scope.passages:
            return []
        count = max(k, int(self.facts["candidates"]))
        matches = self._threads.submit(self._words, question, scope, count)
        found = _fuse(self._near(question, scope, count), matches.result(), question, self.facts.get("fusion", "scores"))
        if self._reranker:
            found = _reordered(found[:count], rerank.reranker(self._reranker).scores(question, [_searched(one) for one in found[:count]]))
        version = self.facts.get("dataset_version", "")
        return [replace(passage, version=version) for passage in found[:k]]

    @property
    def dimensions(self) -> int:
        """Of its vectors."""
        return int(self.facts["dimensions"])

    @property
    def access(self) -> list[dict[str, Any]]:
        """The rules that restrict what it finds, each with its `roles`."""
        return list(self.facts.get("access", []))

    @property
    def every_role(self) -> frozenset[str]:
        """The roles that together see everything, as the gate does."""
        return frozenset[str]().union(*self._roles)

    def vectors(self, texts: Sequence[str]) -> Any:
        """float32 array (texts, dimensions) of the embedder it was built with; one text alone is remembered, and its search finds it."""
        import numpy as np

        return np.stack([self._embedder.query(texts[0])]) if len(texts) == 1 else self._embedder.embed(texts)

    def _near(self, question: str, scope: _Scope, count: int) -> list[dict[str, Any]]:
        """The rows of nearest vectors, with their `_distance`."""
        query = self._table.search(self._embedder.query(question), vector_column_name="vector").distance_type("cosine")
        if not self.facts.get("approximate"):
            return self._within(query.bypass_vector_index(), scope, count, "_distance")
        return self._within(query.nprobes(PARTITIONS).refine_factor(REFINE), scope, count, "_distance")

    def _words(self, question: str, scope: _Scope, count: int) -> list[dict[str, Any]]:
        """The rows that match the question's words best, with their BM25 `_score`."""
        from lancedb.query import MatchQuery

        return self._within(self._table.search(MatchQuery(question, "searched"), query_type="fts"), scope, count, "_score")

    def _within(self, query: Any, scope: _Scope, count: int, score: str) -> list[dict[str, Any]]:
        if scope.where is not None:
            query = query.where(scope.where, prefilter=True)
        found = query.select(["place", score]).limit(count).to_arrow()
        return [
            {**row, "place": place, score: value}
            for row, place, value in zip(
                self._rows.take(found["place"]).to_pylist(), found["place"].to_pylist(), found[score].to_pylist(), strict=True
            )
        ]

    def _scoped(self, as_of: str, roles: frozenset[str]) -> _Scope:
        if not self._windows:
            return _Scope(f"valid_from <= '{as_of}' AND valid_to > '{as_of}'", int(self.facts["chunks"]))
        seen = [
            window.valid_from <= as_of < window.valid_to and all(roles & self._roles[rule] for rule in window.rules)
            for window in self._windows
        ]
        inside = [number for number, is_seen in enumerate(seen) if is_seen]
        outside = [number for number, is_seen in enumerate(seen) if not is_seen]
        passages = sum(self._windows[number].passages for number in inside)
        if not outside:
            return _Scope(None, passages)
        if len(outside) < len(inside):
            return _Scope(f"window NOT IN ({_listed(outside)})", passages)
        return _Scope(f"window IN ({_listed(inside)})", passages)


def _searched(passage: Passage) -> str:
    """As `Chunk.searched`: title and text."""
    return f"{passage.title.rstrip('.')}. {passage.text}" if passage.title else passage.text


def _reordered(found: Sequence[Passage], scores: Sequence[float]) -> list[Passage]:
    """By score, equal ones as they stood."""
    order = sorted(range(len(found)), key=lambda at: (-scores[at], at))
    return [replace(found[at], score=scores[at]) for at in order]


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, numbers))


def _fuse(near: list[dict[str, Any]], words: list[dict[str, Any]], question: str, fusion: Fusion = "scores") -> list[Passage]:
    """Rows of both searches, best first. `near` have a cosine `_distance` (0 to 2), `words` a BM25 `_score`."""
    rows = {row["place"]: row for row in (*words, *near)}
    base = _added(near, words) if fusion == "scores" else _by_rank(near, words)
    asked = numbers(question)
    scores = {}
    for place, row in rows.items():
        held = numbers(f"{row['paragraph']} {row['title']} {row['text']}") if asked else set()
        scores[place] = base[place] + _NUMBERS_LIFT * len(asked & held) / max(1, len(asked))
    best = sorted(rows, key=lambda place: (-scores[place], place))
    return [Passage(**{name: value for name, value in rows[place].items() if name in _PASSAGE}, score=scores[place]) for place in best]


def _added(near: list[dict[str, Any]], words: list[dict[str, Any]]) -> dict[int, float]:
    """By place: the cosine and the BM25 score, each from 0 to 1, weighed and added."""
    nearness = {row["place"]: 1 - row["_distance"] / 2 for row in near}
    matches = {row["place"]: row["_score"] for row in words}
    # What only the words found is at most as near as the farthest that the vectors found.
    farthest, best_match = min(nearness.values(), default=0.0), max(matches.values(), default=0.0) or 1.0
    return {
        place: _VECTOR_WEIGHT * nearness.get(place, farthest) + (1 - _VECTOR_WEIGHT) * matches.get(place, 0.0) / best_match
        for place in nearness.keys() | matches.keys()
    }


def _by_rank(near: list[dict[str, Any]], words: list[dict[str, Any]]) -> dict[int, float]:
    """By place: the sum of 1 / (60 + rank) over both lists, as a share of what the first of both gets."""
    sums: dict[int, float] = {}
    for rows, score, sign in ((near, "_distance", 1), (words, "_score", -1)):
        ranked = sorted(rows, key=lambda row: (sign * row[score], row["place"]))
        for rank, row in enumerate(ranked, 1):
            sums[row["place"]] = sums.get(row["place"], 0.0) + (_RANK_CONSTANT + 1) / (_RANK_CONSTANT + rank) / 2
    return sums


def numbers(text: str) -> set[str]:
    """Years, amounts and other numbers of a text, without thousands separators."""
    return {number.replace(",", "") for number in _NUMBER.findall(text)}
