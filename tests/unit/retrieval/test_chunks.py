from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from pipelines.config import Retrieval
from pipelines.corpus.documents import document
from pipelines.retrieval.chunks import chunks, cite

TEXT = (
    "The lessor shall give the notice. Dr. A. Hale signed it on May 1, 2014! A very long sentence, which has a first clause; "
    "a second clause that goes on; and a third clause without any end in sight at all.\nA new line."
)


def doc(text: str) -> object:
    return document(key="1013-2-e-1", title="", text=text, valid_from="2011-01-01", arrival_id="a")


@pytest.mark.parametrize("join", [True, False])
@pytest.mark.parametrize("words", [10, 14, 20, 100])
def test_passages_are_short_literal_and_lose_nothing(words: int, join: bool) -> None:
    found = chunks(doc(TEXT), Retrieval(chunk_words=words, join_sentences=join))  # type: ignore[arg-type]
    assert all(len(chunk.text.split()) <= words and chunk.text in TEXT for chunk in found)
    assert " ".join(chunk.text for chunk in found).split() == TEXT.split()


@pytest.mark.parametrize("join", [True, False])
@pytest.mark.parametrize("text", [TEXT, "  \n One; two.\n\n  Three\u00a0four! ", "word " * 40, " - , ; . \n x"])
def test_offsets_cut_the_passage_out_of_its_document(text: str, join: bool) -> None:
    made = doc(text)
    found = chunks(made, Retrieval(chunk_words=10, join_sentences=join))  # type: ignore[arg-type]
    assert found and all(text[chunk.start : chunk.end] == chunk.text for chunk in found)
    assert all(before.end <= after.start for before, after in pairwise(found))
    assert {chunk.content for chunk in found} == {made.content}  # type: ignore[attr-defined]


def test_sentences_stay_whole_where_they_fit() -> None:
    texts = [chunk.text for chunk in chunks(doc(TEXT), Retrieval(chunk_words=10))]  # type: ignore[arg-type]
    assert texts[:2] == ["The lessor shall give the notice.", "Dr. A. Hale signed it on May 1, 2014!"]


def test_a_sentence_has_a_passage_of_its_own_where_the_domain_says_so() -> None:
    two = doc("The gate opens at 9. It closes at 5.")
    assert [chunk.text for chunk in chunks(two, Retrieval(chunk_words=40))] == ["The gate opens at 9. It closes at 5."]  # type: ignore[arg-type]
    alone = Retrieval(chunk_words=40, join_sentences=False)
    assert [chunk.text for chunk in chunks(two, alone)] == ["The gate opens at 9.", "It closes at 5."]  # type: ignore[arg-type]


def test_parts_are_numbered_only_when_there_are_several() -> None:
    assert [chunk.paragraph for chunk in chunks(doc("One."), Retrieval(chunk_words=10))] == ["§ 1013.2(e)(1)"]  # type: ignore[arg-type]
    assert chunks(doc(TEXT), Retrieval(chunk_words=10))[0].paragraph.startswith("§ 1013.2(e)(1) (part 1 of ")  # type: ignore[arg-type]


def test_a_withdrawn_document_has_no_passages() -> None:
    assert chunks(replace(doc(""), withdrawn=True), Retrieval(chunk_words=10)) == []  # type: ignore[type-var]


@pytest.mark.parametrize(
    ("key", "cited"),
    [
        ("1013-2", "§ 1013.2"),
        ("1013-4-f-1-ii", "§ 1013.4(f)(1)(ii)"),
        ("9013-2-e-Interp-9-v", "Comment 9013.2(e)-9.v"),
        ("1013-2-Interp", "Comment 1013.2"),
        ("1013-A-1", "Appendix A-1 to Part 1013"),
        ("note-3f9c2a", "note-3f9c2a"),
    ],
)
def test_paragraph_labels_are_cited_as_lawyers_write_them(key: str, cited: str) -> None:
    assert cite(key) == cited
