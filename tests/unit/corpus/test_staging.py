from pathlib import Path

from pipelines.corpus.documents import document
from pipelines.corpus.staging import read, write
from pipelines.state.ledger import Line


def test_what_is_staged_comes_back_the_same(tmp_path: Path) -> None:
    documents = [document(key="k", title="T", text="§ 1 \u2028 \u0085 two\nlines", valid_from="2011-01-01", arrival_id="a")]
    lines = [Line("f", "row 1", "refused", reason="empty"), Line("f", "row 2", "accepted", "k", documents[0].content)]
    write(tmp_path, documents, lines)
    assert read(tmp_path) == (documents, lines)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["documents.jsonl", "lines.jsonl"]
