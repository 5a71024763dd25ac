from pathlib import Path

from pipelines.corpus.documents import Document, document
from pipelines.corpus.staging import read, repeals, write
from pipelines.state.ledger import Line


def doc(key: str, text: str, day: str, source: str, arrival: str) -> Document:
    return document(key=key, title="T", text=text, valid_from=day, arrival_id=arrival, source=source)


def test_what_is_staged_comes_back_the_same(tmp_path: Path) -> None:
    documents = [doc("k", "§ 1 \u2028 \u0085 two\nlines", "2011-01-01", "", "a")]
    lines = [Line("f", "row 1", "refused", reason="empty"), Line("f", "row 2", "accepted", "k", documents[0].content)]
    write(tmp_path, documents, lines, [("k", "2011-01-01")])
    assert read(tmp_path) == (documents, lines, [("k", "2011-01-01")])


def test_an_amended_subtree_repeals_what_it_does_not_restate_and_nothing_beside_it() -> None:
    keys = ("1013-2-e", "1013-2-e-1", "1013-2-e-2", "1013-2-e-Interp-9", "1013-2-ee")
    standing = [doc(key, "old", "2011-01-01", "2010-1", "base") for key in keys]
    standing.append(doc("1013-2-e-3", "later law", "2018-01-01", "2010-1", "base"))
    amendment = [
        doc("1013-2-e", "new", "2017-01-01", "2016-28710", "notice"),
        doc("1013-2-e-1", "new", "2017-01-01", "2016-28710", "notice"),
    ]

    found = repeals(amendment, [("1013-2-e", "2017-01-01")], standing)

    assert [(row.key, row.valid_from, row.source, row.arrival_id, row.withdrawn, row.text) for row in found] == [
        ("1013-2-e-2", "2017-01-01", "2016-28710", "notice", True, "")
    ]
