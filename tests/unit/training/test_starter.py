"""The starter model: its text is deterministic and honest, and the shipped weights copy and cite."""

from __future__ import annotations

import itertools
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from pipelines.training.starter import templates
from pipelines.training.starter.slots import KINDS
from pipelines.training.starter.text import GENRES, NOT_STATED, PASSAGE_WORDS, Context, Mix, ask, contexts, parse

MODEL = Path(__file__).parents[3] / "models" / "starter"
LIMIT = 16 * 2**20


def draw(seed: int, count: int, mix: Mix | None = None) -> list[Context]:
    return list(itertools.islice(contexts(seed, mix or Mix()), count))


def test_same_seed_gives_the_same_text() -> None:
    assert draw(5, 40) == draw(5, 40)
    assert draw(5, 40) != draw(6, 40)


def test_every_answer_is_a_span_of_its_cited_passage() -> None:
    seen = 0
    for context in draw(11, 600):
        assert 1 <= len(context.passages) <= 4
        for question in context.questions:
            if question.line:
                seen += 1
                assert question.answer in context.passages[question.line - 1]
                assert question.completion == f" {question.answer} [{question.line}]"
            else:
                assert question.completion == f" {NOT_STATED}"
    assert seen > 2000


def test_passages_are_one_line_and_short() -> None:
    for context in draw(12, 600):
        for passage in context.passages:
            assert "\n" not in passage
            assert len(passage.split()) <= PASSAGE_WORDS
            assert "{" not in passage


def test_same_template_siblings_have_one_answer_each() -> None:
    for context in draw(13, 300, Mix(single=0.0, series=1.0, missing=0.0, fillers=0.0)):
        asked: dict[str, str] = {}
        for question in context.questions:
            assert asked.setdefault(question.text, question.answer) == question.answer


def test_unanswerable_questions_keep_their_share() -> None:
    questions = [question for context in draw(14, 800) for question in context.questions]
    share = sum(question.answer == NOT_STATED for question in questions) / len(questions)
    assert 0.03 < share < 0.12


def test_every_slot_has_a_kind() -> None:
    for source in (*GENRES, templates.HELD_OUT):
        for template in parse(source):
            for name in re.findall(r"\{(\w+)\}", template.sentence):
                kind = name.rstrip("0123456789")
                assert kind in KINDS or kind[0].lower() + kind[1:] in KINDS, name


def test_held_out_sentences_are_not_trained_on() -> None:
    trained = {template.sentence for source in GENRES for template in parse(source)}
    assert not trained & {template.sentence for template in parse(templates.HELD_OUT)}


def test_packing_isolates_questions() -> None:
    import torch

    from pipelines.training.starter.batches import Row, collate

    row = Row([1, 5, 6, 7, 8, 9], [0, 1, 2, 3, 2, 3], [0, 0, 1, 1, 2, 2], [0.0, 0.0, -1.0, 1.0, -1.0, 1.0])
    batch = collate([row], pad=0)
    seen = batch.mask[0, 0] == 0
    assert seen[3].tolist() == [True, True, True, True, False, False]
    assert seen[5].tolist() == [True, True, False, False, True, True]
    # Position 2 predicts token 7, position 4 token 9; the last of a block predicts nothing.
    assert torch.nonzero(batch.weight[0] > 0).flatten().tolist() == [2, 4]
    assert batch.target[0, [2, 4]].tolist() == [7, 9]


def test_muon_update_is_near_orthogonal() -> None:
    import torch

    from pipelines.training.starter.muon import orthogonalise

    generator = torch.Generator().manual_seed(1)
    values = torch.linalg.svdvals(orthogonalise(torch.randn(2, 24, 8, generator=generator)))
    assert float(values.min()) > 0.3
    assert float(values.max()) < 1.4


@pytest.fixture(scope="module")
def starter() -> tuple[Any, Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        from transformers import AutoModelForCausalLM, AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(str(MODEL), local_files_only=True)
        return AutoModelForCausalLM.from_pretrained(str(MODEL), local_files_only=True).eval(), tokenizer


def test_the_shipped_files_are_small_and_safe() -> None:
    names = {path.name for path in MODEL.iterdir()}
    assert {"model.safetensors", "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"} <= names
    assert {"README.md", "LICENSE"} <= names
    assert not [name for name in names if name.endswith((".bin", ".pt", ".pkl"))]
    assert (MODEL / "model.safetensors").stat().st_size <= LIMIT
    config = json.loads((MODEL / "config.json").read_text())
    assert config["model_type"] == "llama"
    assert config["max_position_embeddings"] == 1024


def test_the_licence_is_the_projects() -> None:
    project = tomllib.loads((MODEL.parents[1] / "pyproject.toml").read_text())["project"]
    assert project["license"] in (MODEL / "README.md").read_text()


def test_the_tokenizer_round_trips_and_keeps_numbers_whole(starter: tuple[Any, Any]) -> None:
    _, tokenizer = starter
    text = "[1] From January 1, 2014, the amount is $53,500 (§ 1013.2).\nQuestion: BP “132/84”, 37.2 °C?\nAnswer: x [1]"
    ids = tokenizer(text)["input_ids"]
    assert ids[0] == tokenizer.bos_token_id
    assert tokenizer.decode(ids, skip_special_tokens=True) == text
    for number in ("2014", "7", "84", "500"):
        assert len(tokenizer(number, add_special_tokens=False)["input_ids"]) == 1
    # Prompt and completion tokenize apart as they do together.
    prompt, completion = "[1] A is 5.\n" + ask("What is A?"), " 5 [1]"
    apart = tokenizer(prompt)["input_ids"] + tokenizer(completion, add_special_tokens=False)["input_ids"]
    assert apart == tokenizer(prompt + completion)["input_ids"]
    assert None not in (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)


@pytest.mark.parametrize(("name", "floor"), [("single passage", 0.8), ("other-template passages", 0.8)])
def test_the_shipped_model_copies_and_cites(starter: tuple[Any, Any], name: str, floor: float) -> None:
    import torch

    from pipelines.training.starter.measure import pairs, score

    model, tokenizer = starter
    torch.set_num_threads(2)
    both, answer = score(model, tokenizer, pairs(name, 48))
    assert answer >= both >= floor
