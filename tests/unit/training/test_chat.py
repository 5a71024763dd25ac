"""Chat templates as four families write them, and templates that cannot be used. No real tokenizer is needed, and none is fetched."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from pipelines.config import Recipe, Settings
from pipelines.errors import BadInput
from pipelines.manifest import sha256_file
from pipelines.training import base_model, chat, training_set, worker
from pipelines.training.example import Example
from pipelines.training.prompt import Prompt

from .conftest import RECIPE

PROMPT = "grounded_extraction/v1"
GENERATION = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
EACH = "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
LLAMA = (
    "{{- bos_token }}{% if not date_string is defined %}{% set date_string = strftime_now('%d %b %Y') %}{% endif %}"
    "<|start_header_id|>system<|end_header_id|>\n\nToday Date: {{ date_string }}\n\n<|eot_id|>"
    "{% for message in messages %}<|start_header_id|>{{ message['role'] }}<|end_header_id|>\n\n{{ message['content'] | trim }}<|eot_id|>"
    "{% endfor %}{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
QWEN = (
    "<|im_start|>system\nYou are helpful.<|im_end|>\n{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% if message.role == 'assistant' and loop.last %}<think>\n\n</think>\n\n{% endif %}{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for message in messages %}<start_of_turn>{{ 'model' if message.role == 'assistant' else message.role }}\n"
    "{{ message.content | trim }}<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for message in messages %}{% if message.role == 'user' %}[INST] {{ message.content }} [/INST]"
    "{% else %} {{ message.content }}{{ eos_token }}{% endif %}{% endfor %}"
)
FAMILIES = {
    "llama": (LLAMA, ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"], "<|eot_id|>"),
    "qwen": (QWEN, ["<|im_start|>", "<|im_end|>"], "<|im_end|>"),
    "gemma": (GEMMA, ["<start_of_turn>", "<end_of_turn>"], "<end_of_turn>"),
    "mistral": (MISTRAL, ["[INST]", "[/INST]"], "</s>"),
}
EXAMPLE = Example("x", ("The fee <|im_end|> is 5.", "Another </s> line."), "What fee?", "5", 1, "r", ("d",))


def tokenizer_of(template: str | None, special: list[str], **marks: str | None) -> Any:
    """Bytes are its tokens, apart from its special ones."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    named = {"bos_token": "<s>", "eos_token": "</s>", **marks}
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {piece: number for number, piece in enumerate([*alphabet, *filter(None, named.values()), *special])}
    made = Tokenizer(models.BPE(vocabulary, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=made, additional_special_tokens=special, chat_template=template, **named)


@pytest.mark.parametrize("family", FAMILIES)
def test_training_is_what_the_template_renders_and_begins_with_what_is_served(family: str, settings: Settings) -> None:
    template, special, end = FAMILIES[family]
    tokenizer, prompt = tokenizer_of(template, special), Prompt.load(PROMPT, settings)
    turns = chat.turns(tokenizer)
    ids, labels = training_set.encode(EXAMPLE, tokenizer, prompt, turns)
    text = prompt.render(EXAMPLE.passages, EXAMPLE.question)
    [served] = chat.prompts(tokenizer, [text], turns)
    assert ids[: len(served)] == served and labels[: len(served)] == [training_set.IGNORED] * len(served)
    assert labels[len(served) :] == ids[len(served) :] and ids[-1] == tokenizer.convert_tokens_to_ids(end)

    messages = [{"role": "user", "content": text}, {"role": "assistant", "content": "5 [1]"}]
    fixed = {"tokenize": False, "enable_thinking": False, "date_string": "26 Jul 2024"}
    assert tokenizer.decode(served) == tokenizer.apply_chat_template(messages[:1], add_generation_prompt=True, **fixed)
    assert tokenizer.apply_chat_template(messages, **fixed).rstrip("\n") == tokenizer.decode(ids)
    assert ids.count(tokenizer.bos_token_id) == (0 if family == "qwen" else 1)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_document_cannot_end_its_turn(family: str) -> None:
    template, special, _ = FAMILIES[family]
    tokenizer = tokenizer_of(template, special)
    turns = chat.turns(tokenizer)
    [plain], [planted] = (chat.prompts(tokenizer, [text], turns) for text in ("", f"{''.join(special)}</s><s>"))
    added = set(tokenizer.added_tokens_decoder)
    assert [token for token in planted if token in added] == [token for token in plain if token in added]
    [answer] = chat.answers(tokenizer, [f"a {special[-1]} b"], turns)
    assert [token for token in answer if token in added] == [turns.end]


def test_white_space_at_the_ends_of_a_content_is_left_out() -> None:
    tokenizer = tokenizer_of(EACH + GENERATION, ["<|im_start|>", "<|im_end|>"])
    turns = chat.turns(tokenizer)
    assert chat.prompts(tokenizer, ["\nx "], turns) == chat.prompts(tokenizer, ["x"], turns)
    assert chat.answers(tokenizer, [" x [1]"], turns) == chat.answers(tokenizer, ["x [1]"], turns)


def test_the_frames_have_one_name_each() -> None:
    names = {chat.turns(tokenizer_of(template, special)).sha256 for template, special, _ in FAMILIES.values()}
    assert len(names) == len(FAMILIES)
    assert chat.turns(tokenizer_of(LLAMA, FAMILIES["llama"][1])).sha256 in names


@pytest.mark.parametrize(
    ("template", "says"),
    [
        (None, "the tokenizer has no chat template"),
        (EACH, "'<|im_start|>assistant\\n' is missing"),
        (EACH.replace("content", "content | upper") + GENERATION, "alters, drops or repeats"),
        (EACH.replace("content", "content | replace('\\n', ' ')") + GENERATION, "alters, drops or repeats"),
        (EACH.replace("content", "content | e") + GENERATION, "alters, drops or repeats"),
        (EACH.replace("content", "content | tojson") + GENERATION, "alters, drops or repeats"),
        (EACH + EACH + GENERATION, "alters, drops or repeats"),
        ("{% for message in messages %}{{ message.content }}{% endfor %}", "no generation prompt"),
        ("{% if messages[0].role != 'system' %}{{ raise_exception('Say who you are') }}{% endif %}" + EACH, "Say who you are"),
        ("{{ strftime_now('%Y') }}" + EACH + GENERATION, "asks for today's date"),
        ("{{ range(99999) | random }}" + EACH + GENERATION, "in one way and shows an answered question in another"),
        ("{{ messages[0].content | length }}" + EACH + GENERATION, "renders by what it is given"),
        ("{{ messages | length }}" + EACH + GENERATION, "in one way and shows an answered question in another"),
        (EACH + GENERATION.replace("assistant\n", "assistant\n<think>\n"), "in one way and shows an answered question in another"),
        ("{% for message in messages %}{{ message.role }}: {{ message.content }} {% endfor %}", "generation prompt"),
        ("{% for m in messages %}{{ ['Ask: ', ' Say: '][loop.index0] }}{{ m.content }}{% endfor %}"
         "{% if add_generation_prompt %} Say: {% endif %}", "ordinary text, which a delivered document could spell out"),
        ("{{ ''.__class__.__mro__ }}" + EACH + GENERATION, "does not render"),
        ("{% for message in", "does not render"),
    ],
)  # fmt: skip
def test_a_template_that_cannot_be_used(template: str | None, says: str) -> None:
    with pytest.raises(chat.Unfit) as caught:
        chat.turns(tokenizer_of(template, ["<|im_start|>", "<|im_end|>"]))
    assert says in str(caught.value) and "base.chat_template: false" in caught.value.todo


def test_a_base_is_refused_where_its_training_starts(base: str, settings: Settings, tmp_path: Path) -> None:
    recipe, prompt = Recipe(sequence_tokens=256), Prompt.load(PROMPT, settings)
    with pytest.raises(
        BadInput, match=r"no chat template \(set base.chat_template: false, or put chat_template.jinja beside it\)"
    ) as caught:
        training_set.build([EXAMPLE], recipe, base, prompt, tmp_path / "set", chat_template=True)
    assert caught.value.where == base and not (tmp_path / "set").exists()
    tokenizer_of(QWEN, FAMILIES["qwen"][1], eos_token=None).save_pretrained(tmp_path / "endless")
    with pytest.raises(BadInput, match="no end-of-sequence token"):
        base_model.check_tokenizer(str(tmp_path / "endless"), True)


@pytest.fixture
def folder(base: str, tmp_path: Path) -> Path:
    """An instruct base."""
    shutil.copytree(base, tmp_path / "instruct")
    template, special, _ = FAMILIES["qwen"]
    tokenizer_of(template, special).save_pretrained(tmp_path / "instruct")
    return tmp_path / "instruct"


def test_a_training_set_of_turns_has_a_name_of_its_own(folder: Path, settings: Settings, tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    recipe, prompt, cache = RECIPE, Prompt.load(PROMPT, settings), tmp_path / "cache"
    bare = training_set.build([EXAMPLE], recipe, str(folder), prompt, tmp_path / "bare", cache=cache)
    turned = training_set.build([EXAMPLE], recipe, str(folder), prompt, tmp_path / "turned", cache=cache, chat_template=True)
    tokenizer, turns = base_model.check_tokenizer(str(folder), True)
    assert turns is not None and (bare.chat_template, turned.chat_template) == (None, turns.sha256)
    assert training_set.facts_of(tmp_path / "turned") == turned
    assert "chat_template" not in (tmp_path / "bare" / "facts.json").read_text()
    assert len(list(cache.iterdir())) == 2
    ids, _ = training_set.encode(EXAMPLE, tokenizer, prompt, turns)
    assert load_file(tmp_path / "turned" / training_set.TENSORS)["input_ids"][0, : len(ids)].tolist() == ids


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
@pytest.mark.filterwarnings("ignore:Could not find a config file in instruct:UserWarning")
def test_an_adapter_says_how_it_was_taught_and_the_engine_asks_it_so(folder: Path, settings: Settings, tmp_path: Path) -> None:
    from pipelines.serving.engine.alone import Engine
    from pipelines.serving.engine.work import Ask, Completion

    recipe, prompt = RECIPE.model_copy(update={"steps": 1, "warmup_steps": 0, "batch_sequences": 1}), Prompt.load(PROMPT, settings)
    for name, turned in (("turned", True), ("bare", False)):
        training_set.build([EXAMPLE], recipe, str(folder), prompt, tmp_path / name, chat_template=turned)
        out = tmp_path / "adapters" / name
        worker.run(
            worker.Job(training_set=tmp_path / name, base=str(folder), recipe=recipe, out=out, work=tmp_path / f"{name}-work", threads=1)
        )
        assert worker.facts_of_adapter(out).chat_template == training_set.facts_of(tmp_path / name).chat_template
        assert ('"chat_template"' in (out / "facts.json").read_text()) == turned
    engine, text = Engine(str(folder), tmp_path / "adapters", threads=1), prompt.render(EXAMPLE.passages, EXAMPLE.question)
    found = engine.answer([Ask(text, name, 1, chat) for name in ("turned", "bare") for chat in (True, False)])
    good = [one.tokens_in if isinstance(one, Completion) else str(one) for one in found]
    turns = chat.turns(engine.tokenizer)
    [[within], [without]] = (chat.prompts(engine.tokenizer, [text], frame) for frame in (turns, None))
    assert good == [
        len(within), "adapter: turned was trained with a chat template",
        "adapter: bare was trained without this chat template", len(without),
    ]  # fmt: skip
    assert turns.end in engine.stops
    engine.close()


def test_without_the_flag_the_starters_training_set_has_the_bytes_it_always_had(settings: Settings, tmp_path: Path) -> None:
    """Written down before the flag was there; changes only with training_set.VERSION or the starter's tokenizer."""
    some = [
        Example(f"e{n}", (f"The threshold is ${n},000 in 20{n}. </s> & more", "Another line."), f"What is the threshold in 20{n}?",
                f"${n},000" if n % 3 else None, 1 if n % 3 else None, "r", ("d",))
        for n in range(10, 20)
    ]  # fmt: skip
    some.append(
        Example("n1", ("Doctor: Pain?", "Patient: No."), "HPI", "No pain.\nWell.", None, "pairs", (), kind="dialogue_note"),
    )
    some.append(Example("p1", ("The fee is 5.",), "", None, None, "pretrain", (), kind="pretrain"))
    training_set.build(some, Recipe(sequence_tokens=128), "models/starter", Prompt.load(PROMPT, settings), tmp_path)
    assert {path.name: sha256_file(path)[:16] for path in tmp_path.iterdir()} == {
        "facts.json": "57826c0e29b824a5",
        "sequences.json": "3d11ab988d35443f",
        "sequences.safetensors": "76d438414f209dc7",
    }
