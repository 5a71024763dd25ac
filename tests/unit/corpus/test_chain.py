"""Amendment chains: the source's order decides, never the order of arrival; checked on the real regulations where they are at hand."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from pipelines.config import Sources
from pipelines.corpus.chain import Link, Step, part_of, replay
from pipelines.corpus.documents import Document, as_of, document, faults, state_of
from pipelines.intake.formats import RawRecord, read


def step(number: str, effective: str, amends: str, texts: dict[str, str | None], *subtrees: str) -> Step:
    documents = tuple(
        document(key=key, title="", text=text or "", valid_from=effective, arrival_id=f"a-{number}", source=number, withdrawn=text is None)
        for key, text in texts.items()
    )
    return Step(Link("7", number, effective, amends), documents, frozenset(subtrees))


ROOT = step("2011-1", "2011-01-01", "", {"7-1": "one", "7-2": "two", "7-2-a": "two a"})
FIRST = step("2013-1", "2014-01-18", "2011-1", {"7-1": "one, amended"}, "7-1")
SECOND = step("2013-2", "2014-01-10", "2013-1", {"7-2": "two, amended"}, "7-2")


def held(documents: list[Document], day: str) -> dict[str, str]:
    return {row.key: row.text for row in as_of(documents, day)}


def test_a_notice_that_takes_effect_before_the_one_it_amends_carries_it_into_force() -> None:
    found = replay([SECOND, FIRST, ROOT])
    assert found.waiting == []
    assert faults(found.documents) == []
    assert held(found.documents, "2014-01-09") == {"7-1": "one", "7-2": "two", "7-2-a": "two a"}
    both = {"7-1": "one, amended", "7-2": "two, amended"}
    assert held(found.documents, "2014-01-10") == both
    assert held(found.documents, "2014-02-01") == both
    (first,) = (row for row in found.documents if row.text == "one, amended")
    assert (first.valid_from, first.source) == ("2014-01-10", "2013-1")


def test_any_order_of_arrival_gives_the_same_rows() -> None:
    steps = [ROOT, FIRST, SECOND, step("2015-1", "2016-01-01", "2013-2", {"7-1": None, "7-3": "three"})]
    wanted = replay(steps).documents
    for seed in range(6):
        shuffled = random.Random(seed).sample(steps, len(steps))  # noqa: S311
        assert replay(shuffled).documents == wanted


def test_a_link_without_its_base_waits_with_all_that_rests_on_it_and_resolves_when_it_comes() -> None:
    later = step("2016-9", "2017-01-01", "2013-2", {"7-4": "four"})
    assert replay([ROOT, SECOND, later]).waiting == [SECOND.link, later.link]
    assert held(replay([ROOT, SECOND, later]).documents, "2020-01-01") == {"7-1": "one", "7-2": "two", "7-2-a": "two a"}
    assert replay([ROOT, SECOND, later, FIRST]).waiting == []


def test_a_later_whole_text_replaces_the_part_and_stands_for_its_own_notice() -> None:
    whole = step("2013-1", "2014-01-18", "", {"7-1": "one, anew"})
    for steps in ([ROOT, FIRST, whole], [whole, ROOT, FIRST], [ROOT, whole]):
        found = replay(steps)
        assert held(found.documents, "2014-02-01") == {"7-1": "one, anew"}
        assert held(found.documents, "2013-02-01") == {"7-1": "one", "7-2": "two", "7-2-a": "two a"}
        assert {row.key for row in found.documents if row.withdrawn} == {"7-2", "7-2-a"}


def test_of_two_documents_under_one_number_the_date_tells_which_is_amended() -> None:
    one, two = step("2017-2", "2018-01-01", "2011-1", {"7-1": "2018"}), step("2017-2", "2022-01-01", "2017-2@2018-01-01", {"7-1": "2022"})
    found = replay([two, ROOT, one])
    assert [(row.text, row.valid_from, row.valid_to) for row in found.documents if row.key == "7-1"] == [
        ("one", "2011-01-01", "2018-01-01"),
        ("2018", "2018-01-01", "2022-01-01"),
        ("2022", "2022-01-01", "9999-12-31"),
    ]


def test_a_paragraph_that_comes_back_after_its_repeal_has_two_spells() -> None:
    gone, back = step("2012-1", "2012-01-01", "2011-1", {"7-1": None}), step("2013-1", "2013-01-01", "2012-1", {"7-1": "one"})
    rows = [row for row in replay([ROOT, gone, back]).documents if row.key == "7-1"]
    assert [(row.valid_from, row.withdrawn) for row in rows] == [("2011-01-01", False), ("2012-01-01", True), ("2013-01-01", False)]


# --- the real ones ------------------------------------------------------------------------------------------------------


def real(path: Path) -> Step:
    """One RegML file as a step."""
    found = [record for record in read(path, Sources(formats=("regml",)), effective="", where="") if isinstance(record, RawRecord)]
    rows = tuple(
        document(key=r.key, title=r.title, text=r.text, valid_from=r.valid_from, arrival_id="a", source=r.source, withdrawn=r.withdrawn)
        for r in found
    )
    link = Link(part_of(rows[0].key), rows[0].source, rows[0].valid_from, str(found[0].amends))
    below, alone = ({record.key for record in found if getattr(record, name)} for name in ("replaces_below", "keeps_heading"))
    return Step(link, rows, frozenset(below), frozenset(alone))


PUBLISHED_OTHERWISE = {
    # What the published whole texts of Regulation B say otherwise than the notices they were made from: labels without "Interp", a word
    # twice, a full stop; and in 2017 whole comments that the notice restates or leaves alone are missing.
    ("1002", "2013-22752"): 10,
    ("1002", "2017-20417"): 49,
}


@pytest.mark.shared
@pytest.mark.parametrize("part", ["1002", "1013", "1016"])
def test_the_notices_reproduce_every_official_text(shared_data: Path, part: str) -> None:
    law = shared_data / "cfpb_regulations"
    official = {(one.link.number, one.link.effective): one for one in map(real, sorted((law / "regulation" / part).glob("*.xml")))}
    root = min(official.values(), key=lambda one: one.link.effective)
    notices = [real(path) for path in sorted((law / "notice" / part).glob("*.xml"))]
    for count in range(1, len(notices) + 1):
        chain, last = [root, *notices[:count]], notices[count - 1].link
        found = replay(chain)
        assert found.waiting == []
        assert faults(found.documents) == []
        now = held(found.documents, max(one.link.effective for one in chain))
        texts = {row.key: row.text for row in official[last.number, last.effective].documents}
        different = {key for key in now.keys() | texts.keys() if now.get(key) != texts.get(key)}
        assert len(different) <= PUBLISHED_OTHERWISE.get((part, last.number), 0), (last, len(different), sorted(different))
    wanted = state_of(replay([root, *notices]).documents)
    for seed in range(3):
        shuffled = random.Random(seed).sample([root, *notices], len(notices) + 1)  # noqa: S311
        assert state_of(replay(shuffled).documents) == wanted


@pytest.mark.shared
def test_from_the_whole_text_of_2018_the_notice_of_2022_gives_the_whole_text_of_2022(shared_data: Path) -> None:
    law = shared_data / "cfpb_regulations"
    found = replay([real(law / "notice/1002/2017-20417_20220101.xml"), real(law / "regulation/1002/2017-20417_20180101.xml")])
    assert found.waiting == []
    whole = real(law / "regulation/1002/2017-20417_20220101.xml")
    assert held(found.documents, "2022-06-01") == {row.key: row.text for row in whole.documents}


@pytest.mark.shared
def test_whole_texts_among_the_notices_change_nothing_they_agree_on(shared_data: Path) -> None:
    law = shared_data / "cfpb_regulations"
    chain = [real(law / "regulation/1013/2011-31723.xml"), *(real(path) for path in sorted((law / "notice/1013").glob("*.xml")))]
    more = [real(law / "regulation/1013/2014-21847.xml"), real(law / "regulation/1013/2017-24411.xml")]
    for day in ("2012-06-01", "2015-06-01", "2018-06-01"):
        assert held(replay([*more, *chain]).documents, day) == held(replay(chain).documents, day)
