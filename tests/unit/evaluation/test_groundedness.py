from __future__ import annotations

import pytest

from pipelines.evaluation.groundedness import groundedness, sentences, supports

PASSAGE = (
    "Record retention. A lessor must retain payment ledgers for 30 months after the lease ends. "
    "Insurance certificates are kept for 24 months. A lessor need not retain advertising copies.\n"
    "The threshold is $53,500. It does not apply to agricultural leases."
)
OTHER = "The applicant may request a copy of the appraisal at any time before closing."


def test_a_copy_is_grounded_and_another_matter_is_not() -> None:
    assert groundedness("A lessor must retain payment ledgers for 30 months after the lease ends.", [PASSAGE]) == 1.0
    assert groundedness(OTHER, [PASSAGE]) < 0.2
    assert groundedness(OTHER, [PASSAGE, OTHER]) == 1.0


def test_a_near_paraphrase_lies_between() -> None:
    value = groundedness("Lessors must keep the payment ledgers for 30 months.", [PASSAGE])
    assert 0.4 < value < 1


def test_a_changed_figure_halves_its_sentence_and_says_so() -> None:
    right, wrong = supports("The threshold is $53,500. The threshold is $35,500.", [PASSAGE])
    assert right.support == 1.0
    assert wrong.support < 0.5
    assert (right.why, wrong.why) == ("", "no passage holds 35,500")


def test_a_figure_with_and_without_its_comma_is_one() -> None:
    assert supports("The threshold is $53500.", [PASSAGE])[0].why == ""


@pytest.mark.parametrize(
    "sentence",
    ["It does apply to agricultural leases.", "Insurance certificates are not kept for 24 months.", "It applies to agricultural leases."],
)
def test_a_turned_not_halves(sentence: str) -> None:
    assert supports(sentence, [PASSAGE])[0].why == "one says not, the other does not"


def test_an_answer_of_no_is_no_negation() -> None:
    (found,) = supports("No, it does not apply to agricultural leases.", [PASSAGE])
    assert found.why == ""


def test_each_sentence_counts_by_its_words() -> None:
    copied = "A lessor must retain payment ledgers for 30 months after the lease ends."
    found = supports(f"{copied} Bees hum.", [PASSAGE])
    assert [one.support for one in found] == [1.0, 0.0]
    assert groundedness(f"{copied} Bees hum.", [PASSAGE]) == pytest.approx(found[0].words / (found[0].words + found[1].words))
    assert found[0].nearest.startswith("A lessor must retain payment ledgers")
    assert found[1].nearest == ""


def test_words_from_everywhere_are_worth_less_than_words_said_together() -> None:
    many = [f"Al{n}k be{n}k ga{n}k de{n}k." for n in "bcdfghjl"]
    together, scattered = "Albk bebk gabk debk.", "Albk befk gahk delk."
    assert groundedness(together, [" ".join(many)]) == 1.0
    assert groundedness(scattered, [" ".join(many)]) < 0.7


@pytest.mark.parametrize("passages", [[], [""], ["", " \n "]])
def test_of_no_passage_a_claim_is_nothing_and_a_denial_is_true(passages: list[str]) -> None:
    assert groundedness("The threshold is $53,500.", passages) == 0.0
    assert supports("The threshold is $53,500.", passages)[0].why == "there is no passage"
    assert groundedness("I do not have any information on that.", passages[:0]) == 1.0


def test_that_the_documents_do_not_say_is_a_claim_about_them() -> None:
    assert groundedness("The documents do not mention payment ledgers.", [PASSAGE]) < 0.8


@pytest.mark.parametrize("answer", ["", " \n", "...", "* - #"])
def test_nothing_said_claims_nothing(answer: str) -> None:
    assert groundedness(answer, [PASSAGE]) == 1.0
    assert supports(answer, [PASSAGE]) == []


def test_sentences_of_lists_and_headings() -> None:
    text = '## Fees\n1. Pay $5. Then wait.\n* "Keep" it!\n\n- e.g. this one is one\n***\n'
    assert sentences(text) == ["Fees", "Pay $5.", "Then wait.", '"Keep" it!', "e.g. this one is one"]


def test_other_scripts_give_a_number() -> None:
    assert 0 <= groundedness("Дело закрыто. 本件は終了。", ["Дело закрыто в 2013 году."]) <= 1
