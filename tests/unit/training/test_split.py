from __future__ import annotations

import random

from pipelines.corpus.documents import Document
from pipelines.evaluation.goldens import Golden
from pipelines.examples_config import Examples
from pipelines.training.split import is_held_out, split

from .conftest import document

WORDS = [f"word{n}" for n in range(400)]


def text(seed: int, changed: int = 0) -> str:
    words = random.Random(seed).choices(WORDS, k=60)  # noqa: S311
    return " ".join([*words[: 60 - changed], *(f"new{n}" for n in range(changed))])


def golden(**fields: str) -> Golden:
    return Golden.model_validate(
        {"id": "g", "question": "q?", "answer": "a", "valid_from": "2014-01-01", "author": "a", "reviewer": "b", **fields}
    )


DOCUMENTS = [document(f"d-{seed}", text(seed)) for seed in range(200)]


def keys(documents: list[Document]) -> set[str]:
    return {one.key for one in documents}


def test_evaluation_documents_and_what_is_near_them_are_left_out_and_named() -> None:
    twin, past = document("twin", text(1, 4)), document("d-1", text(900), valid_to="2012-01-01")
    near_past, far = document("near-past", text(900, 3)), document("far", text(1, 30))
    quoted = document("quoted", text(5, 2) + " the very\n words")
    parts = split(
        [*DOCUMENTS, twin, past, near_past, far, quoted], [golden(cites="d-1"), golden(id="h", quote="the very words")], Examples()
    )
    assert parts.evaluation == {"d-1", "quoted"}
    assert parts.near_evaluation == {"twin": "d-1", "near-past": "d-1", "d-5": "quoted"}
    assert keys(parts.train) == keys(DOCUMENTS) - {"d-1", "d-5"} | {"far"}
    assert not parts.held_out
    assert parts.counts() == {"evaluation_documents": 2, "near_evaluation": 3, "held_out_documents": 0, "near_held_out": 0}


def test_what_is_held_out_stays_so_whatever_comes() -> None:
    rule = Examples(held_out=0.2)
    before = split(DOCUMENTS[:100], [], rule)
    after = split(DOCUMENTS[::-1], [], rule)
    wider = split(DOCUMENTS, [], Examples(held_out=0.4))
    assert 20 < len(after.held_out) < 60
    assert keys(before.held_out) == keys(after.held_out) & keys(DOCUMENTS[:100])
    assert keys(after.held_out) < keys(wider.held_out)
    assert not keys(after.held_out) & keys(after.train)


def test_a_training_document_near_a_held_out_one_is_left_out_not_moved() -> None:
    held = next(n for n in range(200) if is_held_out(f"d-{n}", 0.2))
    names = [f"twin-{n}" for n in range(60)]
    free = next(name for name in names if not is_held_out(name, 0.2))
    parts = split([*DOCUMENTS, document(free, text(held, 3))], [], Examples(held_out=0.2))
    assert parts.near_held_out == {free: f"d-{held}"}
    assert free not in keys(parts.train) | keys(parts.held_out)
