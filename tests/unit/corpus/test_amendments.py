from __future__ import annotations

from pipelines.corpus.amendments import Row, fold
from pipelines.corpus.documents import Document, document, faults


def doc(text: str, day: str, source: str = "", key: str = "k") -> Document:
    return document(key=key, title="", text=text, valid_from=day, arrival_id="a", source=source)


def after(*arrivals: list[Document]) -> list[Row]:
    state: list[Row] = []
    for arrival in arrivals:
        state = fold(state, arrival).rows
    return state


def spans(rows: list[Row]) -> list[tuple[str, str, str]]:
    return [(row.document.text, row.document.valid_from, row.document.valid_to) for row in rows]


def test_a_text_that_is_repeated_is_not_stored_twice() -> None:
    rows = after([doc("a", "2011-01-01")], [doc("a", "2012-01-01")], [doc("a", "2013-01-01")])
    assert spans(rows) == [("a", "2011-01-01", "9999-12-31")]
    assert fold(rows, [doc("a", "2013-01-01")]).touched == set()


def test_a_late_text_between_two_equal_ones_splits_them() -> None:
    rows = after([doc("a", "2011-01-01")], [doc("a", "2013-01-01")], [doc("b", "2012-01-01")])
    assert spans(rows) == [("a", "2011-01-01", "2012-01-01"), ("b", "2012-01-01", "2013-01-01"), ("a", "2013-01-01", "9999-12-31")]


def test_same_day_the_newer_source_stands_in_either_order() -> None:
    older, newer = doc("old", "2014-01-01", "2013-01384"), doc("new", "2014-01-01", "2013-22752")
    assert after([older], [newer]) == after([newer], [older])
    assert spans(after([newer], [older])) == [("new", "2014-01-01", "9999-12-31")]
    assert fold(after([newer]), [older]).changed["unchanged"] == 1


def test_same_day_without_a_document_number_the_later_delivery_stands() -> None:
    assert spans(after([doc("typo", "2014-01-01")], [doc("mended", "2014-01-01")])) == [("mended", "2014-01-01", "9999-12-31")]


def test_every_delivered_document_is_counted_once() -> None:
    folded = fold(after([doc("a", "2011-01-01")]), [doc("b", "2012-01-01"), doc("b", "2013-01-01"), doc("c", "2011-01-01", key="k2")])
    assert folded.changed == {"added": 1, "superseded": 1, "withdrawn": 0, "unchanged": 1}


def test_faults_sees_overlaps_and_twins() -> None:
    assert faults([doc("a", "2011-01-01"), doc("b", "2011-01-01")]) == ["k: two texts from 2011-01-01"]
    assert faults([doc("a", "2011-01-01"), doc("b", "2012-01-01")]) == ["k: the text of 2011-01-01 overlaps that of 2012-01-01"]
