from dataclasses import replace
from pathlib import Path

from pipelines.corpus.documents import document
from pipelines.corpus.staging import read, repeals, write
from pipelines.state.ledger import Line


def test_what_is_staged_comes_back_the_same(tmp_path: Path) -> None:
    documents = [document(key="k", title="T", text="§ 1 \u2028 \u0085 two\nlines", valid_from="2011-01-01", arrival_id="a")]
    lines = [Line("f", "row 1", "refused", reason="empty"), Line("f", "row 2", "accepted", "k", documents[0].content)]
    write(tmp_path, documents, lines, [("k", "2011-01-01")])
    assert read(tmp_path) == (documents, lines, [("k", "2011-01-01")])


def test_an_amended_subtree_repeals_what_it_does_not_deliver() -> None:
    standing = [
        document(key=key, title="", text="old", valid_from="2011-01-01", arrival_id="a") for key in ("1-a", "1-a-1", "1-a-2", "1-ab")
    ]
    arriving = [document(key=key, title="", text="new", valid_from="2012-01-01", arrival_id="b") for key in ("1-a", "1-a-1")]
    gone = repeals(arriving, [("1-a", "2012-01-01")], standing)
    assert [(row.key, row.valid_from, row.withdrawn, row.text, row.arrival_id) for row in gone] == [("1-a-2", "2012-01-01", True, "", "b")]
    ended = [replace(row, valid_to="2011-06-01") for row in standing]
    assert repeals(arriving, [("1-a", "2012-01-01")], ended) == []
