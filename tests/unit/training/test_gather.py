"""From documents to a version's examples: structure, pairs, people, plain text, and what is left out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipelines.config import DomainConfig
from pipelines.corpus.documents import Document, content_of
from pipelines.errors import BadInput, ConfigError
from pipelines.examples_config import Examples, Pairs, Pretrain
from pipelines.training import example, gather, people, structure
from pipelines.training.example import Example

from .conftest import RULE, TEXTS, document, domain_of
from .test_split import golden

LAW = [
    ("1013-2-a", "", "The term “gross capitalized cost” means the amount agreed upon by the lessor and the lessee. It is shown once."),
    ("1013-2-b", "", "Lessee means a natural person who leases under a consumer lease. Nobody else is one."),
    ("1013-3-a", "Form of disclosures.", "Form of disclosures. The lessor shall make the required disclosures clearly and in writing."),
    ("1013-4-f", "", "A lessor discloses the payments in the manner that is described in § 1013.4(e) of this part before consummation."),
]


def written(key: str, title: str, text: str, **fields: Any) -> Document:
    return document(key, text, title=title, content=content_of(key, title, text), **fields)


DOCUMENTS = [written(*one) for one in LAW]


def domain(passages: int = 2, **update: Any) -> DomainConfig:
    rules = update.pop("rules", ())
    made = domain_of(*rules, passages=passages)
    return made.model_copy(update={"examples": Examples(**update)})


def ask(documents: Sequence[Document], *kinds: str, passages: int = 2) -> list[Example]:
    return list(structure.make(documents, domain(passages, structure=kinds)))


@pytest.mark.parametrize(
    ("kind", "key", "answer"),
    [
        ("definition", "1013-2-a", "the amount agreed upon by the lessor and the lessee"),
        ("definition", "1013-2-b", "a natural person who leases under a consumer lease"),
        ("heading", "1013-3-a", "Form of disclosures"),
        ("reference", "1013-4-f", "§ 1013.4(e)"),
    ],
)
def test_structure_gives_questions_whose_answer_stands_in_the_cited_passage(kind: str, key: str, answer: str) -> None:
    made = [one for one in ask(DOCUMENTS, kind) if key in one.documents and one.answer == answer]
    assert len(made) == 1
    assert answer in made[0].passages[made[0].cited - 1]
    assert sum(answer in text for text in made[0].passages) == 1
    assert made[0].rule == f"structure.{kind}"
    assert dict(zip(made[0].documents, made[0].contents, strict=True))[key] == next(one.content for one in DOCUMENTS if one.key == key)


def test_an_amendment_is_asked_about_by_what_it_changed() -> None:
    old = written("9-a", "", "The lessor keeps every ledger of payments for 24 months after the lease ends.", valid_to="2014-01-01")
    new = written("9-a", "", "The lessor keeps every ledger of payments for 33 months after the lease ends.", valid_from="2014-01-01")
    (made,) = ask([old, new, *DOCUMENTS], "change")
    assert (made.answer, "24 months" in str(made)) == ("33", False)
    assert ask([old, new], "change") and not ask([new], "change")


def test_an_arrival_leaves_the_examples_of_the_others_mostly_as_they_were() -> None:
    many = [written(f"7-{n}", "", f"The term “item {n}” means a thing of sort {n} and kind {n * 7}. So it is.") for n in range(300)]
    before, after = ({one.id for one in ask(some, "definition")} for some in (many[:297], many))
    assert len(after - before) <= 15
    silent = [one for one in ask(many, "definition") if one.answer is None]
    assert 0 < len(silent) < 30 and all(one.cited is None for one in silent)


def paired(kind: str = "dialogue_note") -> DomainConfig:
    made = domain(rules=(RULE,), pairs=Pairs(given="dialogue", wanted="note", ask="Section {title}"))
    sources = made.sources.model_copy(update={"text": ("dialogue", "note"), "named_columns": True})
    return made.model_copy(update={"sources": sources, "task": made.task.model_copy(update={"kind": kind})})


@pytest.mark.parametrize("kind", ["dialogue_note", "chat"])
def test_pairs_come_from_the_named_columns(tmp_path: Path, kind: str) -> None:
    text = "dialogue:\nDoctor: Any pain?\n\nPatient: No  pain.\nnote:\nNo pain.\nnote:\nStill the note."
    rows = [document("r-1", TEXTS[0]), written("n-1", "HPI", text), written("n-2", "HPI", "dialogue:\nDoctor: Hello?")]
    gather.gather(rows, paired(kind), [], [], tmp_path)
    (made,) = example.read(tmp_path / example.FILE)
    assert made.passages == ("Doctor: Any pain?", "Patient: No pain.")
    assert (made.question, made.answer, made.kind, made.cited) == ("Section HPI", "No pain.\nnote:\nStill the note.", kind, None)


def test_columns_of_a_delivered_row_are_named(tmp_path: Path) -> None:
    from pipelines.intake.formats.rows import record

    sources = paired().sources.model_copy(update={"key": "id"})
    row = record({"id": "1", "dialogue": "Doctor: Hi", "note": "Fine."}, sources, "2014-01-01", "row 1")
    assert row.text == "dialogue:\nDoctor: Hi\nnote:\nFine."  # type: ignore[union-attr]


def test_pairs_that_cannot_be_told_apart_are_refused_with_the_domain_file() -> None:
    good = paired()
    values = good.model_dump()
    for change, words in (
        ({"sources": {**values["sources"], "named_columns": False}}, "named_columns"),
        ({"sources": {**values["sources"], "text": ["note"]}}, "'dialogue' is not among"),
        ({"task": {**values["task"], "kind": "grounded_extraction"}}, "task.kind"),
    ):
        with pytest.raises(ValueError, match=words):
            DomainConfig.model_validate({**values, **change})


# --- people -------------------------------------------------------------------------------------------------------------


def line(**fields: Any) -> str:
    key, title, text = LAW[1]
    values = {
        "question": "Who is a lessee?",
        "passages": [text],
        "answer": "a natural person",
        "cited": 1,
        "author": "ann",
        "reviewer": "ben",
        "documents": [{"key": key, "content": content_of(key, title, text)}],
    }
    return json.dumps({**values, **fields}) + "\n"


def load(tmp_path: Path, text: str) -> list[Example]:
    (tmp_path / "e.jsonl").write_text(text)
    return people.load(tmp_path / "e.jsonl", "grounded_extraction")


def test_examples_by_people_carry_their_author_reviewer_and_versions(tmp_path: Path) -> None:
    (made,) = load(tmp_path, line(made_by="feedback"))
    assert (made.rule, made.author, made.reviewer, made.documents) == ("feedback", "ann", "ben", ("1013-2-b",))
    gather.gather(DOCUMENTS, domain(), [], [made], tmp_path)
    assert example.read(tmp_path / example.FILE) == [made]


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"reviewer": "ann"}, "author and reviewer are the same"),
        ({"answer": "a firm"}, "word for word"),
        ({"cited": 2}, "cites passage 2 of 1"),
        ({"cited": None}, "needs the passage it cites"),
        ({"documents": []}, "document versions"),
        ({"reviewr": "x"}, "did you mean 'reviewer'"),
    ],
)
def test_a_line_that_cannot_be_an_example_is_named(tmp_path: Path, fields: dict[str, Any], fault: str) -> None:
    with pytest.raises(ConfigError, match=rf"e\.jsonl:2: .*{fault}"):
        load(tmp_path, line() + line(**fields))


def test_superseded_and_barred_examples_are_counted_and_listed(tmp_path: Path) -> None:
    (made,) = load(tmp_path, line())
    old = replace(DOCUMENTS[1], valid_to="2014-01-01")
    new = written("1013-2-b", "", "Lessee means anyone who leases. Nobody else is one.", valid_from="2014-01-01")
    counts = gather.gather([DOCUMENTS[0], old, new], domain(structure=("definition",)), [], [made], tmp_path)
    assert (counts["suspended"], counts["barred"]) == (1, 0)
    listed = [json.loads(row) for row in (tmp_path / gather.LEFT_OUT).read_text().splitlines()]
    assert listed == [{"example": made.id, "why": "suspended: 1013-2-b has another text now"}]
    for asked in (golden(cites="1013-2-b"), golden(cites="1013-2-a", question="Who  is a lessee?")):
        counts = gather.gather(DOCUMENTS, domain(structure=("definition", "reference")), [asked], [made], tmp_path)
        assert (counts["suspended"], counts["barred"]) == (0, 1)


# --- the whole ----------------------------------------------------------------------------------------------------------


def test_held_out_documents_give_examples_of_their_own(tmp_path: Path) -> None:
    many = [written(f"7-{n}", "", f"The term “item {n}” means a thing of sort {n} and kind {n * 7}. So it is.") for n in range(100)]
    made = domain(structure=("definition",), held_out=0.2)
    counts = gather.gather(many, made, [], [], tmp_path)
    learned, held = (example.read(tmp_path / name) for name in (example.FILE, gather.HELD_OUT))
    assert 5 < counts["held_out_documents"] < 40 and counts["held_out_examples"] == len(held) > 5
    assert not {key for one in learned for key in one.documents} & {key for one in held for key in one.documents}


def test_plain_text_is_taken_up_to_what_replay_leaves(tmp_path: Path) -> None:
    made = domain(structure=("definition",), pretrain=Pretrain(words=20, replay=0.5))
    counts = gather.gather(DOCUMENTS, made, [], [], tmp_path)
    kinds = [one.kind for one in example.read(tmp_path / example.FILE)]
    assert kinds == ["grounded_extraction"] * 2 + ["pretrain"] * 2
    assert counts["pretrain_beyond_replay"] > 0


def test_nothing_left_says_which_filter_took_how_many(tmp_path: Path) -> None:
    twin = written("1013-2-c", "", LAW[0][2])
    told = (
        r"no example can be made of the 0 documents that are left: no question rule matches.*"
        r"1 documents that goldens rest on, 1 near-duplicates of those, 0 documents held out"
    )
    with pytest.raises(BadInput, match=told):
        gather.gather([DOCUMENTS[0], twin], domain(rules=(RULE,)), [golden(cites="1013-2-a")], [], tmp_path)
    assert list(tmp_path.iterdir()) == []
