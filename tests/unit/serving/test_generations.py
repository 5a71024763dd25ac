from __future__ import annotations

from pathlib import Path

import pytest
from scripted_model import Scripted, crashed

from pipelines.config import Settings
from pipelines.errors import BadInput, Unavailable
from pipelines.serving.generations import Generations, Model, Written, forget, place

MODEL = Model("engine-1", "a", "sha-of-a", 48, chat=False)


def texts(found: dict[str, Written | str]) -> dict[str, str]:
    return {prompt: one if isinstance(one, str) else one.generated.text for prompt, one in found.items()}


def test_no_prompt_is_generated_twice_not_even_by_the_next_process(tmp_path: Path) -> None:
    engine, path = Scripted(lambda prompt, _: prompt.upper()), tmp_path / "g.sqlite"
    first = Generations(path)
    assert texts(first.write(MODEL, ["a", "b", "a"], engine)) == {"a": "A", "b": "B"}
    again = Generations(path)
    assert texts(again.write(MODEL, ["b", "c"], engine)) == {"b": "B", "c": "C"}
    assert (engine.prompts, first.made, first.reused, again.made, again.reused) == (3, 2, 0, 1, 1)


@pytest.mark.parametrize(
    "other",
    [
        Model("engine-2", "a", "sha-of-a", 48, chat=False),
        Model("engine-1", "a", "sha-of-another-training", 48, chat=False),
        Model("engine-1", "a", "sha-of-a", 12, chat=False),
        Model("engine-1", "a", "sha-of-a", 48, chat=True),
    ],
)
def test_whatever_else_determines_a_text_is_in_its_key(tmp_path: Path, other: Model) -> None:
    engine, made = Scripted(lambda prompt, _: prompt), Generations(tmp_path / "g.sqlite")
    made.write(MODEL, ["a"], engine)
    made.write(other, ["a"], engine)
    assert made.made == 2


def test_one_bad_prompt_costs_the_others_nothing_and_is_asked_again_next_time(tmp_path: Path) -> None:
    bad = Scripted(lambda prompt, _: BadInput("the prompt is too long") if "long" in prompt else "fine")
    made = Generations(tmp_path / "g.sqlite")
    found = texts(made.write(MODEL, [f"p{number}" for number in range(20)] + ["long"], bad))
    assert found.pop("long") == "the prompt is too long"
    assert set(found.values()) == {"fine"}
    assert texts(made.write(MODEL, ["long"], Scripted(lambda *_: "short now"))) == {"long": "short now"}


def test_a_crashed_engine_is_mended_and_asked_again(tmp_path: Path) -> None:
    answers = iter([crashed(), "fine", "fine"])
    engine = Scripted(lambda *_: next(answers))
    assert texts(Generations(tmp_path / "g.sqlite").write(MODEL, ["a", "b"], engine)) == {"a": "fine", "b": "fine"}
    assert engine.mended == 1


def test_a_server_that_is_gone_stops_it_and_what_was_made_is_kept(tmp_path: Path) -> None:
    engine, made = Scripted(lambda prompt, _: prompt), Generations(tmp_path / "g.sqlite")
    made.write(MODEL, ["a"], engine)
    engine.up = False
    with pytest.raises(Unavailable, match="Triton does not answer"):
        made.write(MODEL, ["a", "b"], engine)
    assert texts(made.write(MODEL, ["a"], engine)) == {"a": "a"}


def test_a_time_out_of_one_prompt_is_no_text_while_the_server_stands(tmp_path: Path) -> None:
    engine = Scripted(lambda prompt, _: Unavailable("the engine is too slow") if prompt == "slow" else "fine")
    assert texts(Generations(tmp_path / "g.sqlite").write(MODEL, ["slow", "b"], engine)) == {"slow": "the engine is too slow", "b": "fine"}


def test_forgetting_leaves_nothing(settings: Settings) -> None:
    path = place(settings, "clinical")
    Generations(path).write(MODEL, ["a"], Scripted(lambda *_: "said"))
    forget(settings, "clinical")
    forget(settings, "clinical")
    assert not path.exists()
