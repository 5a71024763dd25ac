"""What two requests must have in common to share an answer."""

from __future__ import annotations

from typing import Any

import pytest
from cache_keys import key

OTHERS: dict[str, Any] = {
    "domain": "regulatory", "tenant": "south", "roles": ["nurse", "doctor"], "release": "clinical/r2", "prompt_sha256": "q",
    "index": "index-2", "policy": {"passages": 4}, "as_of": "2015-06-02", "epoch": 1, "more": "max_tokens=4",
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_a_difference_in_anything_is_another_partition(name: str) -> None:
    assert key(**{name: OTHERS[name]}).partition != key().partition
    assert key(**{name: OTHERS[name]}).exact != key().exact


def test_another_question_is_another_answer_of_the_same_partition() -> None:
    one, other = key(question="May a lessor enter?"), key(question="May a lessee enter?")
    assert one.partition == other.partition and one.exact != other.exact


def test_the_order_of_roles_and_of_a_policys_keys_means_nothing() -> None:
    assert key(roles=["b", "a", "a"], policy={"x": 1, "y": 2}) == key(roles=["a", "b"], policy={"y": 2, "x": 1})


@pytest.mark.parametrize(
    "question", ["  What is the dose of <DRUG_1>? ", "What is the\n dose\tof <DRUG_1>?", "What is the dose of\u00a0<DRUG_1>?"]
)
def test_white_space_means_nothing(question: str) -> None:
    assert key(question=question) == key()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Give 5 mg?", "Give 5 Mg?"),
        ("Is it in the US?", "Is it in the us?"),
        ("Is 10² enough?", "Is 102 enough?"),
        ("What of it?", "What of it"),
    ],
)
def test_case_and_signs_mean_something(one: str, other: str) -> None:
    assert key(question=one).exact != key(question=other).exact


def test_one_letter_written_in_two_ways_of_unicode_is_one_letter() -> None:
    assert key(question="Caf\u00e9?") == key(question="Cafe\u0301?")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"tenant": "a", "roles": ["b"]}, {"tenant": "ab", "roles": []}),
        ({"tenant": 'a",["b'}, {"tenant": "a"}),
        ({"tenant": ""}, {"tenant": " "}),
    ],
)
def test_parts_do_not_run_together(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert key(**one).partition != key(**other).partition
