from pathlib import Path

from pipelines.corpus.chain import Link
from pipelines.corpus.documents import Document, document
from pipelines.corpus.keys import Keys
from pipelines.corpus.staging import Chained, Staged, read, write
from pipelines.state.ledger import Line


def doc(key: str, text: str, day: str, source: str, arrival: str) -> Document:
    return document(key=key, title="T", text=text, valid_from=day, arrival_id=arrival, source=source)


def no_keys() -> Keys:
    raise AssertionError("a public text needs no key")


def test_what_is_staged_comes_back_the_same(tmp_path: Path) -> None:
    documents = [doc("k", "§ 1 \u2028 \u0085 two\nlines", "2011-01-01", "", "a")]
    lines = [Line("f", "row 1", "refused", reason="empty"), Line("f", "row 2", "accepted", "k", documents[0].content)]
    staged = Staged(documents, lines, [Chained(Link("7", "2013-1", "2014-01-01", "2011-1"), (0,), ("7-1",), ("7-2",))])
    write(tmp_path, staged, no_keys, seal=False)
    kept = read(tmp_path, no_keys)
    assert (list(kept.documents), kept.lines, kept.chained) == (documents, lines, staged.chained)


def test_every_document_is_of_one_link_or_of_none() -> None:
    rows = [doc(key, "x", "2014-01-01", "2013-1", "a") for key in ("7-1", "8-1", "note")]
    staged = Staged(rows, [], [Chained(Link("7", "2013-1", "2014-01-01"), (0,)), Chained(Link("8", "2013-1", "2014-01-01"), (1,))])
    assert [[row.key for row in step.documents] for step in staged.steps()] == [["7-1"], ["8-1"]]
    assert [row.key for row in staged.unchained()] == ["note"]
