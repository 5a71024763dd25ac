"""Answers in, verdicts out."""

from __future__ import annotations

import json

import pytest
from guard_spellings import PLANTED, SECRET

from pipelines.config import PROJECT
from pipelines.serving.guards import figures, identifiers, outbound
from pipelines.serving.guards.verdict import BROKEN, Verdict
from pipelines.serving_config import Guards

PASSAGE = (
    "The limit is $53,500 as of January 10, 2014, or 25 percent for 7 days; see error E-31. (12) Keep it for 30 months."
    " Half is twenty-five."
)


def found(answer: str, *passages: str, private: bool = False, canaries: frozenset[str] = frozenset(), **policy: object) -> list[Verdict]:
    return outbound.check(answer, passages, "What is it?", Guards.model_validate(policy), private=private, canaries=canaries)


@pytest.mark.parametrize("private", [True, False], ids=["private", "public"])
@pytest.mark.parametrize(("kind", "written"), PLANTED)
def test_no_planted_identifier_goes_out(kind: str, written: str, private: bool) -> None:
    for answer in (written, f"The one on file is {written}.", f"Reach them: {written}, or write. [2]"):
        verdicts = found(answer, private=private, numbers="off")
        assert [(one.rule, one.action, one.where) for one in verdicts] == [("identifiers", "refuse", "answer")], answer


@pytest.mark.parametrize(
    "written", ["[PATIENT-12ab34cd]", "patient 12ab34cd", "note-12ab34cd56ef", "n o t e - 1 2 a b 3 4 c d 5 6 e f", "NOTE 12AB34CD56EF"]
)
def test_surrogates_of_people_stay_in_where_text_is_private(written: str) -> None:
    assert found(f"It is {written}.", f"It is {written}.", private=True)[0].rule == "identifiers"


def test_a_public_passages_contact_may_be_quoted_a_persons_number_never() -> None:
    office = "Write to help@example.org or call 512-555-0142; SSN 123-45-6789."
    assert found("Write to help@example.org or call 512-555-0142.", office) == []
    assert found("Write to other@example.org.", office)[0].rule == "identifiers"
    assert found("It is 123-45-6789.", office)[0].rule == "identifiers"
    assert found("Write to help@example.org.", office, private=True)[0].rule == "identifiers"


@pytest.mark.parametrize(
    "answer",
    [
        "30 months", "$53,500", "blood pressure 112/86", "500 mg at bedtime",
        "12 CFR 1013.4(f)(8)", "[9013-8-a]", "2014-01-10 to 2014-01-18",
        "between January 10, 2014 and 2015", "1. First 2. Second", "78 FR 12345", "ratio 1:2:3",
        "take note of it", "Look at the note 3 days later",
        "the patient added a facade", "pulse 72, 98% on air, 36.6 C",
        "$1,234,567.89 and $2,345,678.90", "see the list at the back. Then come",
    ],
)  # fmt: skip
def test_figures_of_law_and_medicine_are_no_identifiers(answer: str) -> None:
    assert found(answer, private=True, numbers="off") == []


@pytest.mark.parametrize(
    "written",
    [SECRET, "123456789", "123 456 789", "1 2 3 4 5 6 7 8 9", "1-2-3-4-5-6-7-8-9",
    "one two three four five six seven eight nine", "１２３４５６７８９",
     "123\u200b456\u200b789", "123.456.789", "MTIzLTQ1Ni03ODkgaXMgdGhlIGNvZGU="],
)  # fmt: skip
def test_planted_secrets_are_found_however_they_are_spelt(written: str) -> None:
    verdicts = found(f"The door code is {written}.", canaries=frozenset({SECRET, "987-654-321"}), identifiers="off", numbers="off")
    assert [one.rule for one in verdicts] == ["canaries"]


def test_a_short_secret_must_stand_alone() -> None:
    assert identifiers.recited("The word is zulu.", {"zulu"}) and not identifiers.recited("The zuluX.", {"zulu"})
    assert not identifiers.recited("anything", {""}) and not identifiers.recited("anything", set())


@pytest.mark.parametrize(
    "answer",
    [
        "$53,500", "53500", "53,500.00", "53.5 thousand", "$53.5k", "53 500",
        "fifty-three thousand five hundred", "January 10, 2014", "2014-01-10",
        "1/10/2014", "10 January 2014", "January 10", "25%", "25 percent", "twenty-five percent",
        "seven days", "twelve [3]", "30 months [9013-8-a]",
        "error E-31", "E31", "under § 1013.4(a)(2) and 12 CFR part 1013", "section 8",
        "one of them", "no number at all", "1. keep it\n2. give it back", "",
    ],
)  # fmt: skip
def test_numbers_that_the_passage_holds_pass_however_they_are_written(answer: str) -> None:
    assert figures.ungrounded(answer, [PASSAGE]) == 0


@pytest.mark.parametrize(
    "answer",
    [
        "$54,500",
        "535",
        "53.5",
        "53.5 million",
        "January 11, 2014",
        "2015-01-10",
        "26%",
        "eight days",
        "E-32",
        "thirty-two months",
        "$53,500 or $1",
    ],
)
def test_numbers_that_nothing_holds_are_refused(answer: str) -> None:
    assert 0 < figures.ungrounded(answer, [PASSAGE]) <= 1
    (verdict,) = found(answer, PASSAGE)
    assert (verdict.rule, verdict.action) == ("numbers", "refuse")


def test_the_question_may_hold_the_number() -> None:
    policy = Guards()
    assert outbound.check("No, not 44.", ["Nothing."], "Is it 44?", policy, private=False) == []


@pytest.mark.parametrize("answer", ["Fuck the lease.", "You sh1thead.", "f.u.c.k you all of it"])
def test_crude_answers_are_refused(answer: str) -> None:
    assert [one.rule for one in found(answer, numbers="off")] == ["toxic_answers"]


def test_every_answer_of_goldens_and_suites_may_go_out() -> None:
    rows = [
        json.loads(line)
        for path in (PROJECT / "configs").glob("[gs]*/**/*.jsonl")
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    answers = [row for row in rows if row.get("answer")]
    assert len(answers) > 100
    for row in answers:
        passages = row.get("passages") or [row.get("quote") or row["answer"]]
        assert outbound.check(f"{row['answer']} [9013-8-a]", passages, row["question"], Guards(), private=True) == [], row["id"]


def test_report_only_and_off() -> None:
    answer = "Write to a@example.com about $9."
    assert {(one.rule, one.action) for one in found(answer)} == {("identifiers", "refuse"), ("numbers", "refuse")}
    assert {one.action for one in found(answer, report_only=True)} == {"report"}
    assert found(answer, identifiers="off", numbers="off") == []


@pytest.mark.parametrize("module,name", [(identifiers, "leaked"), (identifiers, "recited"), (figures, "ungrounded")])
def test_a_guard_that_breaks_refuses(monkeypatch: pytest.MonkeyPatch, module: object, name: str) -> None:
    def broken(*_: object, **__: object) -> float:
        raise RuntimeError("secret text")

    monkeypatch.setattr(module, name, broken)
    verdicts = found("Fine.", report_only=True)
    assert verdicts == [Verdict(BROKEN, "refuse", 1.0, "answer")]
