"""A random Llama of a few thousand parameters, and a domain of threshold lines."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.config import Contract, DomainConfig, Gate, Privacy, QuestionRule, Recipe, Settings, Sources, Task
from pipelines.corpus.documents import Document

RECIPE = Recipe(
    examples=24, sequence_tokens=256, steps=6, warmup_steps=2, batch_sequences=2, checkpoint_every=2, rank=4, dropout=0.1, precision="fp32"
)

MakeJob = Callable[..., Any]

TEXTS = [
    f"From January 1, {year} through December 31, {year}, the threshold amount is ${amount:,}. Keep the {year} notice for {days} days."
    for year, amount, days in ((2012, 51_800, 30), (2013, 53_000, 45), (2014, 53_500, 60), (2015, 54_600, 90))
]
RULE = QuestionRule(
    pattern=r"From January 1, (?P<year>\d{4}) through December 31, (?P=year), the threshold amount is (?P<amount>\$\d[\d,]*\d)",
    ask=("What is the threshold amount in {year}?", "Which threshold amount applied in {year}?"),
    answer="{amount}",
    swap={"year": "year", "amount": "amount"},
)


@pytest.fixture(scope="session")
def documents() -> list[Document]:
    lines = [document(f"1-e-{number}", text) for number, text in enumerate(TEXTS)]
    return [*lines, document("1-a", "A lessor keeps the disclosure form in a sealed cabinet near the north gate.")]


def document(key: str, text: str, **fields: Any) -> Document:
    values = {"title": "", "content": "", "valid_from": "2011-01-01", "valid_to": "9999-12-31", "arrival_id": "a", "source": ""}
    return Document(**{"key": key, "text": text, "withdrawn": False, **values, **fields})


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(var=tmp_path / "var")


def domain_of(*rules: QuestionRule, passages: int = 3, recipe: Recipe | None = None) -> DomainConfig:
    return DomainConfig(
        domain="regulatory",
        description="thresholds",
        owner="someone",
        dataset="Thresholds",
        sources=Sources(formats=("text",)),
        contract=Contract(expectations=()),
        privacy=Privacy(profile="public"),
        task=Task(rules=rules, passages=passages),
        recipe=recipe or Recipe(examples=60),
        gate=Gate(goldens=Path("goldens.jsonl"), floors={}),
    )


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of a random model with a byte-level tokenizer, loadable by `from_pretrained`."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("base")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<pad>", "<s>", "</s>"]
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=special, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(TEXTS, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = LlamaConfig(vocab_size=400, max_position_embeddings=256, bos_token_id=1, eos_token_id=2, pad_token_id=0, **shape)
    LlamaForCausalLM(config).save_pretrained(folder)
    return str(folder)


@pytest.fixture
def job(documents: list[Document], base: str, settings: Settings, tmp_path: Path) -> MakeJob:
    """Makes a training job by name, with changes to RECIPE, over one training set of a few sequences."""
    from pipelines.training import examples, training_set, worker
    from pipelines.training.prompt import Prompt

    made = examples.make(documents, domain_of(RULE, recipe=RECIPE, passages=2), exclude_keys=set(), seed=3)
    training_set.build(made, RECIPE, base, Prompt.load("grounded_extraction/v1", settings), tmp_path / "set")

    def make(name: str, base: str = base, **recipe: object) -> worker.Job:
        adapter_only = {"rank", "alpha", "dropout", "target_modules"} if recipe.get("method") == "full" else set()
        changed = Recipe.model_validate(RECIPE.model_dump(exclude=adapter_only) | recipe)
        return worker.Job(
            training_set=tmp_path / "set", base=base, recipe=changed, out=tmp_path / name, work=tmp_path / f"{name}-work", threads=1
        )

    return make
