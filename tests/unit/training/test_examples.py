from __future__ import annotations

import re

import pytest

from pipelines.config import QuestionRule, Recipe
from pipelines.corpus.documents import Document
from pipelines.errors import BadInput, ConfigError
from pipelines.training import examples

from .conftest import RULE, TEXTS, document, domain_of


def test_every_answer_stands_in_the_passage_it_cites(documents: list[Document]) -> None:
    made = examples.make(documents, domain_of(RULE), exclude_keys=set(), seed=1)
    assert len(made) == 60
    stated = [example for example in made if example.answer is not None]
    for example in stated:
        assert example.answer in example.passages[example.cited - 1]
        year = re.search(r"\d{4}", example.question).group()
        assert [n for n, text in enumerate(example.passages, 1) if f"January 1, {year}" in text] == [example.cited]
        assert 1 <= len(example.passages) <= 3
    assert {example.cited for example in stated} == {1, 2, 3}


def test_values_are_redrawn_everywhere_in_the_paragraph(documents: list[Document]) -> None:
    made = examples.make(documents, domain_of(RULE), exclude_keys=set(), seed=1)
    lines = [text for example in made for text in example.passages if "threshold" in text]
    distractors = {text for example in made for text in example.passages if text in TEXTS}
    assert not any(example.passages[example.cited - 1] in TEXTS for example in made if example.cited)
    assert len(distractors) < len(set(lines)) / 5
    for text in lines:
        assert len(set(re.findall(r"(?:1, |31, |the )(\d{4})", text))) == 1
    assert len({example.answer for example in made}) > 40


def test_some_questions_have_no_answer(documents: list[Document]) -> None:
    made = examples.make(documents, domain_of(RULE, recipe=Recipe(examples=400)), exclude_keys=set(), seed=1)
    silent = [example for example in made if example.answer is None]
    assert 0.5 * examples.NOT_STATED_SHARE < len(silent) / len(made) < 2 * examples.NOT_STATED_SHARE
    for example in silent:
        year = re.search(r"\d{4}", example.question).group()
        assert example.cited is None
        assert not any(year in text for text in example.passages)


def test_half_of_the_distractors_are_lines_of_the_same_rule(documents: list[Document]) -> None:
    made = examples.make(documents, domain_of(RULE), exclude_keys=set(), seed=1)
    others = [t for e in made if e.answer is not None for n, t in enumerate(e.passages, 1) if n != e.cited]
    assert sum("threshold" in text for text in others) / len(others) >= 0.5


def test_same_arguments_same_examples_in_any_order_of_rows(documents: list[Document]) -> None:
    first = examples.make(documents, domain_of(RULE), exclude_keys=set(), seed=1)
    assert examples.make(documents[::-1], domain_of(RULE), exclude_keys=set(), seed=1) == first
    assert examples.make(documents, domain_of(RULE), exclude_keys=set(), seed=2) != first


def test_excluded_and_withdrawn_documents_take_no_part(documents: list[Document]) -> None:
    gone = document("1-w", TEXTS[0].replace("threshold", "repealed threshold"), withdrawn=True)
    made = examples.make([*documents, gone], domain_of(RULE), exclude_keys={"1-e-0", "1-a"}, seed=1)
    assert {key for example in made for key in example.documents} == {"1-e-1", "1-e-2", "1-e-3"}


def test_rules_get_equal_shares_and_other_kinds_are_redrawn(documents: list[Document]) -> None:
    note = document("n-1", "She takes 20 mg of ramipril for ten days; the rate was 2.5 percent, the fee $12.50.")
    dose = QuestionRule(
        pattern=r"takes (?P<dose>\d+) mg of (?P<drug>\w+) for (?P<days>\w+) days; the rate was (?P<rate>[\d.]+ percent), "
        r"the fee (?P<fee>\$[\d.]*\d)",
        ask=("How much {drug}?",),
        answer="{dose} mg",
        swap={"dose": "number", "drug": "none", "days": "number", "rate": "percent", "fee": "amount"},
    )
    made = examples.make([*documents, note], domain_of(RULE, dose), exclude_keys=set(), seed=1)
    doses = [example for example in made if example.rule == "task.rules[1]"]
    assert 25 <= len(doses) <= 35
    for example in doses:
        if example.answer is not None:
            shown = example.passages[example.cited - 1]
            form = r"She takes [1-9]\d mg of ramipril for [a-z]+ days; the rate was \d+\.\d percent, the fee \$\d+\.\d\d\."
            assert re.fullmatch(form, shown)


def test_no_rule_fits(documents: list[Document]) -> None:
    with pytest.raises(BadInput, match=r"configs/domains/regulatory\.yaml, task\.rules: no question rule matches"):
        examples.make(documents, domain_of(), exclude_keys=set(), seed=1)
    with pytest.raises(BadInput, match=r"task\.rules"):
        examples.make(documents[-1:], domain_of(RULE), exclude_keys=set(), seed=1)


def test_broken_rules_name_their_place(documents: list[Document]) -> None:
    for broken in (RULE.model_copy(update={"pattern": "("}), RULE.model_copy(update={"answer": "{amuont}"})):
        with pytest.raises(ConfigError, match=r"task\.rules\[1\]"):
            examples.make(documents, domain_of(RULE, broken), exclude_keys=set(), seed=1)


def test_an_example_names_the_versions_it_rests_on(documents: list[Document]) -> None:
    dated = [document(one.key, one.text, content=f"content of {one.key}") for one in documents]
    for example in examples.make(dated, domain_of(RULE), exclude_keys=set(), seed=1):
        assert example.contents == tuple(f"content of {key}" for key in example.documents)
        assert (example.kind, example.author, example.reviewer) == ("grounded_extraction", "rule", "")


def test_words_are_redrawn_so_that_more_than_the_known_things_are_asked_about(documents: list[Document]) -> None:
    """Every word group that is asked about takes words from the whole dataset, in passage, question and answer alike."""
    rule = QuestionRule(
        pattern=r"the (?P<what>threshold amount) is (?P<amount>\$[\d,]+)\.",
        ask=("What is the {what}?",),
        answer="{amount}",
        swap={"what": "none"},
    )
    wide = rule.model_copy(update={"pattern": r"the (?P<what>[a-z]+ [a-z]+) is (?P<amount>\$[\d,]+)\.", "swap": {"what": "words"}})
    asked = {
        number: {
            example.question for example in examples.make(documents, domain_of(one, recipe=Recipe(examples=80)), exclude_keys=set(), seed=1)
        }
        for number, one in enumerate((rule, wide))
    }
    assert asked[0] == {"What is the threshold amount?"}
    assert len(asked[1]) > 10
