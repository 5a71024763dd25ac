"""What retrieval finds in real text, what an update costs, and how fast a search is: `python -m tests.bench.bench_retrieval FOLDER
[OUT.json] [SIZE...]`.

found     For every paragraph that a diff of Regulations B, M and P says was added, modified or deleted, its text from then on and its text
          until then are asked for, each as of a day on which it holds, in three forms made by rule (see `ask`). Right is the paragraph's
          label with that text's first day. All three regulations and all their versions are one index.
update    A corpus of SIZE documents of one passage each, and 1 % more: built whole, built again with the vectors cached, and, for
          comparison, LanceDB's own delete, add and optimise on a copy of the table.
search    p50 and p95 of questions that were not asked before, and of the same with their vectors known; recall of the approximate
          search beside the exact one.

Real are the texts of `found`, their vectors, and the questions of both. The larger corpora are made: a passage is real clauses drawn at
random from those regulations with a word of its own, its vector a real passage's, moved towards another's and by noise to a cosine of
0.87. So the time to embed a whole corpus is estimated from `EMBEDDED` real passages; the new 1 % are embedded. Nothing here is asserted.
"""

from __future__ import annotations

import json
import math
import random
import re
import shutil
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.config import DomainConfig, Settings, load_domain, load_settings
from pipelines.corpus.chain import Link, Step, replay
from pipelines.corpus.documents import Document, document
from pipelines.demo.public import effective
from pipelines.intake import formats
from pipelines.manifest import sha256, sha256_file
from pipelines.project import PROJECT
from pipelines.retrieval import index as indexing
from pipelines.retrieval.chunks import chunks
from pipelines.retrieval.embed import embed_cached, embedder, locate
from pipelines.retrieval.index import Index

SIZES = (1_000, 10_000, 100_000)
EMBEDDED = 1_024
ARRIVAL = 0.01
PARTS = ("1002", "1013", "1016")
SUPERSEDED = 0.1
TODAY = "2018-06-01"
FORMS = ("title and words", "words", "phrase")


@dataclass(frozen=True, slots=True)
class Question:
    """One question, and the text that it is made from."""

    form: str
    text: str
    as_of: str
    wanted: Document


def main(argv: list[str]) -> int:
    """Print the tables; write JSON where a second argument says so."""
    import lancedb  # noqa: F401 - takes seconds, which are no build's

    root = Path(argv[0])
    sizes = [int(size) for size in argv[2:]] or list(SIZES)
    settings = load_settings({"RATCHET_VAR": str(root / "var")})
    domain = load_domain("regulatory", settings)
    data = PROJECT.parent / "shared" / "data" / "cfpb_regulations"
    law = regulations(settings, domain, data)
    asked = questions(law, data / "diff")
    told: dict[str, Any] = {"found": found(law, asked, domain, root)}
    _print(told["found"])
    told["search"] = []
    for size in sizes:
        row, update = sized(size, law, asked, domain, root)
        told["search"].append(row)
        told["update"] = update
    _print(told["search"])
    _print([told["update"]])
    if len(argv) > 1:
        Path(argv[1]).write_text(json.dumps(told, indent=2), encoding="utf-8")
    return 0


# --- real text --------------------------------------------------------------------------------------------------------


def regulations(settings: Settings, domain: DomainConfig, data: Path) -> list[Document]:
    """Every text that each paragraph ever had, with its dates, from the whole texts in the chain's order."""
    steps = []
    for part in PARTS:
        for path in sorted((data / "regulation" / part).glob("*.xml")):
            day = effective(path)
            records = [one for one in formats.read(path, domain.sources, effective=day, where="") if isinstance(one, formats.RawRecord)]
            rows = tuple(
                document(key=one.key, title=one.title, text=one.text, valid_from=day, arrival_id="a", source=one.source)
                for one in records
                if one.text
            )
            steps.append(Step(Link(part, rows[0].source, day), rows))
    return replay(steps).documents


def questions(law: Sequence[Document], diffs: Path) -> list[Question]:
    """Three forms of a question on each text that begins or ends where a diff says that its paragraph changed."""
    held: dict[str, list[Document]] = {}
    for row in law:
        held.setdefault(row.key, []).append(row)
    wanted: dict[tuple[str, str], Document] = {}
    for path in sorted(diffs.glob("*/*/*.json")):
        days = {row.valid_from for row in law if row.source == path.stem.partition("_")[0]}
        days = {day for day in days if "_" not in path.stem or day.replace("-", "") == path.stem.partition("_")[2]}
        for key, change in json.loads(path.read_text(encoding="utf-8")).items():
            for row in held.get(key, []):
                begins = change["op"] in ("added", "modified") and row.valid_from in days
                ends = change["op"] in ("modified", "deleted") and row.valid_to in days
                if (begins or ends) and not row.withdrawn:
                    wanted[row.key, row.valid_from] = row
    weight = _weights(law)
    return [made for _, row in sorted(wanted.items()) for form in FORMS if (made := ask(row, form, weight)) is not None]


def ask(row: Document, form: str, weight: dict[str, float]) -> Question | None:
    """A question on a text, asked as of the middle of the days on which it holds; None where it has fewer than four words of its own.

    Words are those without digits, apart from years: without its year a line of Regulation M's yearly list cannot be told from the next.
    Distinctive ones are rare in the three regulations. "title and words": the title, the five most distinctive words of the text; "words":
    the eight most distinctive ones, in the text's order; "phrase": the six words in a row that are rarest together, as they stand.
    """
    words = [word for word in re.findall(r"[\w’'-]+", row.text) if not re.search(r"\d", word) or re.fullmatch(r"(?:19|20)\d\d", word)]
    own = list(dict.fromkeys(word.lower() for word in words if len(word) > 2))
    if len(own) < 4:
        return None
    best = sorted(own, key=lambda word: (-weight.get(word, 0.0), own.index(word)))
    years = [word for word in own if word.isdigit()]

    def some(count: int) -> list[str]:
        return sorted(dict.fromkeys(years[:1] + best[:count]), key=own.index)

    if form == "title and words":
        text = f"{row.title}: {' '.join(some(5))}?"
    elif form == "words":
        text = f"What applies to {' '.join(some(8))}?"
    else:
        runs = [words[at : at + 6] for at in range(max(1, len(words) - 5))]
        run = max(runs, key=lambda run: sum(weight.get(word.lower(), 0.0) for word in run))
        text = f"What does the rule say about {' '.join(run)}{f' in {years[0]}' if years and years[0] not in run else ''}?"
    return Question(form, text, _middle(row.valid_from, min(row.valid_to, "2024-01-01")), row)


def _middle(begin: str, end: str) -> str:
    from datetime import date, timedelta

    first, last = date.fromisoformat(begin), date.fromisoformat(end)
    return (first + timedelta(days=(last - first).days // 2)).isoformat()


def _weights(law: Iterable[Document]) -> dict[str, float]:
    texts = {row.key: set(re.findall(r"[\w’'-]+", row.text.lower())) for row in law}
    counts = Counter(word for held in texts.values() for word in held)
    return {word: math.log(len(texts) / count) for word, count in counts.items()}


def found(law: list[Document], asked: Sequence[Question], domain: DomainConfig, root: Path) -> list[dict[str, Any]]:
    """A row per way to search: how often the right text is first, among the first five, and the mean reciprocal rank within ten."""
    folder = _fresh(root / "law")
    indexing.build(law, domain, folder, root / "cache")
    index = Index(folder)

    def hybrid(fusion: str) -> Callable[[Question], list[tuple[str, str]]]:
        def search(question: Question) -> list[tuple[str, str]]:
            index.facts["fusion"] = fusion
            return [(one.key, one.valid_from) for one in index.search(question.text, as_of=question.as_of, k=20)]

        return search

    def alone(way: Callable[..., list[dict[str, Any]]]) -> Callable[[Question], list[tuple[str, str]]]:
        def search(question: Question) -> list[tuple[str, str]]:
            rows = way(question.text, index._scope(question.as_of, frozenset()), 20)
            return [(row["key"], row["valid_from"]) for row in rows]

        return search

    ways = {
        "hybrid, scores": hybrid("scores"),
        "hybrid, ranks": hybrid("ranks"),
        "vectors alone": alone(index._near),
        "BM25 alone": alone(index._words),
    }
    rows = []
    for name, way in ways.items():
        ranks = {form: [_rank(way(one), one.wanted) for one in asked if one.form == form] for form in FORMS}
        every = [rank for some in ranks.values() for rank in some]
        rows.append(
            {
                "way": name,
                "questions": len(every),
                "texts": len({(one.wanted.key, one.wanted.valid_from) for one in asked}),
                "recall@1": _share(every, 1),
                "recall@5": _share(every, 5),
                "MRR@10": round(sum(1 / rank for rank in every if rank <= 10) / len(every), 3),
                **{f"@5 {form}": _share(some, 5) for form, some in ranks.items()},
            }
        )
    return rows


def _rank(hits: list[tuple[str, str]], wanted: Document) -> float:
    """Place of the text among distinct texts, from 1; several passages of one text count once."""
    distinct = list(dict.fromkeys(hits))
    place = (wanted.key, wanted.valid_from)
    return distinct.index(place) + 1 if place in distinct else math.inf


def _share(ranks: Sequence[float], within: int) -> float:
    return round(sum(rank <= within for rank in ranks) / len(ranks), 3)


# --- made corpora -----------------------------------------------------------------------------------------------------


def sized(
    size: int, law: list[Document], asked: Sequence[Question], domain: DomainConfig, root: Path
) -> tuple[dict[str, Any], dict[str, Any]]:
    """One size: (search, update)."""
    real = [chunk for row in law for chunk in chunks(row, domain.retrieval)]
    clauses = sorted({clause for chunk in real for clause in re.split(r"(?<=[,;:.])\s+", chunk.text) if len(clause) > 8})
    fresh = round(size * ARRIVAL)
    documents = [_made(number, clauses) for number in range(size + fresh)]
    cache = _fresh(root / f"cache-{size}")
    _fill_cache(documents[:size], [chunk.searched for chunk in real], domain, root, cache)

    old, new = _fresh(root / f"index-{size}"), _fresh(root / f"index-{size}-more")
    built, whole = _timed(lambda: indexing.build(documents[:size], domain, old, cache))
    updated, more = _timed(lambda: indexing.build(documents, domain, new, cache))
    embedding, _ = _timed(lambda: embedder(domain.retrieval.embedder).embed([one.searched for one in real[:EMBEDDED]]))
    full = embedding / min(EMBEDDED, len(real)) * whole["chunks"] + built
    copied, _ = _timed(lambda: _patched(old, root / f"patched-{size}", new))
    update = {
        "documents": size,
        "embedding of all, s (estimated)": round(full - built, 1),
        "the rest of a full build, s": round(built, 2),
        "update, s": round(updated, 2),
        "embedded by it": more["embedded"],
        "of a full build": f"{updated / full:.2%}",
        "the same by LanceDB's delete, add, optimise, s (without embedding)": round(copied, 2),
        "update without embedding, s": round(updated - embedding / EMBEDDED * more["embedded"], 2),
    }
    return {"passages": whole["chunks"], **_speed(Index(old), asked)}, update


def _made(number: int, clauses: Sequence[str]) -> Document:
    draw = random.Random(number)  # noqa: S311
    words: list[str] = []
    while len(words) < 40:
        words += draw.choice(clauses).split()
    # A full stop would cut the passage where it is joined to no other.
    text = " ".join(words[:50]).replace(". ", ", ") + f" w{number:07}."
    until = "2014-01-01" if draw.random() < SUPERSEDED else "9999-12-31"
    return document(key=f"made-{number:07}", title="", text=text, valid_from="2011-01-01", valid_to=until, arrival_id="a")


def _fill_cache(documents: list[Document], real: list[str], domain: DomainConfig, root: Path, cache: Path) -> None:
    """Vectors for made passages, written where `embed_cached` looks for them."""
    import numpy as np

    name = domain.retrieval.embedder
    known, _ = embed_cached(name, {sha256(text): text for text in real}, root / "cache")
    base = np.stack([known[sha256(text)] for text in dict.fromkeys(real)])
    hashes = [chunk.sha256 for row in documents for chunk in chunks(row, domain.retrieval)]
    draw = np.random.default_rng(0)
    noise = draw.standard_normal((len(hashes), base.shape[1])).astype("f4")
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    made = base[np.arange(len(hashes)) % len(base)] + 0.35 * base[draw.integers(0, len(base), len(hashes))] + 0.5 * noise
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    path = cache / f"{sha256_file(locate(name) / 'model.safetensors')[:16]}.sqlite"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE vectors (sha256 TEXT PRIMARY KEY, vector BLOB NOT NULL)")
        rows = ((sha, vector.astype("<f4").tobytes()) for sha, vector in zip(hashes, made, strict=True))
        connection.executemany("INSERT OR IGNORE INTO vectors VALUES (?, ?)", rows)


def _patched(old: Path, out: Path, new: Path) -> None:
    """The table of `new` made from a copy of `old`: 1 % of the rows go, those that are new come, and the indexes take them in."""
    import lancedb

    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(old, out)
    table = lancedb.connect(out).open_table("passages")
    count = table.count_rows()
    table.delete(f"place % 100 = 0 AND place < {count}")
    table.add(lancedb.connect(new).open_table("passages").to_arrow().slice(count))
    table.optimize()


def _speed(index: Index, asked: Sequence[Question]) -> dict[str, Any]:
    texts = [one.text for one in asked if one.form != "title and words"]
    times: dict[str, list[float]] = {"new question": [], "embedding it": [], "question known": []}
    for text in texts[:10]:
        index.search(f"{text} warm", as_of=TODAY, k=5)
    index._embedder._query.cache_clear()
    for text in texts:
        times["new question"].append(_timed(lambda text=text: index.search(text, as_of=TODAY, k=5))[0])  # type: ignore[misc]
        times["question known"].append(_timed(lambda text=text: index.search(text, as_of=TODAY, k=5))[0])  # type: ignore[misc]
        times["embedding it"].append(_timed(lambda text=text: index._embedder._embed([text]))[0])  # type: ignore[misc]
    scope = index._scope(TODAY, frozenset())
    near = [{row["place"] for row in index._near(text, scope, 20)[:10]} for text in texts]
    exact, exact_times = [], []
    index.facts["approximate"] = False
    for text in texts[:100]:
        took, rows = _timed(lambda text=text: index._near(text, scope, 20))  # type: ignore[misc]
        exact.append({row["place"] for row in rows[:10]})
        exact_times.append(took)
    recall = sum(len(one & other) for one, other in zip(near, exact, strict=False)) / (10 * len(exact))
    return {
        "questions": len(texts),
        **{f"{name}, p50/p95 ms": _milliseconds(some) for name, some in times.items()},
        "vectors exactly, p50/p95 ms": _milliseconds(exact_times),
        "recall@10 of the vector search": round(recall, 3),
    }


def _milliseconds(times: Sequence[float]) -> str:
    ordered = sorted(times)
    return f"{1000 * ordered[len(ordered) // 2]:.1f} / {1000 * ordered[int(len(ordered) * 0.95)]:.1f}"


def _timed(call: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    value = call()
    return time.perf_counter() - began, value


def _fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _print(rows: Sequence[dict[str, Any]]) -> None:
    columns = list(rows[0])
    print("| " + " | ".join(columns) + " |\n|" + "---|" * len(columns))  # noqa: T201
    for row in rows:
        print("| " + " | ".join(str(row[name]) for name in columns) + " |")  # noqa: T201
    print(flush=True)  # noqa: T201


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
