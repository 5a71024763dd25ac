"""What a training set costs whole, and after an arrival of 1 %: `python -m tests.bench.bench_training_set [DOCUMENTS] [OUT.json]`.

Generated definitions, one example a document with one distractor, the starter's tokenizer. Each build is a process of its own, so that its
peak memory is its own; loading transformers and the tokenizer is told apart, for it costs the same whatever the size. CPU seconds do not
depend on what else the machine does.
"""

from __future__ import annotations

import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

from pipelines.config import load_domain, load_settings
from pipelines.corpus.documents import Document, content_of, document
from pipelines.evaluation.goldens import Golden
from pipelines.examples_config import Examples

DOCUMENTS = 100_000
ARRIVAL = 0.01
GOLDENS = 100


def main(argv: list[str]) -> int:
    """Print the table; write JSON where a second argument says so."""
    if argv[:1] == ["--build"]:
        print(json.dumps(_build(Path(argv[1]), int(argv[2]))))  # noqa: T201
        return 0
    count = int(argv[0]) if argv else DOCUMENTS
    runs = {"full": count, "the same again": count, "1 % more": round(count * (1 + ARRIVAL))}
    facts: dict[str, Any] = {"documents": count, "runs": {}}
    with tempfile.TemporaryDirectory() as folder:
        for name, size in runs.items():
            command = [sys.executable, "-m", "tests.bench.bench_training_set", "--build", folder, str(size)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            facts["runs"][name] = json.loads(done.stdout.splitlines()[-1])
    full = facts["runs"]["full"]
    heads = ("split, CPU s", "examples, CPU s", "tokens, CPU s", "whole set, CPU s", "peak MB")
    print(f"{'':<16}{'examples':>10}{'fresh':>9}" + "".join(f"{name:>18}" for name in heads))  # noqa: T201
    for name, row in facts["runs"].items():
        cells = [f"{row[part]:.2f} ({row[part] / full[part]:.1%})" for part in ("split", "examples_made", "tokenised", "built")]
        print(f"{name:<16}{row['examples']:>10}{row['fresh']:>9}" + "".join(f"{cell:>18}" for cell in [*cells, str(row["peak_mb"])]))  # noqa: T201
    print(f"apart from these, loading transformers and the tokenizer: {full['loading']:.1f} CPU s; fill {full['fill']:.4f}")  # noqa: T201
    if len(argv) > 1:
        Path(argv[1]).write_text(json.dumps(facts, indent=2), encoding="utf-8")
    return 0


def _build(folder: Path, count: int) -> dict[str, Any]:
    from pipelines.training import example, structure, training_set
    from pipelines.training.prompt import Prompt
    from pipelines.training.split import split

    settings = load_settings({"RATCHET_VAR": str(folder)})
    domain = load_domain("regulatory", settings)
    domain = domain.model_copy(
        update={
            "examples": Examples(structure=("definition",)),
            "task": domain.task.model_copy(update={"passages": 2}),
            "retrieval": domain.retrieval.model_copy(update={"join_sentences": True, "chunk_words": 90}),
        }
    )
    documents = [_document(number) for number in range(count)]
    told: dict[str, Any] = {}
    with _timed(told, "split"):
        more = {"question": "?", "answer": "a", "valid_from": "2014-01-01", "author": "a", "reviewer": "b"}
        goldens = [Golden.model_validate({"id": f"g{n}", "cites": f"d-{n}", **more}) for n in range(GOLDENS)]
        parts = split(documents, goldens, domain.examples)
    made = folder / f"examples-{count}.parquet"
    with _timed(told, "examples_made"):
        example.write(structure.make(parts.train, domain), made)
    before = _cpu()
    from transformers import AutoTokenizer

    AutoTokenizer.from_pretrained(domain.base.path)
    told["loading"] = _cpu() - before
    prompt, encode_all, spent = Prompt.load(domain.task.prompt, settings), training_set.encode_all, {"cpu": 0.0, "fresh": 0}

    def counted(some: Any, *rest: Any) -> Any:
        began = _cpu()
        found = encode_all(some, *rest)
        spent["cpu"] += _cpu() - began
        spent["fresh"] += len(some)
        return found

    training_set.encode_all = counted
    with _timed(told, "built"):
        facts = training_set.build(made, domain.recipe, domain.base.path, prompt, folder / "set", cache=folder / "tokens")
    return {
        **told,
        "examples": facts.examples,
        "tokens": facts.tokens,
        "fill": facts.tokens / (facts.sequences * facts.sequence_tokens),
        "tokenised": spent["cpu"],
        "fresh": spent["fresh"],
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


@contextmanager
def _timed(told: dict[str, Any], name: str) -> Iterator[None]:
    began = _cpu()
    yield
    told[name] = _cpu() - began


def _cpu() -> float:
    return time.process_time()


_SYLLABLES = (("lea", "dis", "con", "re", "pay"), ("ver", "mon", "ti", "sur", "pla"), ("ment", "tion", "ter", "sal", "ful", "ry"))
_WORDS = ["".join(some) for some in product(*_SYLLABLES)]


def _document(number: int) -> Document:
    drawn = random.Random(number)  # noqa: S311
    term, meaning, rest = (" ".join(drawn.choices(_WORDS, k=count)) for count in (3, drawn.randint(8, 14), drawn.randint(5, 20)))
    text = f"The term “{term}” means {meaning}. {rest.capitalize()}."
    made = document(key=f"d-{number}", title="", text=text, valid_from="2014-01-01", arrival_id="a")
    assert made.content == content_of(made.key, "", text)
    return made


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
