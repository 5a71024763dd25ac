"""How far two reviewers agree, against the figures of the textbook."""

from __future__ import annotations

import pytest

from pipelines.config import Settings
from pipelines.feedback import queue
from pipelines.feedback.agreement import agreement
from pipelines.state.database import transaction
from pipelines.state.models import Review, ReviewItem


def judged(settings: Settings, number: int, *verdicts: tuple[str, str | None], reviewers: int = 2) -> None:
    with transaction(settings) as session:
        item = f"law-q{number}"
        session.add(
            ReviewItem(id=item, domain="law", number=number, fingerprint=str(number), source="complaint", sealed=b"", reviewers=reviewers)
        )
        session.flush()
        for who, (verdict, sha) in zip(("ann", "bob", "cid"), verdicts, strict=False):
            session.add(Review(item_id=item, reviewer=who, verdict=verdict, answer_sha256=sha))
            session.flush()


def test_nothing_judged_is_no_agreement(settings: Settings) -> None:
    assert agreement(settings, "law") == {"items": 0, "agreed": 0, "share": None, "kappa": None}


def test_the_share_and_kappa_of_a_known_table(settings: Settings) -> None:
    # 20 both accept, 5 and 10 differ, 15 both reject: observed 0.7, by chance 0.5 (wikipedia.org/wiki/Cohen's_kappa, first example).
    number = 0
    for count, first, second in ((20, "accept", "accept"), (5, "accept", "reject"), (10, "reject", "accept"), (15, "reject", "reject")):
        for _ in range(count):
            number += 1
            judged(settings, number, (first, None), (second, None))
    assert agreement(settings, "law") == {"items": 50, "agreed": 35, "share": 0.7, "kappa": 0.4}
    assert queue.agreement is agreement


def test_only_what_two_judged_counts_and_a_third_word_does_not(settings: Settings) -> None:
    judged(settings, 1, ("accept", "a"))
    judged(settings, 2, ("accept", "a"), ("reject", None), ("accept", "a"))
    judged(settings, 3, ("accept", "a"), ("accept", "a"), reviewers=1)
    judged(settings, 4, ("edit", "a"), ("edit", "b"))
    told = agreement(settings, "law")
    assert (told["items"], told["agreed"], told["share"]) == (2, 0, 0.0)


@pytest.mark.parametrize("verdict", ["accept", "reject"])
def test_kappa_says_nothing_where_all_say_one_thing(settings: Settings, verdict: str) -> None:
    for number in range(3):
        judged(settings, number, (verdict, None), (verdict, None))
    told = agreement(settings, "law")
    assert (told["share"], told["kappa"]) == (1.0, None)
