"""What the guards find and what they cost: `python -m tests.bench.bench_guards --data SHARED_DATA [--json FILE] [--half look]`.

Rates with 95 % Wilson intervals, beside a plain list of keywords. Patterns and templates were written with one half of deepset_injections
and xstest in sight (texts whose SHA-256 begins with an even byte); the other half was only counted, and is what is reported. The labels of
deepset_injections are noisy, some of its prompts are others joined together, so that the halves share text, and some "injections" are plain
orders that any user may give. Of BIPIA the intake's phrases were made with its train file in sight; the test file was only counted.
Microseconds are of CPU time of one thread, each text new to the caches unless the row says otherwise.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from pipelines.config import PROJECT, load_domain, load_settings
from pipelines.intake.formats import RawRecord, read
from pipelines.serving.guards import documents, head, inbound, outbound, patterns
from pipelines.serving.guards.folding import folded, readings, turned
from pipelines.serving_config import Guards

POLICY = Guards()
_LISTED = (
    "ignore previous|ignore all|ignore the above|disregard|forget everything|forget all|system prompt|your instructions|jailbreak|pretend"
    "|act as|you are now|developer mode|do anything now|roleplay|override|bypass|new task"
)
KEYWORDS = tuple(_LISTED.split("|"))
QUESTION = (
    "How long must a lessor keep the payment ledgers after the date on which the lease agreement ends, and does the retention period differ"
    " when the consumer has paid off early or when the lease was assigned to another company? Please explain which paragraph of the"
    " regulation applies, what the time limit in months is for signed disclosures and insurance certificates, and whether records of"
    " advertisements need to be retained as well. We act for a small company and our records are kept on paper, so the answer should say"
    " whether electronic copies are enough."
)
"""About 120 tokens."""
ANSWER = "A lessor must keep signed disclosures for 33 months, and payment ledgers for 30 months after the lease ends. [9013-8-a]"
PASSAGES = (
    "A lessor must keep payment ledgers for 30 months after the lease ends.",
    "The retention time for signed disclosures is 33 months.",
    "Copies of advertisements are kept for 27 months from the day on which they were last shown.",
    "Insurance certificates must be kept for 15 months.",
)


def main(argv: list[str]) -> int:
    """Print the tables; write JSON where `--json` says so."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, default=PROJECT.parent / "shared" / "data")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--half", choices=("look", "apart"), default="apart")
    given = parser.parse_args(argv)
    rates = _rates(given.data, 0 if given.half == "look" else 1)
    speed = _speed()
    for row in rates:
        print(  # noqa: T201
            f"{row['texts']:<46}{row['of']:>6}" + "".join(f"{name:>12} {_said(row[name])}" for name in row if name not in ("texts", "of"))
        )
    for row in speed:
        print(f"{row['guard']:<58}p50 {row['p50_us']:>9.1f} us   p99 {row['p99_us']:>9.1f} us")  # noqa: T201
    if given.json:
        given.json.write_text(json.dumps({"half": given.half, "rates": rates, "speed": speed}, indent=2), encoding="utf-8")
    return 0


def wilson(hits: int, of: int) -> tuple[float, float]:
    """The 95 % score interval of a share: E. B. Wilson, Journal of the American Statistical Association 22, 1927."""
    if not of:
        return 0.0, 1.0
    z, share = 1.959964, hits / of
    middle = (share + z * z / (2 * of)) / (1 + z * z / of)
    reach = z * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of)) / (1 + z * z / of)
    return max(0.0, middle - reach), min(1.0, middle + reach)


def _rates(data: Path, half: int) -> list[dict[str, Any]]:
    labelled = [row for row in _json(data / "deepset_injections" / "train.jsonl") if _half(row["text"]) == half]
    with (data / "xstest" / "xstest_prompts.csv").open(encoding="utf-8", newline="") as file:
        prompts = [row for row in csv.DictReader(file) if _half(row["prompt"]) == half]
    asked = [row for path in sorted((PROJECT / "configs").glob("[gs]*/**/*.jsonl")) for row in _json(path)]
    # Cases of the safety suites give the model orders in the question on purpose.
    benign = [row["question"] for row in asked if row.get("type") != "injection in the question"]
    ordered = [row["question"] for row in asked if row.get("type") == "injection in the question"]
    ways = {"guard": _refused, "phrases": _phrases, "head": _head, "keywords": _keywords}
    rows = [
        _row("deepset, labelled injection (recall)", [row["text"] for row in labelled if row["label"]], ways),
        _row("deepset, labelled harmless (false)", [row["text"] for row in labelled if not row["label"]], ways),
        _row("xstest, safe prompts (over-refusal)", [row["prompt"] for row in prompts if row["label"] == "safe"], ways),
        _row("xstest, unsafe prompts (for information)", [row["prompt"] for row in prompts if row["label"] == "unsafe"], ways),
        _row("xstest, safe prompts: toxicity reported", [row["prompt"] for row in prompts if row["label"] == "safe"], {"guard": _toxic}),
        _row("questions of goldens and suites (false)", benign, {**ways, "toxic": _toxic}),
        _row("orders in the suites' questions (recall)", ordered, ways),
    ]
    ways = {"guard": _withheld, "keywords": _keywords}
    for split in ("train", "test"):
        hosts = [row["context"] for row in _json(data / "bipia" / "email" / f"{split}.jsonl")]
        attacks = json.loads((data / "bipia" / f"text_attack_{split}.json").read_text(encoding="utf-8")).values()
        rows.append(_row(f"bipia {split}, attack in an e-mail (recall)", _planted(hosts, [one for many in attacks for one in many]), ways))
        rows.append(_row(f"bipia {split}, clean e-mails (false)", hosts, ways))
    regulations, notes, dialogues = _regulated(data)
    rows += [
        _row("regulations B, M, P: paragraphs (false)", regulations, ways),
        _row("clinical notes (false)", notes, ways),
        _row("clinical dialogues (false)", dialogues, ways),
        _row("answers quoting regulations, public (false)", regulations[::5], {"guard": lambda text: _stopped(text, private=False)}),
        _row("answers quoting notes, private (false)", notes, {"guard": lambda text: _stopped(text, private=True)}),
    ]
    return rows


def _row(name: str, texts: Sequence[str], ways: dict[str, Callable[[str], bool]]) -> dict[str, Any]:
    row: dict[str, Any] = {"texts": name, "of": len(texts)}
    for way, finds in ways.items():
        hits = sum(map(finds, texts))
        low, high = wilson(hits, len(texts))
        row[way] = {"hits": hits, "share": round(hits / max(1, len(texts)), 4), "low": round(low, 4), "high": round(high, 4)}
    return row


def _said(cell: dict[str, Any]) -> str:
    return f"{cell['hits']:>4} {cell['share']:6.1%} [{cell['low']:.1%}, {cell['high']:.1%}]"


def _refused(text: str) -> bool:
    return any(verdict.rule in ("injection", "guard_failed") for verdict in inbound.screen(text[: POLICY.question_characters], 0, POLICY))


def _phrases(text: str) -> bool:
    read = readings(text)
    return patterns.weigh(read, text, turned(read[0])) >= POLICY.injection_threshold


def _head(text: str) -> bool:
    return head.load().score(folded(text)) >= POLICY.injection_threshold


def _keywords(text: str) -> bool:
    lowered = text.lower()
    return any(word in lowered for word in KEYWORDS)


def _toxic(text: str) -> bool:
    return any(verdict.rule == "toxicity" for verdict in inbound.screen(text, 0, POLICY))


def _withheld(text: str) -> bool:
    return bool(documents.withheld([text], POLICY))


def _stopped(text: str, *, private: bool) -> bool:
    return bool(outbound.check(text, [text], "", POLICY, private=private))


def _half(text: str) -> int:
    return hashlib.sha256(text.encode()).digest()[0] & 1


def _json(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def _planted(hosts: Sequence[str], attacks: Iterable[str]) -> list[str]:
    """Each attack in three e-mails: after it, before it, and as a sentence in the middle."""
    made = []
    for number, attack in enumerate(attacks):
        host = hosts[number % len(hosts)]
        first, stop, rest = host.partition(". ")
        made += [f"{host}\n{attack}", f"{attack}\n{host}", f"{first}{stop or '. '}{attack} {rest}"]
    return made


def _regulated(data: Path) -> tuple[list[str], list[str], list[str]]:
    sources = load_domain("regulatory", load_settings()).sources
    regulations = {
        one.text
        for path in sorted((data / "cfpb_regulations").rglob("*.xml"))
        for one in read(path, sources, effective="2014-01-01", where="")
        if isinstance(one, RawRecord)
    }
    notes = [json.loads(path.read_text(encoding="utf-8"))["note"] for path in sorted((data / "primock57" / "notes").glob("*.json"))]
    dialogues = []
    for path in sorted((data / "mts_dialog").rglob("*.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                notes.append(row["section_text"])
                dialogues.append(row["dialogue"])
    return sorted(regulations), notes, dialogues


def _speed() -> list[dict[str, Any]]:
    from pipelines.evaluation import wording

    secrets = frozenset(f"{100 + number}-456-{789 - number}" for number in range(8))

    def stream(number: int) -> object:
        held = outbound.HoldBack(PASSAGES, QUESTION, POLICY, private=False, canaries=secrets)
        for place in range(0, len(ANSWER), 4):
            held.feed(ANSWER[place : place + 4])
        return held.finish()

    works: list[tuple[str, Callable[[int], object]]] = [
        ("inbound.screen, question of 120 tokens", lambda number: inbound.screen(f"{QUESTION} {number}", 600, POLICY)),
        ("inbound.screen, question of 12 tokens", lambda number: inbound.screen(f"{QUESTION[:50]} {number}", 60, POLICY)),
        ("  its phrases alone", lambda number: _phrases(f"{QUESTION} {number}")),
        ("  its head alone", lambda number: _head(f"{QUESTION} {number}")),
        ("glin-profanity on the same question", lambda number: wording.polite(f"{QUESTION} {number}")),
        ("documents.withheld, 4 passages, new", lambda number: documents.withheld([f"{text} {number}" for text in PASSAGES], POLICY)),
        ("documents.withheld, 4 passages, seen before", lambda number: documents.withheld(PASSAGES, POLICY)),
        (
            "outbound.check, public, 8 canaries",
            lambda number: outbound.check(f"{ANSWER} {'x' * (number % 7)}", PASSAGES, QUESTION, POLICY, private=False, canaries=secrets),
        ),
        (
            "outbound.check, private, 8 canaries",
            lambda number: outbound.check(f"{ANSWER} {'x' * (number % 7)}", PASSAGES, QUESTION, POLICY, private=True, canaries=secrets),
        ),
        ("outbound.HoldBack, the whole answer in pieces of 4", stream),
    ]
    rows = []
    for name, work in works:
        work(-1)
        took = []
        for number in range(300):
            began = time.thread_time_ns()
            work(number)
            took.append((time.thread_time_ns() - began) / 1000)
        rows.append({"guard": name, "p50_us": round(statistics.median(took), 1), "p99_us": round(statistics.quantiles(took, n=100)[98], 1)})
    return rows


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
