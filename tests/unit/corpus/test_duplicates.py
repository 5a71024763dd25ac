"""Duplicates: a new key with a known text is linked, an amended key never is, and a link lives as long as what it is linked to."""

from __future__ import annotations

import random

import pytest
from sqlalchemy import func, select

from pipelines.config import DomainConfig, Settings, load_domain
from pipelines.corpus import duplicates, near
from pipelines.corpus.documents import Document, document
from pipelines.state.database import reading, transaction
from pipelines.state.models import SignatureBand, TextSignature


def words(count: int, seed: int) -> str:
    drawn = random.Random(seed)  # noqa: S311
    return " ".join(f"w{drawn.randrange(5000)}" for _ in range(count))


def doc(key: str, text: str, day: str = "2014-01-01", title: str = "", withdrawn: bool = False) -> Document:
    return document(key=key, title=title, text="" if withdrawn else text, valid_from=day, arrival_id="a", withdrawn=withdrawn)


@pytest.fixture
def domain(settings: Settings) -> DomainConfig:
    return load_domain("clinical", settings)


def take(settings: Settings, domain: DomainConfig, arrival: str, *documents: Document) -> duplicates.Linking:
    """Compare and keep, as publishing does."""
    found = duplicates.compare(settings, domain, documents)
    again = duplicates.compare(settings, domain, documents)
    assert (again.linked, again.reported, again.signs) == (found.linked, found.reported, found.signs), "asked again, the same answer"
    with transaction(settings) as session:
        duplicates.enter(session, domain.domain, arrival, found)
    return found


def near_linking(domain: DomainConfig) -> DomainConfig:
    screen = domain.screen.model_copy(update={"duplicates": domain.screen.duplicates.model_copy(update={"near": "link"})})
    return domain.model_copy(update={"screen": screen})


def test_the_same_text_under_a_new_key_is_linked_within_and_across_arrivals(settings: Settings, domain: DomainConfig) -> None:
    text = words(40, 1)
    first = take(settings, domain, "one", doc("a", text), doc("b", text), doc("c", words(40, 2)))
    assert first.linked == {1: "the same text as a"}
    second = take(
        settings, domain, "two", doc("d", text), doc("e", text, title="another title"), doc("f", "short text"), doc("g", "short text")
    )
    assert second.linked == {0: "the same text as a"}
    assert second.reported == {1: "reported: nearly the same text as a (similarity 1.00)"}


def test_a_key_that_has_a_text_is_never_linked(settings: Settings, domain: DomainConfig) -> None:
    old, new = words(40, 1), words(40, 2)
    take(settings, domain, "one", doc("a", old), doc("b", new))
    found = take(settings, domain, "two", doc("a", new, "2015-01-01"))
    assert found.linked == {} and found.reported == {0: "reported: the same text as b"}
    found = take(settings, domain, "three", doc("c", words(40, 3)), doc("c", old, "2016-01-01"), doc("d", "", withdrawn=True))
    assert found.linked == {}


def test_a_text_that_began_later_does_not_stand_for_an_earlier_one(settings: Settings, domain: DomainConfig) -> None:
    text = words(40, 1)
    take(settings, domain, "one", doc("a", text, "2015-01-01"))
    assert take(settings, domain, "two", doc("b", text, "2014-01-01")).linked == {}
    assert take(settings, domain, "three", doc("c", text, "2015-06-01")).linked == {0: "the same text as b"}


def test_a_link_is_dissolved_when_what_it_is_linked_to_changes_or_goes(settings: Settings, domain: DomainConfig) -> None:
    text = words(40, 1)
    take(settings, domain, "one", doc("a", text))
    take(settings, domain, "two", doc("b", text), doc("c", text))
    found = take(settings, domain, "three", doc("a", "", "2015-01-01", withdrawn=True))
    assert sorted((row.key, row.arrival_id) for row in found.revived) == [("b", "two"), ("c", "two")]
    assert take(settings, domain, "four", doc("a", "", "2015-01-01", withdrawn=True)).revived == []
    assert take(settings, domain, "five", doc("d", text)).linked == {0: "the same text as b"}
    again = take(settings, domain, "six", doc("d", text))
    assert again.linked == {0: "the same text as b"} and again.revived == []
    changed = take(settings, domain, "seven", doc("d", words(40, 9), "2016-01-01"))
    assert [row.key for row in changed.revived] == ["d"], "its old text held until now"


def test_near_texts_are_reported_or_linked_as_the_domain_says(settings: Settings, domain: DomainConfig) -> None:
    base = words(400, 1)
    take(settings, domain, "one", doc("a", base), doc("z", words(400, 5)))
    found = duplicates.compare(settings, domain, [doc("b", base + " one more")])
    assert found.linked == {} and found.reported[0].startswith("reported: nearly the same text as a (similarity 0.9")
    found = take(settings, near_linking(domain), "two", doc("b", base + " one more"), doc("c", words(400, 6)))
    assert list(found.linked) == [0] and " a (similarity" in found.linked[0]


def test_a_domain_older_than_its_signatures_is_read_once(settings: Settings, domain: DomainConfig) -> None:
    text = words(40, 1)
    assert duplicates.is_empty(settings, "clinical")
    duplicates.rebuild(settings, domain, [doc("a", text), doc("b", "short")])
    with reading(settings) as session:
        assert set(session.scalars(select(TextSignature.key))) == {"a", "b"}
    assert not duplicates.is_empty(settings, "clinical")
    assert take(settings, domain, "two", doc("c", text)).linked == {0: "the same text as a"}
    assert take(settings, domain, "two", doc("b", text)).linked == {}


def test_what_is_kept_is_a_row_per_key_and_holds_no_text(settings: Settings, domain: DomainConfig) -> None:
    for turn in range(3):
        take(settings, domain, f"arrival {turn}", *(doc(f"k{place}", words(40, place)) for place in range(20)))
    with reading(settings) as session:
        rows = session.scalars(select(TextSignature)).all()
        assert len(rows) == 20 and all(row.sketch is not None and len(row.sketch) == 512 for row in rows)
        assert session.scalar(select(func.count()).select_from(SignatureBand)) == 20 * near.BANDS


def test_signatures_do_not_change_with_the_package() -> None:
    assert near.signature("the lessee pays the rent on the first day").tolist()[:4] == GOLDEN
    assert near.similarity(near.signature("one two three four"), near.signature("One, two; THREE four!")) == 1.0


def test_similarity_is_jaccards_within_its_error() -> None:
    base = words(300, 1).split()
    for changed in (0, 5, 20, 60):
        other = [f"x{place}" if place < changed else word for place, word in enumerate(base)]
        one, two = near.shingles(" ".join(base)), near.shingles(" ".join(other))
        true = len(one & two) / len(one | two)
        assert abs(near.similarity(near.signature(" ".join(base)), near.signature(" ".join(other))) - true) < 0.12


def test_groups_hang_together_and_strangers_do_not() -> None:
    base = words(200, 1)
    texts = [base, words(200, 2), base + " tail", words(200, 3), base + " other tail"]
    assert near.groups([near.signature(text) for text in texts], 0.8) == [[0, 2, 4]]


GOLDEN = [876850197, 8818856, 390123090, 607427747]
