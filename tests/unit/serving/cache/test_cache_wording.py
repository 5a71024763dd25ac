"""Which questions may have one answer, and which never."""

from __future__ import annotations

import json
import re

import pytest

from pipelines.config import PROJECT
from pipelines.serving.cache.wording import same

SAME = [
    ("What is the threshold in 2014?", "what is the threshold in 2014"),
    ("What is the threshold in 2014?", "What's the threshold in 2014, please?"),
    ("What is the threshold in 2014?", "In 2014, what is the threshold?"),
    ("What is the threshold in 2014?", "Please tell me what the threshold is in 2014"),
    ("What is the threshold?", "Could you please tell me what the threshold is?"),
    ("How long must a lessor keep payment ledgers?", "For how long must the lessor keep payment ledgers?"),
    ("How long must a lessor keep payment ledgers?", "how much time must a lessor keep payment ledgers"),
    ("When does it take effect?", "On which date does it take effect?"),
    ("How much is the fee?", "What is the amount of the fee?"),
    ("Can't the lessor enter?", "Can not the lessor enter?"),
    ("May a lessor enter?", "may a lessor enter"),
    ("Which rate applies?", "What rate applies?"),
]
DIFFERENT = [
    ("What is the threshold in 2014?", "What is the threshold in 2013?"),
    ("May a lessor enter?", "May a lessee enter?"),
    ("May a lessor enter?", "May not a lessor enter?"),
    ("May a lessor enter?", "Must a lessor enter?"),
    ("May the tenant leave?", "May the tenant never leave?"),
    ("Is consent required?", "Isn't consent required?"),
    ("Does the lessor pay the lessee?", "Does the lessee pay the lessor?"),
    ("Must notice be given before entry?", "Must notice be given after entry?"),
    ("What is the minimum fee?", "What is the maximum fee?"),
    ("Is $53,500 exempt?", "Is $53,000 exempt?"),
    ("Is $53,500 exempt?", "Is $53.500 exempt?"),
    ("Is 10,20 enough?", "Is 10, 20 enough?"),
    ("Pay 100 after 30 days?", "Pay 30 after 100 days?"),
    ("Is 5 mg safe?", "Is 5 mcg safe?"),
    ("Is 5 mg safe?", "Is 5 Mg safe?"),
    ("Is it within 30 days?", "Is it within 30 months?"),
    ("Is the left kidney affected?", "Is the right kidney affected?"),
    ("Is it paid by the lessor?", "Is it paid to the lessor?"),
    ("Is hepatitis A contagious?", "Is hepatitis contagious?"),
    ("Is hepatitis a contagious?", "Is hepatitis contagious?"),
    ("Are a few days enough?", "Are few days enough?"),
    ("Who signs for Smith?", "Who signs for Smyth?"),
    ("Who signs for <PERSON_1>?", "Who signs for <PERSON_2>?"),
    ("What was the fee?", "What is the fee?"),
    ("What are damages?", "What are damage?"),
    ("Is it in the US?", "Is it in the us?"),
    ("What does 1013.2(e) say?", "What does 1013.2(f) say?"),
    ("What is 10^2?", "What is 10^3?"),
    ("Is a temperature of -5 safe?", "Is a temperature of 5 safe?"),
    ("In 2013, who paid fees that fell due?", "Who paid fees that fell due in 2013?"),
    ("In trust, who may hold land?", "Who may hold land in trust?"),
    ('What does "rent" mean?', "What does rent mean?"),
    ("Is it 1/2 tablet?", "Is it 12 tablet?"),
    ("How long is it?", "How much is it?"),
    ("Who pays, the lessor or the lessee?", "Who pays the lessor, or the lessee?"),
    ("", "What?"),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), SAME)
def test_what_says_the_same(one: str, other: str) -> None:
    assert same(one, other) and same(other, one)


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_what_does_not(one: str, other: str) -> None:
    assert not same(one, other) and not same(other, one)


@pytest.mark.parametrize("name", ["regulatory", "clinical"])
def test_no_two_goldens_of_different_answers_share_one(name: str) -> None:
    rows = [json.loads(line) for line in (PROJECT / "configs" / "goldens" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]
    by_question = {row["question"]: row for row in rows}
    questions = list(by_question)
    found = [(a, b) for place, a in enumerate(questions) for b in questions[place + 1 :] if same(a, b)]
    assert found == []


def test_no_single_word_can_be_changed_added_or_dropped() -> None:
    """But the articles, by which no question of law is told from another."""
    question = "Within how many days must a lessor refund 40 percent of the security deposit to a former lessee who left before 1 May 2014?"
    words = question.split()
    for place, word in enumerate(words):
        if word in ("a", "the"):
            continue
        for changed in ([*words[:place], "other", *words[place + 1 :]], words[:place] + words[place + 1 :]):
            assert not same(question, " ".join(changed)), word
        assert not same(question, " ".join([*words[:place], "not", *words[place:]])), word


@pytest.mark.parametrize(
    "text", ["?" * 10_000, "a " * 10_000, "please " * 10_000, "in 2014, " * 5_000, "the the the", "\u0000", "(" * 5000]
)
def test_odd_text_is_compared_all_the_same(text: str) -> None:
    assert same(text, text)
    assert not same(text, re.sub(r"\s+$", "", text) + " else")
