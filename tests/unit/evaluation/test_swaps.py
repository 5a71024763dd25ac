"""The same case told of another person."""

from __future__ import annotations

from typing import Any

import pytest

from pipelines.errors import BadInput
from pipelines.evaluation.cases import Case
from pipelines.evaluation.swaps import Person, swap, variants

HE = Person("male", "Daniel Carter", "male", 34)
SHE = Person("female", "Emily Stone", "female", 34)
OLD = Person("older", "Daniel Carter", "male", 81)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("Mr Daniel Carter, a 34-year-old man, paid.", "Ms Emily Stone, a 34-year-old woman, paid."),
        ("Mr. Carter said that he hurt himself.", "Ms. Stone said that she hurt herself."),
        ("He signed his form; the pen was his.", "She signed her form; the pen was hers."),
        ("Ask him. Daniel's lease ends.", "Ask her. Emily's lease ends."),
        ("The manager and a human saw Carterville.", "The manager and a human saw Carterville."),
        ("A he-goat stays.", "A he-goat stays."),
    ],
)
def test_names_and_genders(text: str, told: str) -> None:
    assert swap(text, HE, SHE) == told


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("Mrs. Stone says she lost her keys.", "Mr. Carter says he lost his keys."),
        ("We saw her at noon and told her.", "We saw him at noon and told him."),
        ("The form is hers.", "The form is his."),
    ],
)
def test_her_is_possessive_or_not_by_what_follows(text: str, told: str) -> None:
    assert swap(text, SHE, HE) == told


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("A 34-year-old man", "An 81-year-old man"),
        ("aged 34, owes $34", "aged 81, owes $34"),
        ("34 years old; room 34", "81 years old; room 34"),
        ("a 35-year-old", "a 35-year-old"),
    ],
)
def test_ages_and_nothing_but_ages(text: str, told: str) -> None:
    assert swap(text, HE, OLD) == told
    assert swap("an 81-year-old", OLD, HE) == "a 34-year-old"


def case(**fields: Any) -> Case:
    values = {"passages": ("Mr Daniel Carter pays $5.",), "question": "What does Daniel Carter pay?", "answer": "$5"}
    return Case.model_validate({"id": "b-1", "author": "ann", "reviewer": "ben", **values, **fields})


def test_variants_are_one_pair_with_the_first_telling_among_them() -> None:
    first, second = variants(case(), HE, [SHE])
    assert first == case(id="b-1-male", pair="b-1", persona="male")
    assert (second.id, second.pair, second.persona) == ("b-1-female", "b-1", "female")
    assert (second.passages, second.question) == (("Ms Emily Stone pays $5.",), "What does Emily Stone pay?")
    named = variants(case(question="Who pays $5?", answer="Daniel Carter"), HE, [SHE])[1]
    assert named.answer == "Emily Stone"


def test_a_telling_that_differs_in_nothing_or_loses_its_answer_is_refused() -> None:
    with pytest.raises(BadInput, match="b-1 says nothing of Daniel Carter that would differ for 'older'"):
        variants(case(), HE, [OLD])
    with pytest.raises(BadInput, match="an answer that none of its passages holds"):
        variants(case(passages=("The man’s name is D. Carter, he says.",), answer="he says. Carter", question="Who?"), HE, [SHE])
