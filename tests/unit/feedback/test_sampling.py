"""Active sampling: uncertain answers first, unlike one another, the same ones for the same day."""

from __future__ import annotations

import numpy as np

from pipelines.feedback.sampling import LEAST, Pool, pick, uncertainty


def circle(degrees: list[float]) -> np.ndarray:
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def test_the_most_uncertain_comes_first_and_then_what_is_unlike_it() -> None:
    vectors = circle([0, 2, 4, 90, 92])
    # The second is nearly as uncertain as the first, but says the same.
    assert pick(vectors, [0.5, 0.49, 0.1, 0.2, 0.1], 2) == [0, 3]


def test_uncertainty_outweighs_some_distance() -> None:
    vectors = circle([0, 60, 90])
    assert pick(vectors, [0.9, 0.9, 0.1], 2) == [0, 1]
    assert pick(vectors, [0.9, 0.3, 0.3], 2) == [0, 2]


def test_what_is_known_already_is_kept_away_from() -> None:
    vectors = circle([0, 90])
    assert pick(vectors, [0.9, 0.2], 1) == [0]
    assert pick(vectors, [0.9, 0.2], 1, circle([0])) == [1]


def test_copies_are_not_picked_twice_and_nothing_gives_nothing() -> None:
    assert pick(circle([10, 10, 10]), [0.3, 0.4, 0.2], 3) == [1]
    assert pick(circle([]), [], 3) == [] and pick(circle([1]), [0.5], 0) == []


def test_a_pool_is_drawn_by_the_day_and_not_by_the_order_of_the_stream() -> None:
    def drawn(seed: str, names: list[str]) -> list[str]:
        pool: Pool[str] = Pool(10, seed)
        for name in names:
            pool.offer(name, 0.2, name)
        return pool.drawn()

    names = [f"r{number}" for number in range(300)]
    assert drawn("monday", names) == drawn("monday", names[::-1])
    assert drawn("monday", names) != drawn("tuesday", names) and len(drawn("monday", names)) == 10


def test_the_uncertain_are_drawn_more_often_but_not_only_they() -> None:
    unsure = 0
    for day in range(200):
        pool: Pool[bool] = Pool(10, str(day))
        for number in range(100):
            pool.offer(f"{number}", 0.4 if number < 20 else 0.1, number < 20)
        unsure += sum(pool.drawn())
    # A fifth of the answers with four times the weight: near half of the draws.
    assert 0.4 < unsure / 2000 < 0.6


def test_even_a_sure_answer_may_be_picked() -> None:
    assert uncertainty(1.0) == LEAST and uncertainty(0.2) == 0.8 and uncertainty(None) == 0.5
