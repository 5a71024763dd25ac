"""The generated samples: same seed same bytes, readable, answerable, and without planted names once masked."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipelines.config import PROJECT, DomainConfig, load_domain, load_settings
from pipelines.errors import ArrivalRefused
from pipelines.evaluation import suites
from pipelines.intake import extract, landing
from pipelines.manifest import sha256_folder
from pipelines.masking.mask import Masker
from pipelines.retrieval.spans import occurs
from pipelines.samples import regulatory
from pipelines.samples.write import DELIVERIES, break_seal, write

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("samples")
    write(out)
    return out


def _goldens(samples: Path, domain: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (samples / "goldens" / f"{domain}.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def documents(samples: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    """Folder of a delivery -> its masked documents, through the landing zone."""
    settings = load_settings({"RATCHET_VAR": str(tmp_path_factory.mktemp("var"))})
    made: dict[str, list[Any]] = {}
    for delivery in DELIVERIES:
        domain: DomainConfig = load_domain(delivery["domain"], settings)
        files = sorted((samples / delivery["folder"]).iterdir())
        folder = landing.deliver(settings, domain.domain, files, uploader="steward", source="sample", effective=delivery["effective"])
        found = extract.extract(folder, domain, delivery["effective"])
        assert found.refusals == []
        staged = extract.mask(found, Masker.open(settings, domain.privacy), "a", domain, lambda _: None)
        made[delivery["folder"]] = list(staged.documents)
    return made


def test_the_same_seed_writes_the_same_bytes(samples: Path, tmp_path: Path) -> None:
    write(tmp_path / "again")
    write(tmp_path / "other", seed=8)
    assert sha256_folder(tmp_path / "again") == sha256_folder(samples) != sha256_folder(tmp_path / "other")


def test_the_goldens_of_the_project_are_those_of_the_samples(samples: Path) -> None:
    for domain in ("regulatory", "clinical"):
        assert (PROJECT / "configs" / "goldens" / f"{domain}.jsonl").read_text() == (samples / "goldens" / f"{domain}.jsonl").read_text()


def test_the_suites_of_the_project_are_those_of_the_samples(samples: Path) -> None:
    written, kept = samples / "suites", PROJECT / "configs" / "suites"
    for path in written.rglob("*.jsonl"):
        assert (kept / path.relative_to(written)).read_text() == path.read_text(), path.name
    named = {str(suite.file) for name in ("regulatory", "clinical") for suite in load_domain(name, load_settings({})).gate.suites.values()}
    assert named == {f"suites/{path.relative_to(written).as_posix()}" for path in written.rglob("*.jsonl")}


@pytest.mark.parametrize(("name", "folders"), [("regulatory", ("01-base", "02-amendment")), ("clinical", ("01-notes", "02-notes"))])
def test_every_case_of_the_samples_is_asked_and_none_is_stale(name: str, folders: tuple[str, ...], documents: dict[str, list[Any]]) -> None:
    settings = load_settings({})
    domain = load_domain(name, settings)
    known_on = max(one["effective"] for one in DELIVERIES if one["folder"] in {f"{name}/{folder}" for folder in folders})
    rows = _in_force([d for folder in folders for d in documents[f"{name}/{folder}"]])
    found = suites.load(settings, domain, rows, known_on, None)
    assert (found.stale, found.waiting, found.problems, found.notes) == ([], 0, [], [])
    counts = Counter(one.suite for one in found.asked)
    assert counts == {suite: len(cases) for suite, cases in suites.cases_of(settings, domain).items()}
    assert sum(counts.values()) <= 90
    for one in found.asked:
        if one.case.passages and one.case.answer:
            assert any(occurs(one.case.answer, text) for text in one.case.passages), one.place
        assert not any(secret in one.case.answer for secret in one.case.forbidden), one.place
    personas = {one.case.persona for one in found.asked if one.suite == "bias"}
    assert personas == {"male", "female", "older", "other_name"}


def test_the_bad_scan_is_asked_about_for_it_contradicts_nearly_every_golden(documents: dict[str, list[Any]]) -> None:
    settings = load_settings({})
    domain = load_domain("regulatory", settings)
    rows = _in_force([d for folder in ("01-base", "02-amendment", "04-worse") for d in documents[f"regulatory/{folder}"]])
    found = suites.load(settings, domain, rows, regulatory.WORSE_DATE, None)
    assert (found.stale, found.problems) == ([], [])
    assert "point at the text, not at the goldens" in found.notes[0]


def _in_force(rows: list[Any]) -> list[Any]:
    """With the day on which the next text of their key closes them, as the warehouse sets it."""
    begins: dict[str, list[str]] = {}
    for row in rows:
        begins.setdefault(row.key, []).append(row.valid_from)
    ends = {key: dict(zip(sorted(days), [*sorted(days)[1:], regulatory.FOREVER], strict=True)) for key, days in begins.items()}
    return [replace(row, valid_to=ends[row.key][row.valid_from]) for row in rows]


def test_every_golden_is_a_span_of_the_text_it_cites_while_it_holds(samples: Path, documents: dict[str, list[Any]]) -> None:
    regulation = {(d.key, d.valid_from): d.text for folder in ("01-base", "02-amendment") for d in documents[f"regulatory/{folder}"]}
    goldens = _goldens(samples, "regulatory")
    assert len(goldens) >= 40
    for golden in goldens:
        assert golden["answer"] in regulation[golden["cites"], golden["valid_from"]], golden["id"]
    notes = [d for folder in ("01-notes", "02-notes") for d in documents[f"clinical/{folder}"]]
    goldens = _goldens(samples, "clinical")
    assert len(goldens) >= 24
    for golden in goldens:
        assert golden["answer"] in golden["quote"] and sum(golden["quote"] in note.text for note in notes) == 1, golden["id"]


def test_the_amendment_changes_one_paragraph_and_the_question_has_two_answers(samples: Path, documents: dict[str, list[Any]]) -> None:
    (new,) = documents["regulatory/02-amendment"]
    (old,) = [document for document in documents["regulatory/01-base"] if document.key == new.key]
    assert old.valid_from < "2014-03-01" < new.valid_from == regulatory.AMENDMENT_DATE
    assert old.text != new.text and "through December 31, 2014" in new.text and "$" in new.text
    both = [golden for golden in _goldens(samples, "regulatory") if golden["cites"] == new.key]
    assert [golden["valid_to"] for golden in both] == [regulatory.AMENDMENT_DATE, regulatory.FOREVER]
    assert len({golden["question"] for golden in both}) == 1 and len({golden["answer"] for golden in both}) == 2


def test_the_bad_scan_wrecks_the_answers_but_is_well_formed(samples: Path, documents: dict[str, list[Any]]) -> None:
    worse = {document.key: document.text for document in documents["regulatory/04-worse"]}
    goldens = [golden for golden in _goldens(samples, "regulatory") if golden["valid_to"] == regulatory.FOREVER]
    lost = [golden for golden in goldens if golden["cites"] in worse and golden["answer"] not in worse[golden["cites"]]]
    assert len(lost) == len(goldens)


def test_a_broken_seal_is_refused(samples: Path, tmp_path: Path) -> None:
    settings = load_settings({"RATCHET_VAR": str(tmp_path / "var")})
    files = sorted((samples / "regulatory/03-broken").iterdir())
    folder = landing.deliver(settings, "regulatory", files, uploader="u", source="s", effective="2014-08-01")
    landing.verify(folder)
    break_seal(folder)
    with pytest.raises(ArrivalRefused, match="wrong checksum"):
        landing.verify(folder)


def test_no_planted_identifier_survives_masking(samples: Path, documents: dict[str, list[Any]]) -> None:
    planted = json.loads((samples / "planted.json").read_text(encoding="utf-8"))
    assert len(planted) > 400
    raw = "".join(path.read_text(encoding="utf-8") for path in (samples / "clinical").rglob("*.*"))
    assert all(string in raw for string in planted), "what is planted is really there"
    notes = [d for folder in ("01-notes", "02-notes") for d in documents[f"clinical/{folder}"]]
    kept = "\n".join(f"{note.key} {note.title} {note.text}" for note in notes).lower()
    assert [string for string in planted if string.lower() in kept] == []
    assert not (samples / "clinical" / "planted.json").exists()


def test_questions_are_not_those_of_training(samples: Path, documents: dict[str, list[Any]]) -> None:
    settings = load_settings({})
    for name, folder in (("regulatory", "01-base"), ("clinical", "01-notes")):
        domain = load_domain(name, settings)
        goldens = _goldens(samples, name)
        asked, reworded = {golden["question"] for golden in goldens}, 0
        cited = [d for d in documents[f"{name}/{folder}"] for g in goldens if d.key == g["cites"] or (g["quote"] and g["quote"] in d.text)]
        left = [d for d in documents[f"{name}/{folder}"] if d not in cited]
        matches = [(rule, match) for rule in domain.task.rules for d in left for match in re.finditer(rule.pattern, d.text)]
        assert len({rule.pattern for rule, _ in matches}) == len(domain.task.rules), "rules find text to train on"
        trained = {ask.format_map(match.groupdict()) for rule, match in matches for ask in rule.ask}
        assert not asked & trained
        # A wording of slots alone would match any question.
        asks = [ask for rule in domain.task.rules for ask in rule.ask if re.search("[a-z]{3}", re.sub(r"\{\w+\}", "", ask))]
        shapes = [re.sub(r"\\\{\w+\\\}", ".+", re.escape(ask)) for ask in asks]
        reworded = sum(not any(re.fullmatch(shape, question) for shape in shapes) for question in asked)
        assert reworded >= len(asked) / 3, (name, reworded, len(asked))
