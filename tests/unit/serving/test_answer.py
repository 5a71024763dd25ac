"""From a question to a checked answer, with the real prompt and tiny stand-ins for index and engine."""

from __future__ import annotations

from typing import Any

import pytest

from pipelines.config import Settings
from pipelines.retrieval.index import Passage
from pipelines.retrieval.spans import occurs, years
from pipelines.serving.answer import Parts, answer
from pipelines.serving.exchange import Generated
from pipelines.training.prompt import Prompt

PASSAGES = [
    Passage("9-2-e", "Threshold", "The amount is\n $53,500 in 2014.", "2(e)-9", "2014-01-01", "9999-12-31", 0.9),
    Passage("9-2-f", "Record", "Records are kept for two years.", "2(f)", "2011-01-01", "9999-12-31", 0.4),
]


class Shelf:
    """An index that holds these passages for every question."""

    def __init__(self, passages: list[Passage]) -> None:
        self.passages, self.asked = passages, []

    def search(self, question: str, *, as_of: str, k: int, **_: object) -> list[Passage]:
        self.asked.append((question, as_of, k))
        return self.passages[:k]


def parts(passages: list[Passage] = PASSAGES) -> Any:
    prompt = Prompt.load("grounded_extraction/v1", Settings())
    return Parts(Shelf(passages), prompt, "north", passages=2, max_tokens=12, release="regulatory/r3")  # type: ignore[arg-type]


def says(text: str) -> Any:
    return lambda prompts, adapter, max_tokens, chat: [Generated(text, 40, 5, 0.8) for _ in prompts]


def test_an_answer_is_a_span_of_the_passage_it_cites() -> None:
    found = answer("What amount?", "2014-05-01", parts(), says(" $53,500 in 2014 [1]"))
    assert (found.answer, found.abstained, found.reason) == ("$53,500 in 2014", False, None)
    assert found.cited == PASSAGES[0]
    assert found.text == "$53,500 in 2014 [2(e)-9]"
    assert (found.confidence, found.tokens_in, found.tokens_out) == (0.8, 40, 5)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (" not stated", "not_stated"),
        (" $53,500", "not_stated"),
        (" $53,500 [3]", "bad_citation"),
        (" $54,600 [1]", "not_in_passage"),
        (" years for [1]", "not_in_passage"),
        (" $53 [1]", "not_in_passage"),
    ],
)
def test_anything_else_abstains_and_shows_the_nearest_passage(said: str, reason: str) -> None:
    found = answer("What amount?", "2014-05-01", parts(), says(said))
    assert (found.answer, found.cited, found.abstained, found.reason) == (None, None, True, reason)
    assert found.text == (
        "regulatory/r3 holds no checked answer to this. The nearest passage is 2(e)-9 (Threshold): The amount is $53,500 in 2014."
    )


def test_without_a_passage_in_force_the_engine_is_not_asked() -> None:
    def never(*_: object) -> list[Generated]:
        raise AssertionError("asked")

    found = answer("What amount?", "1999-01-01", parts([]), never)
    assert (found.abstained, found.reason, found.passages) == (True, "no_passage", ())
    assert "1999-01-01" in found.text


def test_index_and_engine_get_the_policy() -> None:
    asked: list[Any] = []
    own = parts()
    answer("What amount?", "2014-05-01", own.with_adapter("south"), lambda *given: asked.append(given) or says("")(*given))
    assert own.index.asked == [("What amount?", "2014-05-01", 2)]
    [(prompts, adapter, max_tokens, chat)] = asked
    assert (adapter, max_tokens, chat) == ("south", 12, False)
    assert "$53,500" in prompts[0] and "What amount?" in prompts[0]


@pytest.mark.parametrize(
    ("span", "text", "stands"),
    [
        ("53,500", "It is $53,500.", True),
        ("$53,500", "It is $53,500 now.", True),
        ("53", "It is $53,500.", False),
        ("500", "It is $53,500.", False),
        ("201", "In 2013.", False),
        ("two  years", "for two\nyears, at least", True),
        ("", "anything", False),
        ("1.5", "1.50 percent", False),
        ("(2)", "clause (2)(i)", True),
    ],
)
def test_a_span_stands_as_a_whole(span: str, text: str, stands: bool) -> None:
    assert occurs(span, text) is stands


def test_the_paragraph_of_another_year_is_no_answer() -> None:
    found = answer("What amount in 2013?", "2014-05-01", parts(), says(" $53,500 [1]"))
    assert (found.answer, found.reason) == (None, "other_year")
    assert answer("What amount in 2014?", "2014-05-01", parts(), says(" $53,500 [1]")).answer == "$53,500"


def test_amounts_and_longer_numbers_are_no_years() -> None:
    assert years("From January 1, 2014: $2,013 and 20145, 12 CFR 1013.2, 2012.") == {"2014", "2012"}


def test_a_span_that_stands_in_one_passage_only_is_cited_there() -> None:
    found = answer("For how long?", "2014-05-01", parts(), says(" two years [1]"))
    assert (found.answer, found.cited) == ("two years", PASSAGES[1])
