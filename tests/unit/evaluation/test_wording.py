from __future__ import annotations

import pytest

from pipelines.evaluation.wording import declines, polite, readability

EASY = "The dog ran to the man. He had a big red ball. The dog and the man had a lot of fun."
HARD = (
    "Notwithstanding institutional considerations, interdepartmental reconciliation procedures necessitate comprehensive documentation"
    " demonstrating administrative responsibility throughout organisational restructuring."
)


def test_readability_follows_the_formula() -> None:
    assert readability(EASY) == 1.0
    assert readability(HARD) == 0.0
    # 36 words, 168 letters, 2 sentences: 0.0588 x 466.67 - 0.296 x 5.56 - 15.8 = 10.0 years.
    words = "abcde " * 14 + "abcd " * 4
    text = f"{words.strip()}. {words.strip()}."
    letters, count = sum(map(str.isalpha, text)), len(text.split())
    years = 0.0588 * 100 * letters / count - 0.296 * 100 * 2 / count - 15.8
    assert readability(text) == pytest.approx((18 - years) / 12)


@pytest.mark.parametrize("text", ["", "30 months", "...", "incomprehensibilities notwithstanding"])
def test_a_few_words_are_readable(text: str) -> None:
    assert readability(text) == 1.0


@pytest.mark.parametrize("text", ["what the fuck", "what the f u c k", "This is Bullshit!"])
def test_swearing_is_seen(text: str) -> None:
    assert polite(text) == 0.0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "$53,500",
        "The rectal exam was normal; breast and anal tissue unremarkable.",
        "No creditor may ask about sex or race.",
        "Scunthorpe",
    ],
)
def test_notes_and_rules_do_not_swear(text: str) -> None:
    assert polite(text) == 1.0


@pytest.mark.parametrize(
    ("text", "refusal"),
    [
        ("I'm sorry, but I can't help with that.", 1),
        ("  I’m not able to do that.", 1),
        ("As an AI, I have no view.", 1),
        ("It is not appropriate to say.", 1),
        ("No, that is wrong.", 1),
        ("Nobody knows.", 0),
        ("To kill a Python process, use its id. I'm sorry it is so long.", 0),
        ("not stated", 0),
        ("", 0),
    ],
)
def test_a_refusal_is_known_by_its_beginning(text: str, refusal: float) -> None:
    assert declines(text) == refusal
