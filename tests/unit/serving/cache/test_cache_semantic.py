"""Neighbours by vector, within one partition, and only where the wording agrees."""

from __future__ import annotations

import numpy as np
import pytest
from cache_keys import key

from pipelines.serving.cache.semantic import PARTITIONS, PER_PARTITION, Neighbours


def vector(*values: float) -> np.ndarray:
    made = np.array(values, dtype=np.float32)
    return made / np.linalg.norm(made)


ASKED, ALIKE = "What is the dose of <DRUG_1>?", "what's the dose of <DRUG_1>, please?"


@pytest.fixture
def neighbours() -> Neighbours:
    made = Neighbours()
    made.add(key(), vector(1, 0, 0))
    return made


def test_a_question_that_says_the_same_is_found(neighbours: Neighbours) -> None:
    ((found, cosine),) = neighbours.find(key(question=ALIKE), vector(1, 0.1, 0), 0.97)
    assert found == key() and 0.99 < cosine < 1


def test_a_near_vector_of_other_words_is_not(neighbours: Neighbours) -> None:
    assert neighbours.find(key(question="What is the dose of <DRUG_2>?"), vector(1, 0, 0), 0.97) == []


def test_the_same_words_of_a_far_vector_are_not(neighbours: Neighbours) -> None:
    assert neighbours.find(key(question=ALIKE), vector(1, 1, 0), 0.97) == []


@pytest.mark.parametrize(
    "change", [{"tenant": "south"}, {"roles": ["doctor"]}, {"release": "clinical/r2"}, {"epoch": 1}, {"as_of": "2014-01-01"}]
)
def test_nothing_of_another_partition_is(neighbours: Neighbours, change: dict[str, object]) -> None:
    assert neighbours.find(key(**change), vector(1, 0, 0), 0.0) == []


def test_the_oldest_makes_room() -> None:
    neighbours = Neighbours()
    keys = [key(question=f"What of {number}?") for number in range(PER_PARTITION + 2)]
    for one in keys:
        neighbours.add(one, vector(1, 0, 0))
    assert [bool(neighbours.find(one, vector(1, 0, 0), 2.0)) for one in keys[:1]] == [False]
    kept = neighbours._partitions[key().partition]
    assert len(kept) == PER_PARTITION and keys[0].exact not in kept._places and keys[-1].exact in kept._places


def test_a_partition_used_longest_ago_makes_room() -> None:
    neighbours = Neighbours()
    for number in range(PARTITIONS + 1):
        neighbours.add(key(tenant=str(number)), vector(1, 0))
    assert neighbours.find(key(tenant="0"), vector(1, 0), 0.9) == []
    assert neighbours.find(key(tenant=str(PARTITIONS)), vector(1, 0), 0.9)


def test_a_forgotten_one_and_a_purged_domain_are_gone(neighbours: Neighbours) -> None:
    neighbours.add(key(epoch=1), vector(1, 0, 0))
    assert neighbours.purge("clinical", 1) == 1
    assert neighbours.find(key(), vector(1, 0, 0), 0.9) == []
    neighbours.forget(key(epoch=1))
    neighbours.forget(key(epoch=1))
    assert neighbours.find(key(epoch=1), vector(1, 0, 0), 0.9) == []
    assert neighbours.purge("clinical") == 0


def test_vectors_of_another_length_begin_anew(neighbours: Neighbours) -> None:
    neighbours.add(key(), vector(1, 0))
    assert neighbours.find(key(), vector(1, 0), 0.9)
