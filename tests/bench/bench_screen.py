"""What the screen finds and what it costs: `python -m tests.bench.bench_screen SHARED_DATA [OUT.json]`.

Counts are of documents; precision is over the attacks planted in the test e-mails and every document that holds none. Speeds are of one
process on texts that are there already: rules about texts, signatures, and the comparison of an arrival with a corpus of signatures.
"""

from __future__ import annotations

import csv
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipelines.config import load_domain, load_settings
from pipelines.corpus import duplicates, near
from pipelines.corpus.documents import document
from pipelines.intake.formats import RawRecord, read
from pipelines.intake.screen import encoding, instructions
from pipelines.screen_config import Screen
from pipelines.state.database import migrate, transaction

SCREEN = Screen()
CORPORA = (1_000, 20_000)
ARRIVAL = 100


def main(argv: list[str]) -> int:
    """Print the tables; write JSON where a second argument says so."""
    data = Path(argv[0])
    groups = _groups(data)
    found = [{"texts": name, "documents": len(texts), "held": sum(map(_held, texts))} for name, texts in groups.items()]
    caught = next(row["held"] for row in found if row["texts"] == "planted (test)")
    false = sum(row["held"] for row in found if row["texts"] in ("regulations", "notes", "dialogues", "mails"))
    facts: dict[str, Any] = {
        "found": found,
        "precision": round(caught / max(1, caught + false), 4),
        "speed": _speed(groups),
        "linking": _linking(),
    }
    for row in found:
        print(f"{row['texts']:<18}{row['documents']:>8}{row['held']:>8}{row['held'] / row['documents']:>9.2%}")  # noqa: T201
    print(f"precision {facts['precision']:.4f}")  # noqa: T201
    for row in [*facts["speed"], *facts["linking"]]:
        print("  ".join(f"{name} {value}" for name, value in row.items()))  # noqa: T201
    if len(argv) > 1:
        Path(argv[1]).write_text(json.dumps(facts, indent=2), encoding="utf-8")
    return 0


def _held(text: str) -> bool:
    return any(next(rule(text, SCREEN), None) for rule in (instructions.spans, instructions.triggers, encoding.spans))


def _groups(data: Path) -> dict[str, list[str]]:
    sources = load_domain("regulatory", load_settings()).sources
    regulations = [
        f"{one.title}\n{one.text}"
        for path in sorted((data / "cfpb_regulations").rglob("*.xml"))
        for one in read(path, sources, effective="2014-01-01", where="")
        if isinstance(one, RawRecord)
    ]
    notes = [json.loads(path.read_text(encoding="utf-8"))["note"] for path in sorted((data / "primock57" / "notes").glob("*.json"))]
    dialogues: list[str] = []
    for path in sorted((data / "mts_dialog").rglob("*.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                notes.append(row["section_text"])
                dialogues.append(row["dialogue"])
    mails = {
        split: [json.loads(line)["context"] for line in _lines(data / "bipia" / "email" / f"{split}.jsonl")] for split in ("train", "test")
    }
    planted = {split: _planted(data, split, mails[split]) for split in mails}
    with (data / "xstest" / "xstest_prompts.csv").open(encoding="utf-8", newline="") as file:
        prompts = list(csv.DictReader(file))
    labelled = [json.loads(line) for line in _lines(data / "deepset_injections" / "train.jsonl")]
    return {
        "regulations": regulations,
        "notes": notes,
        "dialogues": dialogues,
        "mails": mails["train"] + mails["test"],
        "planted (train)": planted["train"],
        "planted (test)": planted["test"],
        "deepset, labelled": [row["text"] for row in labelled if row["label"]],
        "deepset, harmless": [row["text"] for row in labelled if not row["label"]],
        "xstest, safe": [row["prompt"] for row in prompts if row["label"] == "safe"],
    }


def _planted(data: Path, split: str, hosts: list[str]) -> list[str]:
    kinds = json.loads((data / "bipia" / f"text_attack_{split}.json").read_text(encoding="utf-8")).values()
    return [f"{hosts[number % len(hosts)]}\n{attack}" for number, attack in enumerate(one for many in kinds for one in many)]


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def _speed(groups: dict[str, list[str]]) -> list[dict[str, Any]]:
    rows = []
    works: dict[str, Callable[[str], object]] = {"rules": _held, "signature": near.signature}
    for name in ("regulations", "notes", "dialogues"):
        texts = groups[name][:1500]
        for work, function in works.items():
            began = time.perf_counter()
            for text in texts:
                function(text)
            seconds = time.perf_counter() - began
            size = sum(len(text.encode()) for text in texts) / 1e6
            rows.append({"work": work, "on": name, "documents_s": round(len(texts) / seconds), "mb_s": round(size / seconds, 2)})
    return rows


def _linking() -> list[dict[str, Any]]:
    """An arrival of 100 documents against corpora of signatures: the cost must not follow the corpus."""
    rows = []
    for size in CORPORA:
        with tempfile.TemporaryDirectory() as folder:
            settings = load_settings({"RATCHET_VAR": folder})
            migrate(settings)
            domain = load_domain("clinical", settings)
            duplicates.rebuild(settings, domain, (_document(f"old{place}", place) for place in range(size)))
            arrival = [_document(f"new{place}", place if place % 10 == 0 else size + place) for place in range(ARRIVAL)]
            began = time.perf_counter()
            linking = duplicates.compare(settings, domain, arrival)
            with transaction(settings) as session:
                duplicates.enter(session, domain.domain, "arrival", linking)
            rows.append(
                {"corpus": size, "arrival": ARRIVAL, "seconds": round(time.perf_counter() - began, 3), "linked": len(linking.linked)}
            )
    return rows


def _document(key: str, seed: int) -> Any:
    drawn = random.Random(seed)  # noqa: S311
    text = " ".join(f"w{drawn.randrange(9000)}" for _ in range(80))
    return document(key=key, title="", text=text, valid_from="2014-01-01", arrival_id="a")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
