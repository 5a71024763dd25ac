from __future__ import annotations

import random

import pytest

from pipelines.corpus.near import shingles
from pipelines.corpus.twins import Twins


def test_exactly_those_at_the_threshold_are_found() -> None:
    """Against every pair compared, on texts with much in common."""
    rng = random.Random(3)  # noqa: S311
    common = [f"c{n}" for n in range(30)]

    def text() -> list[str]:
        return [*common[: rng.randint(0, 30)], *(f"w{rng.randrange(40)}" for _ in range(rng.randint(0, 12)))]

    given = [text() for _ in range(40)]
    probes = [text() for _ in range(200)] + [[*one[:-1], "changed"] for one in given if one]
    for similarity in (0.5, 0.8, 0.9, 1.0):
        twins = Twins([(str(n), " ".join(one)) for n, one in enumerate(given)], similarity)
        hits = 0
        for probe in probes:
            own = shingles(" ".join(probe))
            wanted = any(
                probe and one and len(own & other) / len(own | other) >= similarity for one in given for other in [shingles(" ".join(one))]
            )
            hits += wanted
            assert (twins.of(" ".join(probe)) is not None) == wanted
        assert hits > 0


@pytest.mark.parametrize("text", ["", "  ", "two words"])
def test_short_and_empty_texts(text: str) -> None:
    assert Twins([("a", "two words"), ("b", "")], 0.8).of(text) == ("a" if text == "two words" else None)
    assert Twins([], 0.8).of(text) is None
