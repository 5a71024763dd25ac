from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pipelines.config import Settings
from pipelines.feedback import figures
from pipelines.state.database import transaction
from pipelines.state.models import FeedbackRow, Review, ReviewItem

AT = datetime(2026, 3, 2, 8, tzinfo=UTC)


def enter(settings: Settings, *items: dict[str, Any], domain: str = "d") -> None:
    with transaction(settings) as session:
        for number, told in enumerate(items, 1):
            values = {"source": "complaint", "sealed": b"p{}", "opened_at": AT, "state": "open", "complained_at": AT, **told}
            session.add(ReviewItem(id=f"{domain}-q{number}", domain=domain, number=number, fingerprint=f"{domain}{number}", **values))


def hours(many: float) -> datetime:
    return AT + timedelta(hours=many)


def mended(after: float, **more: Any) -> dict[str, Any]:
    settled = {"state": "accepted", "settled_at": hours(1), "delivered_in": "a", "mended_by": "d/r2", "mended_at": hours(after)}
    return settled | more


def test_of_nothing_there_are_no_shares_and_no_times(settings: Settings) -> None:
    found = figures.loop(settings, "d")
    nothing = {"n": 0, "median": None, "p90": None}
    assert (found["items"], found["mended_share"], found["regressed_share"], found["edited_share"]) == (0, None, None, None)
    assert found["hours_to_mend"] == found["hours_to_settle"] == found["review_seconds"] == nothing
    assert found["oldest_waiting_hours"] is None and found["agreement"]["items"] == 0 and json.dumps(found)


def test_the_way_from_a_complaint_to_a_mended_answer(settings: Settings) -> None:
    enter(
        settings,
        *(mended(k) for k in range(2, 12)),
        mended(20, regressed_by="d/r3"),
        {"state": "accepted", "settled_at": hours(3), "delivered_in": "a"},
        {"state": "accepted", "settled_at": hours(3)},
        {"state": "rejected", "settled_at": hours(2)},
        {"state": "disputed"},
        {"source": "sampled", "complained_at": None},
    )
    enter(settings, mended(1), domain="other")
    found = figures.loop(settings, "d", until=hours(50))
    assert found["items"] == 16 and found["complaints"] == 15
    assert (found["accepted"], found["mended"], found["mended_share"]) == (13, 11, round(11 / 13, 4))
    assert (found["regressed"], found["regressed_share"]) == (1, round(1 / 11, 4))
    assert found["hours_to_mend"] == {"n": 11, "median": 7.0, "p90": 11.0}
    assert found["hours_to_settle"] == {"n": 14, "median": 1.0, "p90": 3.0}
    assert (found["waiting"], found["waiting_corrections"], found["undelivered"]) == (2, 2, 1)
    assert found["by_source"] == {"complaint": 15, "sampled": 1}
    assert found["by_state"] == {"open": 1, "disputed": 1, "escalated": 0, "accepted": 13, "rejected": 1, "expired": 0}


def test_what_nobody_complained_of_counts_from_when_it_was_found(settings: Settings) -> None:
    enter(settings, mended(6, complained_at=None, opened_at=hours(2)), mended(6, opened_at=hours(2)), {})
    found = figures.loop(settings, "d", until=hours(10))
    assert found["hours_to_mend"] == {"n": 2, "median": 5.0, "p90": 6.0}
    assert found["oldest_waiting_hours"] == 10.0


def test_what_callers_said_counts_but_not_what_was_put_aside(settings: Settings) -> None:
    said = [(1, "received"), (-1, "received"), (-1, "received"), (0, "received"), (-1, "quarantined"), (1, "refused")]
    with transaction(settings) as session:
        for number, (rating, state) in enumerate(said):
            session.add(
                FeedbackRow(id=f"fb-{number}", domain="d", request_id=f"q-{number}", key="k", tenant="t", rating=rating, state=state, at=AT)
            )
    assert figures.loop(settings, "d")["feedback"] == {"up": 1, "down": 2, "neither": 1, "quarantined": 1, "refused": 1}
    assert figures.loop(settings, "d", since=hours(1))["feedback"]["down"] == 0


def test_a_time_is_of_what_was_opened_in_it(settings: Settings) -> None:
    enter(settings, {}, {"opened_at": hours(30)})
    assert figures.loop(settings, "d", since=AT, until=hours(24))["items"] == 1
    assert figures.loop(settings, "d", since=hours(24))["items"] == 1


def test_reviews_are_timed_and_edits_counted(settings: Settings) -> None:
    enter(settings, {}, {})
    with transaction(settings) as session:
        for number, (item, verdict, seconds) in enumerate([("d-q1", "accept", 10.0), ("d-q1", "edit", 50.0), ("d-q2", "reject", None)]):
            session.add(Review(item_id=item, reviewer=f"r{number}", verdict=verdict, seconds=seconds))
    found = figures.loop(settings, "d")
    assert (found["reviews"], found["edited_share"]) == (3, 0.5)
    assert found["review_seconds"] == {"n": 2, "median": 30.0, "p90": 50.0}


@pytest.mark.parametrize(("values", "p90"), [([1.0], 1.0), ([1.0, 2.0], 2.0), ([float(k) for k in range(1, 11)], 9.0)])
def test_nine_of_ten_are_within_it(values: list[float], p90: float) -> None:
    assert figures.spread(values)["p90"] == p90
