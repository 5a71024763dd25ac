"""The threshold: what is chosen, what is refused, and that the promise about its cost is kept."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from scripted_model import Scripted, Shelf, cell, passage
from typer.testing import CliRunner

from pipelines.cli import app, route
from pipelines.config import Settings
from pipelines.errors import BadInput, Conflict
from pipelines.evaluation.cases import GOLDENS, Asked, Case
from pipelines.serving.routing import learn, measured
from pipelines.serving.routing.learn import Tried
from pipelines.serving.routing.small import Small
from pipelines.serving_config import Routing


def tried(number: int, confidence: float, *, small: bool = True, own: bool = True, **more: Any) -> Tried:
    return Tried(
        **{
            "group": str(number), "up": None, "holds": True, "confidence": confidence, "small_right": small, "own_right": own,
            "small_seconds": 0.1, "own_seconds": 1.0, "small_tokens": 40, "own_tokens": 50, **more,
        }
    )  # fmt: skip


SURE = [tried(n, 0.8 + n / 1000) for n in range(200)]


def test_the_lowest_threshold_that_keeps_the_promise() -> None:
    found = learn.learn([*SURE, *(tried(1000 + n, 0.5, small=False) for n in range(20))])
    assert found.threshold == 0.8
    assert found.why == "from 0.8 on its answers cost at most 0.0135, within 0.02 at 95% confidence"
    assert (found.chosen.small.mean, found.chosen.cost.mean) == (pytest.approx(200 / 220), 0.0)
    assert found.chosen.seconds_saved.mean == pytest.approx((200 * 1.0 - 220 * 0.1) / 220)
    assert found.chosen.tokens_saved.mean == pytest.approx(200 * 50 / 220)
    assert found.chosen.small_tokens == pytest.approx(40)
    assert found.chosen.right == found.chosen.own_right == 1.0


def test_a_threshold_is_what_is_measured() -> None:
    """Rounded down, it still sends what it was chosen for."""
    found = learn.learn([tried(n, 0.87654321) for n in range(200)])
    assert found.threshold == 0.8765
    assert found.chosen.small.mean == 1.0


def test_too_few_cases_say_how_many_it_takes() -> None:
    found = learn.learn(SURE[:60])
    assert found.threshold is None
    assert found.why == "60 groups cannot show a cost within 0.02 at 95% confidence, not even without a loss: 149 would be needed"
    assert (found.chosen.small.mean, found.chosen.seconds_saved.mean) == (0.0, 0.0)


def test_cases_of_one_document_are_one() -> None:
    assert learn.learn([tried(n // 4, 0.9) for n in range(200)]).threshold is None


def test_a_base_that_is_sure_of_what_is_wrong() -> None:
    found = learn.learn([*SURE, *(tried(1000 + n, 1.0, small=False) for n in range(10))])
    assert found.threshold is None
    assert "surest answers already cost more" in found.why


def test_a_base_that_never_holds() -> None:
    found = learn.learn([tried(n, 0.99, holds=False, small=False) for n in range(300)])
    assert (found.threshold, "nothing to route" in found.why) == (None, True)


def test_what_both_get_wrong_costs_nothing_and_what_it_alone_knows_is_told() -> None:
    both = [tried(1000 + n, 0.9, small=False, own=False) for n in range(50)]
    better = [tried(2000 + n, 0.9, own=False) for n in range(50)]
    found = learn.learn([*SURE, *both, *better])
    assert found.threshold == 0.8
    assert (found.chosen.cost.mean, found.chosen.gained) == (0.0, pytest.approx(50 / 300))
    assert found.chosen.right == pytest.approx(250 / 300)


def test_what_goes_up_at_once_neither_costs_nor_saves() -> None:
    up = [tried(1000 + n, 1.0, small=False, up="too long") for n in range(100)]
    found = learn.learn([*SURE, *up])
    assert found.threshold == 0.8
    assert found.at_once == {"too long": 100}
    assert found.chosen.small_tokens == pytest.approx(40 * 200 / 300)


def test_each_half_is_measured_at_the_others_threshold() -> None:
    many = [tried(n, 0.5 + n / 1000, small=n >= 100) for n in range(500)]
    found = learn.learn(many, tolerance=0.05)
    first, second = learn.halves(many)
    assert not {one.group for one in first} & {one.group for one in second}
    assert len(first) == len(second) == 250
    assert found.halves == (learn.choose(first, 0.05, 0.05), learn.choose(second, 0.05, 0.05))
    sent = sum(one.sent(found.halves[1]) for one in first) + sum(one.sent(found.halves[0]) for one in second)
    assert found.crossed.small.mean == pytest.approx(sent / 500)
    assert found.crossed.cost.mean <= 0.05


def test_no_case_is_bad_input() -> None:
    with pytest.raises(BadInput, match="no case"):
        learn.learn([])


def test_it_can_be_written_down() -> None:
    told = json.loads(json.dumps(learn.learn(SURE[:1]).told(), allow_nan=False))
    assert (told["threshold"], told["cases"], len(told["table"])) == (None, 1, len(learn.SHOWN))
    assert (
        learn.line(Routing(small='models/"odd"', threshold=0.95), 0.912)
        == 'serving:\n  routing:\n    small: "models/\\"odd\\""\n    threshold: 0.912'
    )


@pytest.mark.slow
def test_the_promise_is_kept_over_many_sites() -> None:
    """A small base whose answers are wrong the oftener the less sure they are: chosen thresholds cost more than the tolerance, in truth,
    in at most alpha of the sites, with room for chance: 9 of 60 at alpha 0.05 would come up once in 500."""
    draws, tolerance, kept, routed = random.Random(11), 0.1, 0, 0  # noqa: S311 - repeatable, not secret

    def wrong(confidence: float) -> float:
        return (1 - confidence) * 0.9

    for _ in range(60):
        cases = [tried(n, c, small=draws.random() >= wrong(c)) for n, c in enumerate(draws.random() for _ in range(250))]
        threshold = learn.choose(cases, tolerance, 0.05)
        # Confidence is uniform, so the true cost of sending all above t is the integral of `wrong` from t to 1.
        cost = 0.0 if threshold is None else 0.45 * (1 - threshold) ** 2
        kept += cost <= tolerance
        routed += threshold is not None
    assert kept >= 60 - 8
    assert routed >= 55, "and it is not kept by routing nothing"


SHELF = [passage(f"p-{n}", f"item {n} costs ${n}") for n in range(12)]


class Exact(Shelf):
    every_role = frozenset[str]()

    def search(self, question: str, *, as_of: str, k: int, **_: Any) -> Any:
        return [self.passages[int(question.split()[1])]]


@pytest.mark.slow
def test_cases_are_asked_both_ways_along_the_path_that_serves(settings: Settings, tmp_path: Path) -> None:
    """Own engine: always right. The smaller base: silent on odd items, wrong on the tenth, and nothing else is its fault."""

    def own(prompt: str, _: str) -> str:
        return f" ${prompt.split('item ')[1].split(' ')[0]} [1]"

    def tiny(prompt: str, _: str) -> str | Exception:
        number = int(prompt.split("item ")[1].split(" ")[0])
        if number == 4:
            return BadInput("prompt: too long")
        return " not stated" if number % 2 else f" ${number} [1]" if number != 10 else " item [1]"

    people = {"author": "a", "reviewer": "b"}
    cases = [Case(id=str(n), question=f"item {n} costs how much?", answer=f"${n}", cites=f"p-{n}", **people) for n in range(12)]
    asked = [Asked(GOLDENS, case, "2015-01-01") for case in cases]
    cells = cell(settings, "own", Exact(SHELF), "north")
    engines = {"engine-1": Scripted(own), "engine-tiny": Scripted(tiny)}
    found, missing = learn.try_both(settings, "regulatory", asked, cells, Routing(small="t", threshold=0.95), Small("engine-tiny"), engines)
    assert (missing, len(found)) == (0, 12)
    assert all(one.own_right and one.own_tokens == 13 and one.own_seconds > 0 for one in found)
    by_case = {one.group.removeprefix("p-"): one for one in found}
    assert {name for name, one in by_case.items() if one.small_right} == {"0", "2", "6", "8"}
    assert {name for name, one in by_case.items() if one.holds} == {"0", "2", "6", "8", "10"}
    assert {name for name, one in by_case.items() if one.lost(0.9)} == {"10"}
    assert (by_case["4"].confidence, by_case["4"].small_tokens, by_case["4"].holds) == (0.0, 0, False)
    assert measured.small_cell(cells, Small("engine-tiny")).parts.adapter == ""


def test_the_command_prints_the_table_and_what_follows() -> None:
    found = learn.learn(SURE)
    shown = [route.row(one) for one in (*found.table, found.crossed)]
    assert [one["threshold"] for one in shown][:2] == ["1", "0.999"]
    assert shown[-1]["threshold"] == "crossed"
    assert route.sentences(found, "regulatory/r1") == [
        "200 cases in 200 groups against regulatory/r1",
        "crossed: each half at the threshold of the other (none and none)",
        "threshold 0.8: from 0.8 on its answers cost at most 0.0149, within 0.02 at 95% confidence",
    ]


@pytest.mark.parametrize(
    ("given", "kind", "words"),
    [
        (("regulatory",), BadInput, "names no smaller base"),
        (("regulatory", "--small", "models/starter"), Conflict, "no live release"),
        (("regulatory", "--small", "models/starter", "--tolerance", "2"), BadInput, "share between 0 and 1"),
        (("regulatory", "--small", "models/starter", "--alpha", "nan"), BadInput, "share between 0 and 1"),
        (("nowhere", "--small", "models/starter"), BadInput, "no domain"),
    ],
)
def test_bad_input_to_the_command(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, given: tuple[str, ...], kind: type[Exception], words: str
) -> None:
    monkeypatch.setenv("RATCHET_VAR", str(settings.var))
    result = CliRunner().invoke(app, ["route", *given])
    assert isinstance(result.exception, kind)
    assert words in str(result.exception)
    assert not (settings.var / "triton").exists(), "and nothing was changed"
