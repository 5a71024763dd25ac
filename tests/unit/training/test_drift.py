from __future__ import annotations

import math
from pathlib import Path

import pytest

from pipelines.config import QuestionRule
from pipelines.corpus.documents import Document, document
from pipelines.training.drift import Profile, cached, divergence, profile

RULES = (
    QuestionRule(pattern=r"kept for (?P<n>\d+) days", ask=("How long?",), answer="{n}"),
    QuestionRule(pattern=r"costs (?P<n>\$\d+)", ask=("How much?",), answer="{n}"),
)


def text(key: str, words: str, **more: object) -> Document:
    return document(key=key, title="", text=words, valid_from="2024-01-01", arrival_id="a", **more)  # type: ignore[arg-type]


def test_the_divergence_is_lins_in_bits() -> None:
    assert divergence({1: 5}, {1: 70}) == 0.0, "shares, not counts"
    assert divergence({1: 5}, {2: 7}) == 1.0
    # P = (1/2, 1/2), Q = (1, 0): H(3/4, 1/4) - 1/2.
    assert divergence({1: 1, 2: 1}, {1: 3}) == pytest.approx(-0.75 * math.log2(0.75) - 0.25 * math.log2(0.25) - 0.5)
    assert divergence({1: 2, 2: 1}, {1: 1, 2: 4}) == divergence({1: 1, 2: 4}, {1: 2, 2: 1})
    assert divergence({}, {1: 1}) == 0.0


def test_a_profile_counts_words_without_figures_and_documents_by_rule() -> None:
    found = profile([text("a", "It is kept for 30 days"), text("b", "IT costs $5 and 7 more"), text("c", "nothing")], RULES)
    assert sum(found.words.values()) == 5 + 4 + 1
    assert found.shapes == {"task.rules[0]": 1, "task.rules[1]": 1, "": 1}
    assert profile([text("a", "kept for 1 days")], RULES).words == profile([text("a", "kept for 99 days")], RULES).words
    assert profile([text("a", "", withdrawn=True)], RULES) == Profile({}, {})


def test_a_profile_follows_from_what_changed() -> None:
    stays, goes, comes = text("a", "kept for 30 days"), text("b", "old words"), text("b", "it costs $5")
    before, after = profile([stays, goes], RULES), profile([stays, comes], RULES)
    assert before.after(gone=profile([goes], RULES), come=profile([comes], RULES)) == after


def test_the_cache_answers_for_the_same_documents_and_rules_only(tmp_path: Path) -> None:
    kept = profile([text("a", "kept for 30 days")], RULES)
    assert cached(tmp_path, "content", RULES) is None
    assert cached(tmp_path, "content", RULES, kept) == kept == cached(tmp_path, "content", RULES)
    assert cached(tmp_path, "content", RULES[:1]) is None
    assert cached(tmp_path, "other", RULES) is None
