"""The screen on public data that nobody here wrote. Floors lie slightly under what was measured when the patterns were written.

Patterns were made with `text_attack_train.json` of BIPIA in sight; its test file was only counted. Attacks are planted in e-mails.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from pipelines.config import Settings, load_domain
from pipelines.intake.formats import RawRecord, read
from pipelines.intake.screen import encoding, instructions
from pipelines.screen_config import Screen

pytestmark = pytest.mark.shared
SCREEN = Screen()


def held(text: str) -> bool:
    return any(next(rule(text, SCREEN), None) for rule in (instructions.spans, instructions.triggers, encoding.spans))


def emails(data: Path, split: str) -> list[str]:
    lines = (data / "bipia" / "email" / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["context"] for line in lines]


def planted(data: Path, split: str) -> list[str]:
    """Each attack in three e-mails: after it, before it, and as a sentence in the middle."""
    hosts = emails(data, split)
    attacks = [
        one for many in json.loads((data / "bipia" / f"text_attack_{split}.json").read_text(encoding="utf-8")).values() for one in many
    ]
    made = []
    for number, attack in enumerate(attacks):
        host = hosts[number % len(hosts)]
        head, stop, tail = host.partition(". ")
        made += [f"{host}\n{attack}", f"{attack}\n{host}", f"{head}{stop or '. '}{attack} {tail}"]
    return made


@pytest.mark.parametrize(("split", "floor"), [("train", 0.80), ("test", 0.66)])
def test_planted_instructions_are_found(shared_data: Path, split: str, floor: float) -> None:
    texts = planted(shared_data, split)
    assert sum(map(held, texts)) / len(texts) >= floor


def test_the_mails_they_are_planted_in_pass(shared_data: Path) -> None:
    texts = emails(shared_data, "train") + emails(shared_data, "test")
    assert sum(map(held, texts)) <= 1


def test_labelled_prompts_are_found_rarely_falsely(shared_data: Path) -> None:
    lines = (shared_data / "deepset_injections" / "train.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    bad, good = [row["text"] for row in rows if row["label"]], [row["text"] for row in rows if not row["label"]]
    assert sum(map(held, bad)) / len(bad) >= 0.24
    assert sum(map(held, good)) / len(good) <= 0.03


def test_no_regulation_is_held(shared_data: Path, settings: Settings) -> None:
    sources = load_domain("regulatory", settings).sources
    texts = {
        text
        for path in sorted((shared_data / "cfpb_regulations").rglob("*.xml"))
        for one in read(path, sources, effective="2014-01-01", where="")
        if isinstance(one, RawRecord)
        for text in (one.title, one.text)
    }
    assert len(texts) > 1500
    assert sum(map(held, texts)) <= len(texts) // 1000


def test_no_note_or_dialogue_is_held(shared_data: Path) -> None:
    texts = [json.loads(path.read_text(encoding="utf-8"))["note"] for path in sorted((shared_data / "primock57" / "notes").glob("*.json"))]
    for path in sorted((shared_data / "mts_dialog").rglob("*.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            texts += [text for row in csv.DictReader(file) for text in (row["section_text"], row["dialogue"])]
    assert len(texts) > 2500
    assert sum(map(held, texts)) <= len(texts) // 1000
