"""Pieces in, what may go out; and never the beginning of what is found later."""

from __future__ import annotations

import random

import pytest
from guard_spellings import PLANTED, SECRET

from pipelines.serving.guards import outbound
from pipelines.serving.guards.outbound import HoldBack, Stopped
from pipelines.serving.guards.verdict import BROKEN
from pipelines.serving_config import Guards

CALM = "The lessor keeps every ledger until the lease has come to its end and then for a while longer so that the office can look at them. "


def pieces(text: str, seed: int) -> list[str]:
    drawn = random.Random(seed)  # noqa: S311
    cut: list[str] = []
    while text:
        size = drawn.choice((1, 2, 3, 5, 8, 21))
        cut.append(text[:size])
        text = text[size:]
    return cut


def run(text: str, seed: int, *passages: str, private: bool = True, **policy: object) -> tuple[str, HoldBack, Stopped | None]:
    held = HoldBack(
        passages, "What?", Guards.model_validate(policy), private=private, canaries=frozenset({SECRET, "blue heron lands twice"})
    )
    out = ""
    try:
        for piece in pieces(text, seed):
            out += held.feed(piece)
        return out + held.finish(), held, None
    except Stopped as stopped:
        return out, held, stopped


@pytest.mark.parametrize("seed", range(4))
def test_what_is_clean_comes_out_whole_and_early(seed: int) -> None:
    text = CALM * 4 + "It is 30 months, or $53,500 from January 10, 2014 on. " + CALM
    passage = "It is 30 months, or $53,500 from January 10, 2014 on."
    assert run(text, seed, passage)[0] == text
    held = HoldBack([passage], "", Guards(), private=True)
    assert len(held.feed(CALM * 2)) > len(CALM), "plain words do not wait for the end"


@pytest.mark.parametrize(("kind", "written"), PLANTED)
def test_no_part_of_an_identifier_goes_out(kind: str, written: str) -> None:
    for seed in range(3):
        text = f"{CALM}The one on file is {written}. {CALM}"
        out, _, stopped = run(text, seed, numbers="off")
        assert stopped is not None and {one.rule for one in stopped.verdicts} <= {"identifiers", "canaries"}
        # The label of a number is no part of it.
        label = next((word for word in ("social security number ", "SSN ", "call ", "card: ") if written.startswith(word)), "")
        assert len(out) <= text.index(written) + len(label), (kind, seed)
        assert written not in str(stopped)


@pytest.mark.parametrize(
    "secret", [SECRET, "1 2 3 4 5 6 7 8 9", "blue heron lands twice", "Blue Heron   lands twice", "blue-heron lands-twice"]
)
def test_no_part_of_a_secret_goes_out(secret: str) -> None:
    for seed in range(5):
        text = f"{CALM}They say {secret} here. {CALM}"
        out, _, stopped = run(text, seed, numbers="off", identifiers="off")
        assert stopped is not None and [one.rule for one in stopped.verdicts] == ["canaries"]
        assert len(out) <= text.index(secret)


@pytest.mark.parametrize("number", ["$53,501", "53.5 million", "January 11, 2014", "thirty two months", "12 January 2014", "E-32"])
def test_no_part_of_a_number_that_nothing_holds_goes_out(number: str) -> None:
    passage = "It is 30 months, or $53,500 from January 10, 2014 on; 53.5; thirty; 12; E-31."
    for seed in range(5):
        text = f"{CALM}The limit is set to {number} then. {CALM}"
        out, _, stopped = run(text, seed, passage)
        assert stopped is not None and [one.rule for one in stopped.verdicts] == ["numbers"]
        assert len(out) <= text.index(number)


def test_crude_words_do_not_go_out() -> None:
    text = f"{CALM}You shithead of a lessor. {CALM}"
    out, _, stopped = run(text, 1)
    assert stopped is not None and "shit" not in out


def test_what_is_only_reported_goes_out_and_is_told_once() -> None:
    text = f"{CALM}Write to a.b@example.com now. {CALM * 3}Write to a.b@example.com now. {CALM}"
    out, held, stopped = run(text, 2, report_only=True)
    assert out == text and stopped is None
    assert [(one.rule, one.action) for one in held.verdicts] == [("identifiers", "report")]


def test_a_guard_that_breaks_stops_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(token: str) -> bool:
        raise RuntimeError(token)

    monkeypatch.setattr(outbound, "_links", broken)
    with pytest.raises(Stopped) as caught:
        HoldBack([], "", Guards(), private=True).feed(CALM)
    assert caught.value.verdicts[0].rule == BROKEN and "lessor" not in str(caught.value)


def test_an_answer_without_a_place_to_cut_waits_for_its_end() -> None:
    held = HoldBack([], "", Guards(numbers="off"), private=False)
    text = "1 " * 3
    assert [held.feed(letter) for letter in text] == [""] * len(text) and held.finish() == text


def test_a_long_answer_without_a_place_to_cut_is_not_tried_at_every_letter() -> None:
    held = HoldBack([], "", Guards(numbers="off", identifiers="off"), private=False)
    tried = 0
    place = held._place

    def counted() -> int:
        nonlocal tried
        tried += 1
        return place()

    held._place = counted  # type: ignore[method-assign]
    for _ in range(20_000):
        held.feed("x")
    assert tried < 1_100
