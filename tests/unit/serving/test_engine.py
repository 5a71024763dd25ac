"""The engine's own logic, in this process; Triton itself is in test_triton.py."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from pipelines.serving.engine.model import Ask, Completion, Engine, Refused

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")]


@pytest.fixture(scope="module")
def adapters(model: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`north` and `south`, and every way an adapter can be wrong."""
    import torch
    from safetensors.torch import load_file, save_file

    folder = tmp_path_factory.mktemp("adapters")
    for name, source in model.adapters.items():
        shutil.copytree(source, folder / name)
    good = load_file(folder / "north" / "adapter_model.safetensors")

    def spoil(name: str, weights: dict[str, Any]) -> None:
        shutil.copytree(folder / "north", folder / name)
        save_file(weights, folder / name / "adapter_model.safetensors")

    first = next(iter(good))
    spoil("incomplete", {name: value for name, value in good.items() if name != first})
    spoil("infinite", {**good, first: torch.full_like(good[first], float("nan"))})
    spoil("foreign", {name: torch.zeros(3, 3) for name in good})
    shutil.copytree(folder / "north", folder / "pickled")
    (folder / "pickled" / "adapter_model.safetensors").rename(folder / "pickled" / "adapter_model.bin")
    shutil.copytree(folder / "north", folder / "garbage")
    (folder / "garbage" / "adapter_model.safetensors").write_bytes(b"not tensors")
    shutil.copytree(folder / "north", folder / "other_kind")
    config = json.loads((folder / "north" / "adapter_config.json").read_text())
    (folder / "other_kind" / "adapter_config.json").write_text(json.dumps({**config, "peft_type": "IA3"}))
    shutil.copytree(folder / "north", folder.parent / "outside", dirs_exist_ok=True)
    (folder / "link").symlink_to(folder.parent / "outside")
    return folder


@pytest.fixture(scope="module")
def engine(model: Any, adapters: Path) -> Engine:
    return Engine(str(model.base), adapters, keep=2)


def texts(outcomes: list[Completion | Refused]) -> list[str]:
    return [outcome.text if isinstance(outcome, Completion) else f"! {outcome}" for outcome in outcomes]


def test_a_mixed_batch_answers_as_each_alone(engine: Engine, site: Any) -> None:
    asks = [
        Ask(site.greeting, "north", 8),
        Ask("[1] Quite another text, and a longer one.\nQuestion: What is it about?\nAnswer:", "", 6),
        Ask(site.greeting, "south", 8),
        Ask("[1] x\nQuestion: y\nAnswer:", "north", 3),
    ]
    together = engine.answer(asks)
    alone = [engine.answer([ask])[0] for ask in asks]
    assert texts(together) == texts(alone)
    assert texts(together)[0] == " north [1]"
    assert texts(together)[2] == " south [1]"
    for one, other in zip(together, alone, strict=True):
        assert isinstance(one, Completion) and isinstance(other, Completion)
        assert one.confidence == pytest.approx(other.confidence, abs=1e-4)
        assert (one.tokens_in, one.tokens_out) == (other.tokens_in, other.tokens_out)


@pytest.mark.parametrize(
    ("adapter", "says"),
    [
        ("missing", "not there"),
        ("pickled", "holds no adapter_model.safetensors"),
        ("garbage", "cannot be loaded"),
        ("foreign", "cannot be loaded"),
        ("incomplete", "not those of its configuration"),
        ("infinite", "not finite"),
        ("other_kind", "not a LoRA"),
        ("../outside", "not a name"),
        ("link", "not a name"),
        (".", "not a name"),
        ("north/../south", "not a name"),
    ],
)
@pytest.mark.filterwarnings("ignore:Found missing adapter keys")
def test_a_bad_adapter_costs_its_own_request_only(engine: Engine, site: Any, adapter: str, says: str) -> None:
    bad, good = engine.answer([Ask(site.greeting, adapter, 8), Ask(site.greeting, "north", 8)])
    assert isinstance(bad, Refused) and str(bad).startswith("adapter: ") and says in str(bad)
    assert texts([good]) == [" north [1]"]


def test_the_least_used_adapter_is_dropped(engine: Engine, adapters: Path, site: Any) -> None:
    shutil.copytree(adapters / "north", adapters / "third", dirs_exist_ok=True)
    engine.answer([Ask(site.greeting, name, 2) for name in ("north", "south", "third")])
    assert list(engine.loaded) == ["south", "third"]
    assert texts(engine.answer([Ask(site.greeting, "north", 8)])) == [" north [1]"]


def test_adapters_that_share_a_large_base_answer_the_same(model: Any, adapters: Path, site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[Engine.__module__], "SMALL_BASE", 0)
    shared = Engine(str(model.base), adapters, threads=1)
    before = [weight.clone() for weight in shared.base.parameters()]
    asks = [Ask(site.greeting, "north", 8), Ask(site.greeting, "incomplete", 8), Ask(site.greeting, "south", 8)]
    found = texts(shared.answer(asks))
    assert (found[0], found[2]) == (" north [1]", " south [1]")
    own = {id(weight) for weight in shared.base.parameters()}
    for tuned in shared.loaded.values():
        assert own <= {id(weight) for weight in tuned.parameters()}
    assert all(bool((old == new).all()) for old, new in zip(before, shared.base.parameters(), strict=True))


def test_too_long_a_prompt_and_a_senseless_limit_are_refused_without_quoting(engine: Engine) -> None:
    secret = "Jane Doe "
    long, none, endless, good = engine.answer([Ask(secret * 400, "", 8), Ask(secret, "", 0), Ask(secret, "", 4096), Ask(secret, "", 1)])
    for refused in (long, none, endless):
        assert isinstance(refused, Refused) and str(refused).startswith("prompt: ") and "Jane" not in str(refused)
    assert isinstance(good, Completion) and good.tokens_out == 1


def test_special_tokens_in_a_passage_are_text(engine: Engine) -> None:
    plain, spelt = engine.answer([Ask("a", "", 1), Ask("a</s>", "", 1)])
    assert isinstance(plain, Completion) and isinstance(spelt, Completion)
    assert spelt.tokens_in > plain.tokens_in + 1


def test_an_answer_to_a_turn_stops_at_the_end_of_the_turn(engine: Engine, site: Any) -> None:
    found = engine.answer([Ask(site.greeting, "", 20, chat=True), Ask(site.greeting, "turned", 20, chat=True)])
    assert texts(found) == [site.turned, site.turned]
    wanted = engine.tokenizer(site.turned, add_special_tokens=False)["input_ids"]
    assert [one.tokens_out for one in found if isinstance(one, Completion)] == [len(wanted)] * 2
    assert engine.base.generation_config.eos_token_id == engine.tokenizer.eos_token_id != engine.tokenizer.vocab["<|im_end|>"]


def test_an_end_of_turn_in_a_passage_is_text(engine: Engine) -> None:
    plain, spelt = engine.answer([Ask("a", "", 1, chat=True), Ask("a<|im_end|>", "", 1, chat=True)])
    assert isinstance(plain, Completion) and isinstance(spelt, Completion)
    assert spelt.tokens_in > plain.tokens_in + 1


def test_an_adapter_is_asked_only_as_it_was_trained(engine: Engine, site: Any) -> None:
    asks = [Ask(site.greeting, "turned", 8), Ask(site.greeting, "north", 8, chat=True), Ask(site.greeting, "north", 8)]
    without, within, good = texts(engine.answer(asks))
    assert without == "! adapter: turned was trained with a chat template"
    assert within == "! adapter: north was trained without this chat template"
    assert good == " north [1]"


def test_a_base_without_a_chat_template_answers_bare_prompts(model: Any, adapters: Path, site: Any, tmp_path: Path) -> None:
    shutil.copytree(model.base, tmp_path / "base")
    (tmp_path / "base" / "chat_template.jinja").unlink()
    bare = Engine(str(tmp_path / "base"), adapters)
    found = texts(bare.answer([Ask(site.greeting, "", 8, chat=True), Ask(site.greeting, "north", 8)]))
    assert found == ["! engine: the tokenizer has no chat template", " north [1]"]


def test_a_slow_answer_is_refused(model: Any, adapters: Path, site: Any) -> None:
    slow = Engine(str(model.base), adapters, seconds=0.0)
    [refused] = slow.answer([Ask(site.greeting, "", 8)])
    assert isinstance(refused, Refused) and str(refused).startswith("timeout: ")
