from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from pipelines.config import Recipe, Settings
from pipelines.corpus.documents import Document
from pipelines.errors import BadInput
from pipelines.manifest import sha256_folder
from pipelines.training import examples, training_set
from pipelines.training.prompt import Prompt

from .conftest import RULE, domain_of

RECIPE = Recipe(examples=24, sequence_tokens=256)
PROMPT = "grounded_extraction/v1"


@pytest.fixture
def made(documents: list[Document]) -> list[examples.Example]:
    return examples.make(documents, domain_of(RULE, recipe=RECIPE, passages=2), exclude_keys=set(), seed=3)


def test_a_rerun_gives_the_same_bytes(made: list[examples.Example], base: str, settings: Settings, tmp_path: Path) -> None:
    prompt = Prompt.load(PROMPT, settings)
    facts = training_set.build(made, RECIPE, base, prompt, tmp_path / "one")
    training_set.build(made, RECIPE, base, prompt, tmp_path / "two")
    assert sha256_folder(tmp_path / "one") == sha256_folder(tmp_path / "two")
    assert training_set.facts_of(tmp_path / "one") == facts
    assert facts.examples == 24 and facts.sequences < 24


def test_only_completions_are_learned(made: list[examples.Example], base: str, settings: Settings, tmp_path: Path) -> None:
    from safetensors.numpy import load_file
    from transformers import AutoTokenizer

    training_set.build(made, RECIPE, base, Prompt.load(PROMPT, settings), tmp_path)
    tensors, tokenizer = load_file(tmp_path / training_set.TENSORS), AutoTokenizer.from_pretrained(base)
    learned: list[str] = []
    for row in tensors["labels"]:
        text = tokenizer.decode([token for token in row.tolist() if token != training_set.IGNORED])
        learned += [part for part in text.split("</s>") if part]
    expected = [f" {e.answer} [{e.cited}]" if e.answer else " not stated" for e in made]
    assert sorted(learned) == sorted(expected)


def test_packed_examples_do_not_see_each_other(made: list[examples.Example], base: str, settings: Settings, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    training_set.build(made, RECIPE, base, Prompt.load(PROMPT, settings), tmp_path)
    tensors, model = load_file(tmp_path / training_set.TENSORS), AutoModelForCausalLM.from_pretrained(base)
    ids, positions = tensors["input_ids"][:1].long(), tensors["position_ids"][:1].long()
    starts = [*(positions[0] == 0).nonzero().flatten().tolist(), ids.shape[1]]
    assert len(starts) > 3
    with torch.no_grad():
        packed = model(input_ids=ids, position_ids=positions, use_cache=False).logits
        alone = torch.cat([model(input_ids=ids[:, a:b]).logits for a, b in pairwise(starts)], dim=1)
        # The trap this guards: with a cache, transformers reads the same position ids as one text.
        cached = model(input_ids=ids, position_ids=positions, use_cache=True).logits
    assert torch.allclose(packed, alone, atol=1e-5)
    assert not torch.allclose(cached, alone, atol=1e-3)


def test_a_special_token_in_a_passage_stays_text(base: str, settings: Settings) -> None:
    from transformers import AutoTokenizer

    tokenizer, prompt = AutoTokenizer.from_pretrained(base), Prompt.load(PROMPT, settings)
    example = examples.Example("x", ("The fee </s> is 5.",), "What </s> fee?", "5", 1, "r", ("d",))
    ids, labels = training_set.encode(example, tokenizer, prompt)
    assert ids[0] == tokenizer.bos_token_id
    assert ids.count(tokenizer.eos_token_id) == 1 and ids[-1] == labels[-1] == tokenizer.eos_token_id


def test_too_long_examples_are_counted(made: list[examples.Example], base: str, settings: Settings, tmp_path: Path) -> None:
    prompt = Prompt.load(PROMPT, settings)
    long = examples.Example("x", ("word " * 300,), "What?", "word", 1, "r", ("d",))
    assert training_set.build([*made, long], RECIPE, base, prompt, tmp_path / "s").too_long == 1
    with pytest.raises(BadInput, match="none of the 1 examples fits"):
        training_set.build([long], RECIPE, base, prompt, tmp_path / "t")
    assert not (tmp_path / "t").exists()
    with pytest.raises(BadInput, match="not a finished training set"):
        training_set.facts_of(tmp_path / "t")


def test_other_kinds_learn_the_note_and_the_text_itself(base: str, settings: Settings) -> None:
    from transformers import AutoTokenizer

    tokenizer, prompt = AutoTokenizer.from_pretrained(base), Prompt.load("dialogue_note/v1", settings)
    note = examples.Example(
        "x", ("Doctor: Any pain?", "Patient: No."), "HPI", "No pain.\nDoing well.", None, "pairs", (), kind="dialogue_note"
    )
    ids, labels = training_set.encode(note, tokenizer, prompt)
    learned = [label for label in labels if label != training_set.IGNORED]
    assert tokenizer.decode(learned) == " No pain.\nDoing well.</s>"
    assert tokenizer.decode(ids[1 : -len(learned)]) == "Doctor: Any pain?\nPatient: No.\nHPI\nNote:"
    text = examples.Example("y", ("The fee is 5.",), "", None, None, "pretrain", (), kind="pretrain")
    ids, labels = training_set.encode(text, tokenizer, prompt)
    assert tokenizer.decode(ids) == "<s>The fee is 5.</s>"
    # The first token's label would be learned from the last token of the example before it.
    assert labels == [training_set.IGNORED, *ids[1:]]


def test_a_fresh_example_is_tokenised_alone_and_the_tensors_are_the_same(
    made: list[examples.Example], base: str, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompt, fresh = Prompt.load(PROMPT, settings), []
    encode_all = training_set.encode_all
    monkeypatch.setattr(training_set, "encode_all", lambda some, *rest: fresh.extend(some) or encode_all(some, *rest))
    training_set.build(made[:-1], RECIPE, base, prompt, tmp_path / "before", cache=tmp_path / "cache")
    assert fresh == made[:-1]
    training_set.build(made, RECIPE, base, prompt, tmp_path / "after", cache=tmp_path / "cache")
    assert fresh == made
    training_set.build(made, RECIPE, base, prompt, tmp_path / "without")
    assert sha256_folder(tmp_path / "after") == sha256_folder(tmp_path / "without")
