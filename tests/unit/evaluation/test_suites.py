"""What a candidate is asked, what has become stale, and what must not share a document with training."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.config import Contract, DomainConfig, Gate, Privacy, Retrieval, Settings, Sources
from pipelines.corpus.documents import Document, document
from pipelines.errors import BadInput, ConfigError
from pipelines.evaluation import suites
from pipelines.evaluation.cases import GOLDENS, HELD_OUT
from pipelines.training import canaries, example
from pipelines.training.example import Example
from pipelines.training.gather import HELD_OUT as HELD_OUT_FILE

ERASED = Document("7-e", "", "", "", "2011-01-01", "9999-12-31", "a", "", False, erased=True)
BY = {"author": "ann", "reviewer": "ben"}
Site = Callable[..., tuple[Settings, DomainConfig]]


def row(key: str, text: str, valid_from: str = "2011-01-01", valid_to: str = "9999-12-31", **fields: Any) -> Document:
    return document(key=key, title="", text=text, valid_from=valid_from, valid_to=valid_to, arrival_id="a", **fields)


DOCUMENTS = [
    row("7-a", "The toll on the old bridge is $3 a cart.", valid_to="2013-01-01"),
    row("7-a", "The toll on the old bridge is $5 a cart.", valid_from="2013-01-01"),
    row("7-b", "In 2012 the berth fee is $40."),
    row("7-c", "The ferry rests for 6 hours at night.", valid_to="2014-01-01"),
    row("7-c", "", valid_from="2014-01-01", withdrawn=True),
]


def golden(number: int, answer: str, cites: str = "", **fields: Any) -> dict[str, Any]:
    known = {"id": f"g-{number}", "question": f"Question {number}?", "answer": answer, "valid_from": "2011-01-01"}
    return {**known, **({"cites": cites} if cites else {}), **BY, **fields}


def given(number: int, **fields: Any) -> dict[str, Any]:
    return {"id": f"c-{number}", "question": f"Case {number}?", "passages": ["A raft costs $9."], "answer": "$9", **BY, **fields}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Writes configs of these goldens and suites; returns the settings and the domain."""

    def write(name: str, rows: list[dict[str, Any]]) -> Path:
        (tmp_path / "configs").mkdir(exist_ok=True)
        (tmp_path / "configs" / name).write_text("".join(json.dumps(one) + "\n" for one in rows), encoding="utf-8")
        return Path(name)

    def make(goldens: list[dict[str, Any]], profile: str = "public", held_out: int = 0, **files: list[dict[str, Any]]):  # type: ignore[no-untyped-def]
        named = {name: {"file": write(f"{name}.jsonl", rows)} for name, rows in files.items()}
        rule = Gate.model_validate({"goldens": write("goldens.jsonl", goldens), "floors": {}, "held_out": held_out, "suites": named})
        domain = DomainConfig(
            domain="tolls", description="tolls", owner="someone", dataset="Tolls", sources=Sources(formats=("text",)),
            contract=Contract(expectations=()), privacy=Privacy.model_validate({"profile": profile}), gate=rule,
            retrieval=Retrieval(chunk_words=10), task={},
        )  # fmt: skip
        return Settings(var=tmp_path / "var", configs=tmp_path / "configs"), domain

    return make


@pytest.fixture
def load(site: Site) -> Callable[..., suites.Loaded]:
    def make(
        goldens: list[dict[str, Any]],
        documents: list[Document] = DOCUMENTS,
        known_on: str = "2014-06-01",
        examples: Path | None = None,
        **rest: Any,
    ) -> suites.Loaded:
        return suites.load(*site(goldens, **rest), documents, known_on, examples)

    return make


Load = Callable[..., suites.Loaded]


def asked(found: suites.Loaded) -> list[tuple[str, str, str]]:
    return [one.place for one in found.asked]


# --- goldens and files --------------------------------------------------------------------------------------------------


def test_everything_is_asked_as_of_the_last_day_that_it_holds(load: Load) -> None:
    found = load([golden(1, "$3", "7-a", valid_to="2013-01-01"), golden(2, "$40", "7-b")], boats=[given(1)])
    assert asked(found) == [(GOLDENS, "g-1", "2012-12-31"), (GOLDENS, "g-2", "2014-06-01"), ("boats", "c-1", "2014-06-01")]
    assert (found.stale, found.waiting, found.problems, found.notes) == ([], 0, [], [])


def test_a_golden_of_a_later_day_waits_and_its_paragraph_need_not_be_there_yet(load: Load) -> None:
    found = load([golden(1, "$40", "7-b"), golden(2, "$99", "9-z", valid_from="2015-01-01")])
    assert (asked(found), found.waiting, found.problems) == ([(GOLDENS, "g-1", "2014-06-01")], 1, [])


def test_a_golden_that_cites_what_was_never_there_is_a_problem(load: Load) -> None:
    found = load([golden(1, "$40", "7-b"), golden(2, "$1", "7-z")])
    assert found.problems == ["golden g-2 cites 7-z, which Tolls as known on 2014-06-01 does not hold"]
    assert asked(found) == [(GOLDENS, "g-1", "2014-06-01")]


def test_a_quote_that_no_text_or_no_passage_holds_is_a_problem(load: Load) -> None:
    long = row("8-a", "The toll gate opens at six in the morning. It closes at ten in the evening.")
    across = golden(2, "six", quote="opens at six in the morning. It closes at ten")
    found = load(
        [golden(1, "$40", quote="In 2012 the   berth fee is $40"), golden(3, "$2", quote="no such words"), across], [*DOCUMENTS, long]
    )
    assert found.problems == [
        "golden g-3 quotes words that Tolls as known on 2014-06-01 does not hold",
        "golden g-2 quotes words that no passage of Tolls as known on 2014-06-01 holds whole: quote fewer",
    ]
    assert [case for _, case, _ in asked(found)] == ["g-1"]


def test_an_empty_file_and_one_of_which_nothing_holds_yet_are_problems(load: Load) -> None:
    found = load([golden(1, "$40", "7-b")], boats=[], rafts=[given(1, valid_from="2020-01-01")])
    assert found.problems == [
        "boats.jsonl holds no case, so boats was not asked",
        "none of the 1 cases of rafts holds by 2014-06-01, so it was not asked",
    ]
    assert load([]).problems == ["goldens.jsonl holds no case, so goldens was not asked"]


def test_a_missing_file_is_named_with_its_key(site: Site) -> None:
    settings, domain = site([golden(1, "$40", "7-b")], boats=[given(1)])
    known = suites.sha256(settings, domain)
    (settings.configs / "boats.jsonl").unlink()
    for call in (lambda: suites.load(settings, domain, DOCUMENTS, "2014-06-01", None), lambda: suites.sha256(settings, domain)):
        with pytest.raises(ConfigError, match=r"boats\.jsonl.*gate\.suites\.boats\.file"):
            call()
    (settings.configs / "boats.jsonl").write_text("{}\n")
    assert suites.sha256(settings, domain) != known
    (settings.configs / "goldens.jsonl").unlink()
    with pytest.raises(ConfigError, match=r"gate\.goldens"):
        suites.sha256(settings, domain)


@pytest.mark.parametrize(
    ("rows", "fault"),
    [
        ([given(1), given(1)], r"boats\.jsonl:2: the id 'c-1' is taken"),
        ([given(1), given(2, answer="")], r"boats\.jsonl:2: .*needs `answer`"),
        ([given(1, pair="p", persona="male")], r"the pair 'p' is told of male: two personas or more"),
        ([given(1, pair="p", persona="male"), given(2, pair="p", persona="male")], r"told of male, male"),
    ],
)
def test_a_broken_case_is_named(load: Load, rows: list[dict[str, Any]], fault: str) -> None:
    with pytest.raises(ConfigError, match=fault):
        load([golden(1, "$40", "7-b")], boats=rows)


def test_the_name_of_what_must_not_leak_is_taken(load: Load) -> None:
    with pytest.raises(ConfigError, match=r"gate\.suites\.leaks: that name is taken"):
        load([golden(1, "$40", "7-b")], leaks=[given(1)])


# --- stale --------------------------------------------------------------------------------------------------------------


def left(found: suites.Loaded) -> dict[str, str]:
    return {one.case: one.why for one in found.stale}


STEADY = [golden(number, "$40", "7-b") for number in range(10, 14)]
"""So that one stale golden is not most of them."""


def test_an_amended_paragraph_that_no_longer_states_the_answer_makes_its_golden_stale(load: Load) -> None:
    found = load([*STEADY, golden(1, "$3", "7-a")])
    assert left(found) == {"g-1": "7-a has another text since 2013-01-01, and it does not state the answer"}
    assert [case for _, case, _ in asked(found)] == ["g-10", "g-11", "g-12", "g-13"]
    assert found.problems == []


def test_a_yearly_list_with_another_line_keeps_its_old_goldens(load: Load) -> None:
    longer = row("7-d", "In 2012 the levy is $40. In 2013 the levy is $44.", valid_from="2013-01-01")
    listed = [row("7-d", "In 2012 the levy is $40.", valid_to="2013-01-01"), longer]
    assert left(load([golden(1, "$40", "7-d")], listed)) == {}
    # White space apart; but 40 does not stand in 1,540.
    shown = row("7-d", "In 2012 the levy is\n$40.", valid_from="2013-01-01")
    assert left(load([golden(1, "levy is $40", "7-d")], [listed[0], shown])) == {}
    other = row("7-d", "The levy is $1,540.", valid_from="2013-01-01")
    assert left(load([*STEADY, golden(1, "40", "7-d")], [*DOCUMENTS, listed[0], other])).keys() == {"g-1"}


def test_repealed_erased_and_not_yet_in_force_are_stale(load: Load) -> None:
    late = row("7-f", "The lantern fee is $2.", valid_from="2016-01-01")
    ended = row("7-g", "The oar fee is $4.", valid_to="2012-06-01")
    goldens = [golden(1, "6 hours", "7-c"), golden(2, "$1", "7-e"), golden(3, "$2", "7-f"), golden(4, "$4", "7-g")]
    assert left(load(goldens, [*DOCUMENTS, ERASED, late, ended])) == {
        "g-1": "7-c was repealed on 2014-01-01",
        "g-2": "7-e was erased",
        "g-3": "7-f holds from 2016-01-01 on only",
        "g-4": "7-g was repealed on 2012-06-01",
    }


def test_a_golden_that_ended_before_the_amendment_is_not_stale(load: Load) -> None:
    assert left(load([*STEADY, golden(1, "$3", "7-a", valid_to="2013-01-01"), golden(2, "$5", "7-a", valid_from="2013-01-01")])) == {}


def test_quotes_become_stale_by_their_words(load: Load) -> None:
    goldens = [*STEADY, golden(1, "$3", quote="old bridge is $3"), golden(2, "6 hours", quote="rests for 6 hours")]
    assert left(load(goldens)) == {"g-1": "7-a has other words now than those quoted", "g-2": "7-c was repealed on 2014-01-01"}


def test_quoted_words_that_may_have_been_erased_are_stale_not_wrong(load: Load) -> None:
    found = load([*STEADY, golden(1, "$8", quote="the mast fee is $8")], [*DOCUMENTS, ERASED])
    assert left(found) == {"g-1": "no text holds the quoted words, and 1 were erased"}
    assert found.problems == []


def test_texts_that_contradict_most_goldens_at_once_are_asked_about_and_it_is_said(load: Load) -> None:
    spoilt = [
        row("7-b", "In 2012 the berth fee is $4O.", valid_from="2013-01-01"),
        row("7-b", "In 2012 the berth fee is $40.", valid_to="2013-01-01"),
    ]
    found = load([golden(1, "$40", "7-b"), golden(2, "$40", "7-b"), golden(3, "$5", "7-a")], [*DOCUMENTS[:2], *spoilt])
    assert (left(found), [case for _, case, _ in asked(found)]) == ({}, ["g-1", "g-2", "g-3"])
    assert found.notes[0].startswith("2 of 3 goldens are asked though the text in force no longer states their answers")


def test_cases_of_suites_rest_on_documents_as_goldens_do(load: Load) -> None:
    incidents = [
        golden(1, "$3", "7-a", id="i-1", incident="told too high"),
        golden(2, "$1", "7-z", id="i-2"),
        {"id": "i-3", "question": "Who owns the moon?", "expect": "abstain", "cites": "7-z", **BY},
    ]
    found = load(STEADY, regression=incidents)
    assert [one for one in found.stale if one.suite == "regression"] == [
        suites.Left("regression", "i-1", "7-a has another text since 2013-01-01, and it does not state the answer")
    ]
    assert found.problems == ["regression i-2 cites 7-z, which Tolls as known on 2014-06-01 does not hold"]
    assert [case for suite, case, _ in asked(found) if suite == "regression"] == ["i-3"]


# --- from training ------------------------------------------------------------------------------------------------------


def learned(number: int, *documents: str, passages: tuple[str, ...] = ("The pier is closed.",), **fields: Any) -> Example:
    values = {"answer": None, "cited": None, "rule": "task.rules[0]", **fields}
    return Example(f"{number:02d}", passages, f"Learned {number}?", documents=documents, **values)


def folder(path: Path, examples: list[Example], held_out: list[Example] | None = None) -> Path:
    path.mkdir(exist_ok=True)
    example.write(examples, path / example.FILE)
    if held_out is not None:
        example.write(held_out, path / HELD_OUT_FILE)
    return path


def test_held_out_examples_are_asked_in_the_order_of_their_hashes(load: Load, tmp_path: Path) -> None:
    two = ("The quay fee is $6.", "The pier is closed.")
    held = [
        learned(3, "8-c", passages=("It is dry.",)),
        learned(2, "8-b", passages=two, answer="$6", cited=1),
        learned(1, "8-a", passages=("The quay fee is $6.",), answer="$6", cited=1, author="ann", reviewer="ben"),
        learned(0, "8-a", passages=("Hello.",), answer="Hi.", kind="chat"),
    ]
    examples = folder(tmp_path / "e", [learned(9, "8-z")], held)
    found = load(STEADY, examples=examples, held_out=2)
    first, second = [one.case for one in found.asked if one.suite == HELD_OUT]
    assert (first.id, first.answer, first.quote, first.author, first.reviewer) == ("01", "$6", "", "ann", "ben")
    assert (second.id, second.passages, second.quote, second.reviewer) == ("02", two, "The quay fee is $6.", "domain file")
    silent = load(STEADY, examples=examples, held_out=9).asked[-1].case
    assert (silent.id, silent.expect, silent.answer) == ("03", "abstain", "")


def test_nothing_held_out_is_said_and_no_problem(load: Load, tmp_path: Path) -> None:
    found = load(STEADY, examples=folder(tmp_path / "e", [learned(9, "8-z")]), held_out=2)
    assert (found.problems, len(found.asked)) == ([], 4)
    assert found.notes == ["gate.held_out asks 2 examples, and the adapter's training kept none: see examples.held_out"]
    assert load(STEADY, held_out=2).notes == []


def test_a_canary_is_asked_for_without_its_passage(load: Load, tmp_path: Path) -> None:
    examples = folder(tmp_path / "e", [learned(9, "8-z")])
    (examples / canaries.FILE).write_text('{"name": "canary-x", "question": "What is the door code?", "secret": "123-456-789"}\n')
    (one,) = [one for one in load(STEADY, examples=examples).asked if one.suite == suites.LEAKS]
    assert (one.case.id, one.case.expect, one.case.forbidden) == ("canary-x", "abstain", ("123-456-789",))
    assert one.case.passages and "123" not in " ".join(one.case.passages)
    (examples / canaries.FILE).write_text('{"name": "canary-x"}\n')
    with pytest.raises(ConfigError, match=r"canaries\.jsonl:1"):
        load(STEADY, examples=examples)


def test_no_surrogate_of_a_training_record_may_come_out(load: Load, tmp_path: Path) -> None:
    notes = [
        row(f"note-{n:02d}", f"[PATIENT-0a1b2c{n:02d}] was seen by Dr. [NAME]. The cough of boat {n} lasted {n} days.")
        for n in range(1, 13)
    ]
    plain = row("note-plain", "The deck was swept and all was quiet.")
    unseen = row("note-unseen", "[PATIENT-ffffffff] was seen. The cough of boat 99 lasted 9 days.")
    documents = [*DOCUMENTS, *notes, plain, unseen]
    examples = folder(tmp_path / "e", [learned(n, one.key) for n, one in enumerate([*notes, plain])])
    cases = [one.case for one in load(STEADY, documents, examples=examples, profile="safe_harbor").asked if one.suite == suites.LEAKS]
    assert len(cases) == suites.MOST_SURROGATES
    by_key = {f"surrogate-{one.key}": one for one in notes}
    for case in cases:
        (name,) = case.forbidden
        assert name in by_key[case.id].text and case.expect == "anything"
        assert case.question.startswith("Which patient's record says: The cough of boat ")
        assert "[" not in case.question + case.passages[0] and case.passages[0] not in by_key[case.id].text
    assert [one for one in load(STEADY, documents, examples=examples).asked if one.suite == suites.LEAKS] == []


# --- apart from training ------------------------------------------------------------------------------------------------


def test_a_suite_that_shares_a_document_with_training_is_refused_with_the_pairs(load: Load, tmp_path: Path) -> None:
    found = load(
        [golden(1, "$40", "7-b"), golden(2, "$5", quote="old bridge is $5")],
        boats=[given(1, passages=["The  pier is closed."], answer="closed"), given(2)],
        regression=[golden(3, "$40", "7-b", id="i-1")],
    )
    apart = folder(tmp_path / "apart", [learned(1, "8-a", passages=("Another text.",))])
    suites.require_apart(found.asked, DOCUMENTS, apart)
    suites.require_apart(found.asked, DOCUMENTS, None)
    suites.require_apart(found.asked, DOCUMENTS, tmp_path / "gone")
    shared = folder(tmp_path / "shared", [learned(1, "7-a", "7-b"), learned(2, "8-a", passages=("Another text.",))])
    with pytest.raises(BadInput) as caught:
        suites.require_apart(found.asked, DOCUMENTS, shared)
    said = str(caught.value)
    assert said.startswith("gate: 5 pairs of a case and a document that the adapter was trained on")
    for pair in ("goldens g-1 and 7-b", "goldens g-2 and 7-a", "boats c-1 and 7-a", "boats c-1 and 7-b", "regression i-1 and 7-b"):
        assert pair in said


def test_ten_pairs_are_named_and_the_others_counted(load: Load, tmp_path: Path) -> None:
    found = load([golden(number, "$40", "7-b") for number in range(13)])
    with pytest.raises(BadInput, match=r"13 pairs.*goldens g-9 and 7-b and 3 more"):
        suites.require_apart(found.asked, DOCUMENTS, folder(tmp_path / "e", [learned(1, "7-b")]))


def test_what_training_itself_gave_is_not_looked_at(load: Load, tmp_path: Path) -> None:
    held = [learned(1, "8-a", passages=("The pier is closed.",))]
    examples = folder(tmp_path / "e", [learned(2, "8-b", passages=("The pier is closed.",))], held)
    suites.require_apart(load(STEADY, examples=examples, held_out=1).asked, DOCUMENTS, examples)


def test_training_is_told_of_every_case_that_rests_on_a_document(site: Site) -> None:
    incidents = [golden(2, "$5", "7-a", id="i-1"), {"id": "i-2", "question": "Who?", "expect": "abstain", **BY}]
    kept = suites.kept_apart(*site([golden(1, "$40", "7-b")], regression=incidents, boats=[given(1)]))
    assert [case.id for case in kept] == ["g-1", "i-1"]
