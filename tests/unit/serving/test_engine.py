"""The engine's own logic, in this process; Triton itself is in test_triton.py."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.manifest import sha256_folder
from pipelines.serving.engine import adapters as engine_adapters
from pipelines.serving.engine import base as engine_base
from pipelines.serving.engine.alone import Engine
from pipelines.serving.engine.work import Ask, Completion, Refused

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
    made = {name: json.loads((folder / "north" / "adapter_config.json").read_text()) for name in ("rs", "dora", "patterned")}
    for name, changes in (
        ("rs", {"use_rslora": True, "lora_alpha": 4}),
        ("dora", {"use_dora": True}),
        ("patterned", {"rank_pattern": {"q_proj": 4}}),
    ):
        shutil.copytree(folder / "north", folder / name)
        (folder / name / "adapter_config.json").write_text(json.dumps({**made[name], **changes}))
    base = load_file(model.base / "model.safetensors")
    magnitudes = {}
    for key in [key for key in good if key.endswith("lora_A.weight")]:
        stem = key.removesuffix(".lora_A.weight")
        name = stem.removeprefix("base_model.model.")
        merged = base[f"{name}.weight"] + 2.0 * good[f"{stem}.lora_B.weight"] @ good[key]
        magnitudes[f"{stem}.lora_magnitude_vector"] = merged.norm(dim=1)
    save_file({**good, **magnitudes}, folder / "dora" / "adapter_model.safetensors")
    return folder


@pytest.fixture(scope="module")
def engine(model: Any, adapters: Path) -> Iterator[Engine]:
    made = Engine(str(model.base), adapters, keep=2)
    yield made
    made.close()


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


def loaded(engine: Engine) -> list[str]:
    return list(engine.scheduler.adapters.loaded)


def test_the_least_used_adapter_is_dropped(engine: Engine, adapters: Path, site: Any) -> None:
    shutil.copytree(adapters / "north", adapters / "third", dirs_exist_ok=True)
    for name in ("north", "south", "third"):
        engine.answer([Ask(site.greeting, name, 2)])
    assert loaded(engine) == ["south", "third"]
    assert texts(engine.answer([Ask(site.greeting, "north", 8)])) == [" north [1]"]


def test_more_adapters_than_there_is_room_for_wait_for_each_other(engine: Engine, adapters: Path, site: Any) -> None:
    for number in range(6):
        shutil.copytree(adapters / ("north" if number % 2 else "south"), adapters / f"n{number}", dirs_exist_ok=True)
    found = texts(engine.answer([Ask(site.greeting, f"n{number}", 8) for number in range(6)] * 2))
    assert found == [" south [1]", " north [1]"] * 6
    assert len(loaded(engine)) == 2


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("name", ["dora", "patterned"])
def test_adapters_that_do_not_stack_answer_the_same_beside_those_that_do(
    model: Any, adapters: Path, site: Any, monkeypatch: pytest.MonkeyPatch, large: bool, name: str
) -> None:
    if large:
        monkeypatch.setattr(engine_base, "SMALL_BASE", 0)
    made = Engine(str(model.base), adapters, threads=1)
    before = [weight.clone() for weight in made.base.model.parameters()]
    asks = [Ask(site.greeting, each, 8) for each in ("north", name, "south", name, "")]
    found = texts(made.answer(asks))
    assert found[:4] == [" north [1]", " north [1]", " south [1]", " north [1]"]
    assert found == [texts(made.answer([ask]))[0] for ask in asks]
    tree = made.scheduler.adapters.loaded[name].model
    own, shared = {id(weight) for weight in made.base.model.parameters()}, {id(weight) for weight in tree.parameters()}
    assert (own <= shared) == large
    assert all(bool((old == new).all()) for old, new in zip(before, made.base.model.parameters(), strict=True))
    made.close()


def test_stacked_adapters_compute_what_peft_does(model: Any, adapters: Path, site: Any) -> None:
    """Ranks differ, one is rank-stabilised; the logits of every row are compared with peft's own."""
    import torch
    from peft import PeftModel
    from safetensors.torch import load_file, save_file
    from transformers import AutoModelForCausalLM

    wide = load_file(adapters / "south" / "adapter_model.safetensors")
    torch.manual_seed(1)
    wide = {key: torch.cat([value, 0.1 * torch.randn_like(value)], 0 if "lora_A" in key else 1).contiguous() for key, value in wide.items()}
    shutil.copytree(adapters / "south", adapters / "wide")
    save_file(wide, adapters / "wide" / "adapter_model.safetensors")
    config = json.loads((adapters / "south" / "adapter_config.json").read_text())
    (adapters / "wide" / "adapter_config.json").write_text(json.dumps({**config, "r": 8}))
    made = Engine(str(model.base), adapters)
    names = ["north", "wide", "rs", "", "south"]
    made.answer([Ask(site.greeting, name, 1) for name in names])
    numbers = {name: made.scheduler.adapters.loaded[name].number if name else -1 for name in names}
    ids = torch.tensor([made.base.words.encode(Ask(site.greeting, "", 8))] * len(names))
    for rows in (names, ["wide", "wide"], ["", "rs"]):
        made.scheduler.adapters.stacks.select([numbers[name] for name in rows])
        with torch.inference_mode():
            together = made.base.model(input_ids=ids[: len(rows)]).logits
        for row, name in enumerate(rows):
            alone = AutoModelForCausalLM.from_pretrained(model.base, dtype=torch.float32).eval()
            if name:
                alone = PeftModel.from_pretrained(alone, str(adapters / name)).eval()
            with torch.inference_mode():
                torch.testing.assert_close(together[row], alone(input_ids=ids[:1]).logits[0], atol=2e-4, rtol=1e-4)
    made.close()


def test_an_altered_adapter_is_never_served(model: Any, adapters: Path, site: Any) -> None:
    made = Engine(str(model.base), adapters)
    right = sha256_folder(adapters / "north")
    assert engine_adapters.read(adapters / "north").sha256 == right
    shutil.copytree(adapters / "north", adapters / "changed")
    with (adapters / "changed" / "adapter_model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x01")
    said = "! adapter: the files of changed are not those that were registered"
    assert texts(made.answer([Ask(site.greeting, "changed", 8, adapter_sha256=right)])) == [said]
    assert texts(made.answer([Ask(site.greeting, "changed", 8)]))[0].startswith(" north")  # nobody said what it should be
    assert texts(made.answer([Ask(site.greeting, "changed", 8, adapter_sha256=right)])) == [said]
    shutil.copytree(adapters / "north", adapters / "changed", dirs_exist_ok=True)
    assert texts(made.answer([Ask(site.greeting, "changed", 8, adapter_sha256=right)])) == [" north [1]"]
    made.close()


def prompts(count: int) -> list[str]:
    return [f"[1] {'a line of text, ' * (place * 5 % 17)}and so on.\nQuestion: What is it {place}?\nAnswer:" for place in range(count)]


def test_requests_that_join_and_leave_under_way_answer_as_each_alone(model: Any, adapters: Path) -> None:
    made = Engine(engine_base.Base(str(model.base), stop=False), adapters, slots=8)
    asks = [Ask(text, ("north", "", "south")[place % 3], 3 + 11 * place % 60) for place, text in enumerate(prompts(24))]
    alone = [made.answer([ask])[0] for ask in asks]
    sinks, left = [], {5, 6, 13, 21}
    for place, ask in enumerate(asks):
        assert made.scheduler.room(20)
        sinks.append(made.begin(ask))
        if place in left:
            sinks[place].left = True
        time.sleep(0.003 * (place % 4))
    found = [sink.wait() for sink in sinks]
    for place in range(len(asks)):
        one, other = found[place], alone[place]
        if place in left:
            assert isinstance(one, Completion) or str(one).startswith("cancelled: ")
            continue
        assert isinstance(one, Completion) and isinstance(other, Completion)
        assert (one.text, one.tokens_in, one.tokens_out) == (other.text, other.tokens_in, other.tokens_out)
        assert one.confidence == pytest.approx(other.confidence, abs=1e-4)
        assert one.min_logprob == pytest.approx(other.min_logprob, abs=1e-3)
    assert made.scheduler.figures().running == 0
    made.close()


def test_pieces_are_whole_characters_and_add_up(model: Any, adapters: Path) -> None:
    words = engine_base.Base(str(model.base)).words
    text = "§ 1013.2 – “lease” 🏠 né\ufffd!"
    ids = words.tokenizer(text, add_special_tokens=False)["input_ids"]
    assert len(ids) > len(text) - 4, "the test wants characters of several tokens"
    pieces = engine_base.Pieces(words)
    found = [pieces.next(ids[: end + 1], last=end + 1 == len(ids)) for end in range(len(ids))]
    assert "".join(found) == text
    assert "🏠" in found and "\ufffd" not in "".join(found[:-6])


def test_a_streamed_answer_comes_in_pieces_and_whole(engine: Engine, site: Any) -> None:
    sink = engine.begin(Ask(site.greeting, "north", 8, stream=True))
    outcome = sink.wait()
    assert isinstance(outcome, Completion) and "".join(sink.pieces) == outcome.text == " north [1]"
    assert len(sink.pieces) > 1


def test_one_that_nobody_waits_for_frees_its_slot(model: Any, adapters: Path) -> None:
    made = Engine(engine_base.Base(str(model.base), stop=False), adapters, slots=2)
    gone, kept = made.begin(Ask("a", "", 400, stream=True)), made.begin(Ask("b", "", 40))
    assert not made.scheduler.room(0)
    gone.left = True
    outcome = gone.wait()
    assert isinstance(outcome, Refused) and str(outcome).startswith("cancelled: ")
    assert made.scheduler.room(0) and isinstance(kept.wait(), Completion)
    made.close()


def test_a_fault_in_one_prompt_or_step_costs_no_other(model: Any, adapters: Path, site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Engine(str(model.base), adapters)
    batch = made.scheduler._shared
    forward, poison = batch._forward, made.base.words.encode(Ask("poison", "", 8))

    def failing(ids: Any, *rest: Any) -> Any:
        if any(row[-len(poison) + 1 :] == poison[1:] for row in ids.tolist()):
            raise ValueError("no")
        return forward(ids, *rest)

    monkeypatch.setattr(batch, "_forward", failing)
    assert texts(made.answer([Ask(site.greeting, "", 2), Ask("poison", "", 8), Ask(site.greeting, "north", 8)]))[1:] == [
        "! engine: ValueError",
        " north [1]",
    ]
    monkeypatch.setattr(batch, "_forward", forward)
    monkeypatch.setattr(batch, "step", lambda: 1 / 0)
    assert texts(made.answer([Ask(site.greeting, "north", 8)])) == ["! engine: ZeroDivisionError"]
    monkeypatch.undo()
    assert texts(made.answer([Ask(site.greeting, "north", 8)])) == [" north [1]"]
    made.close()


def test_probabilities_that_are_no_numbers_are_an_error_of_their_row_only(model: Any, adapters: Path, site: Any) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    huge = {key: torch.full_like(value, 1e30) for key, value in load_file(adapters / "north" / "adapter_model.safetensors").items()}
    shutil.copytree(adapters / "north", adapters / "huge")
    save_file(huge, adapters / "huge" / "adapter_model.safetensors")
    made = Engine(str(model.base), adapters)
    for _ in range(2):
        found = texts(made.answer([Ask(site.greeting, "huge", 8), Ask("[1] x" + site.greeting, "", 3), Ask(site.greeting, "north", 8)]))
        assert found[0] == "! engine: the model's probabilities are not finite" and found[2] == " north [1]"
    made.close()


def test_what_is_under_way_is_refused_when_the_engine_is_unloaded(model: Any, adapters: Path) -> None:
    made = Engine(engine_base.Base(str(model.base), stop=False), adapters)
    sink = made.begin(Ask("a", "", 400))
    made.close()
    assert texts([sink.wait()]) == texts(made.answer([Ask("a", "", 1)])) == ["! engine: it is being unloaded"]


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
    assert engine.base.model.generation_config.eos_token_id == engine.tokenizer.eos_token_id != engine.tokenizer.vocab["<|im_end|>"]


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
    bare.close()


def test_a_slow_answer_is_refused(model: Any, adapters: Path, site: Any) -> None:
    slow = Engine(str(model.base), adapters, seconds=0.0)
    [refused] = slow.answer([Ask(site.greeting, "", 8)])
    assert isinstance(refused, Refused) and str(refused).startswith("timeout: ")
    slow.close()
