"""What goes out of an answer while it is written."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipelines.retrieval.index import Passage
from pipelines.serving.answer import Answer, LookUp
from pipelines.serving.guards.outbound import HoldBack
from pipelines.serving.live_text import LiveText
from pipelines.serving_config import Guards

LAW = Passage("9-2", "Threshold", "Since 2014 a consumer lease above $53,500 is\nexempt from all of this part.", "9.2", "2014", "9999", 1.0)
SPAN = "a consumer lease above $53,500 is exempt from all of this part"
ANSWER = Answer(f"{SPAN} [9.2]", SPAN, LAW, (LAW,), False, None, 0.9, 10, 9, 0.1)


def live(**guards: object) -> LiveText:
    return LiveText(LookUp("q", (LAW,), "p"), HoldBack([LAW.text], "q", Guards.model_validate(guards), private=False))


def fed(text: LiveText, written: str, size: int) -> str:
    return "".join(text.feed(written[start : start + size]) for start in range(0, len(written), size))


@pytest.mark.parametrize("size", [1, 2, 3, 7, 200])
def test_what_is_sent_is_always_a_beginning_of_the_answer(size: int) -> None:
    text = live()
    sent = fed(text, f" {SPAN} [1]", size)
    assert sent == text.sent
    assert ANSWER.text.startswith(sent)
    assert sent + str(text.rest(ANSWER)) == ANSWER.text


def test_a_number_is_never_sent_in_part() -> None:
    text = live(numbers="off", identifiers="off", canaries="off", toxic_answers="off")
    assert "$53" not in fed(text, " a consumer lease above $53", 1)


def test_what_stands_in_no_passage_is_not_sent() -> None:
    text = live()
    assert fed(text, " a consumer lease above $99,999 is exempt [1]", 4) in ("", "a consumer lease above")
    refused = replace(ANSWER, text="r1 holds no checked answer to this.", answer=None, abstained=True, reason="not_in_passage")
    assert text.rest(refused) in (None, refused.text)


def test_nothing_is_sent_of_an_abstention() -> None:
    text = live()
    assert fed(text, " not stated", 1) == ""
    abstained = replace(ANSWER, text="r1 holds no checked answer to this.", answer=None, abstained=True, reason="not_stated")
    assert text.rest(abstained) == abstained.text
