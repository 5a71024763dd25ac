"""Examples as packed tensors: a pure function of (examples, recipe, tokenizer, prompt), byte for byte.

Several examples share one sequence. Position ids restart at 0 with each, which transformers reads as "separate texts" and answers with
a block-diagonal attention mask, so an example never sees its neighbour: as long as no attention mask and no cache are passed
(`use_cache=False`). A test holds the packed logits against the separate ones.

Only ids and lengths of the examples are in memory at once: text is read in batches and only where its tokens are not cached, tokens are
mapped from files, tensors are written some rows at a time.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import not_
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from pipelines.config import Recipe
from pipelines.errors import BadInput
from pipelines.manifest import sha256
from pipelines.training import base_model, chat, packing
from pipelines.training import tokens as keeping
from pipelines.training.example import Example, among, dataset
from pipelines.training.packing import IGNORED as IGNORED
from pipelines.training.prompt import Prompt
from pipelines.training.tokens import Cache, Tokens
from pipelines.writing import write_json

VERSION = 2
"""Raise when the same examples would give other tensors."""

TENSORS = "sequences.safetensors"
HELD_OUT = "held_out.safetensors"
"""In the same layout, from documents that nothing else was made from; absent where the domain holds none out."""
MEMBERS = "sequences.json"
"""Per row of TENSORS, {"examples": [id, ...], "documents": [key, ...]}."""


class SetFacts(BaseModel):
    """What a training set holds. No times and no paths: the folder's hash must not change on a rerun."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    examples: int
    too_long: int
    not_stated: int
    sequences: int
    sequence_tokens: int
    tokens: int
    learned_tokens: int
    rules: dict[str, int]
    documents: int
    examples_sha256: str
    tokenizer_sha256: str
    prompt: str
    prompt_sha256: str
    held_out_examples: int = 0
    held_out_sequences: int = 0
    chat_template: str | None = Field(None, exclude_if=not_)
    """`chat.Turns.sha256`, where the prompt is a turn of the tokenizer's chat template."""


Source = Path | Sequence[Example]


def build(
    examples: Source,
    recipe: Recipe,
    base: str,
    prompt: Prompt,
    out: Path,
    *,
    held_out: Source | None = None,
    cache: Path | None = None,
    chat_template: bool = False,
) -> SetFacts:
    """Fill the folder `out`: `sequences.safetensors` (int32, [sequences, sequence_tokens]), `sequences.json` and, last, `facts.json`.

    `examples` is a file of `example.write`, or examples at hand. `base` is what `from_pretrained` takes, `cache` the domain's folder of
    tokens; with `chat_template` prompts are turns of the base's chat template. An example longer than a sequence, or than the base's
    context, is left out and counted; BadInput when none is left, and for a tokenizer that `base_model` refuses.
    """
    os.environ.update(OFFLINE)
    from transformers import AutoConfig

    tokenizer, turns = base_model.check_tokenizer(base, chat_template)
    context = getattr(AutoConfig.from_pretrained(base), "max_position_embeddings", None)
    limit = min(recipe.sequence_tokens, context or recipe.sequence_tokens)
    tokenizer_sha256 = sha256(tokenizer.backend_tokenizer.to_str() if tokenizer.is_fast else sorted(tokenizer.get_vocab().items()))
    rendered = [prompt.sha256] if turns is None else [prompt.sha256, turns.sha256]
    kept = Cache(cache, sha256([VERSION, tokenizer_sha256, tokenizer.bos_token_id, tokenizer.eos_token_id, *rendered]))
    tokens = kept.load()
    learned = _tokenised(dataset(examples), tokens, kept, tokenizer, prompt, turns, limit)
    if not learned.ids:
        raise BadInput(
            f"none of the {learned.too_long} examples fits into {limit} tokens",
            where="recipe.sequence_tokens",
            todo="raise it, or lower retrieval.chunk_words or task.passages",
        )
    other = _tokenised(dataset(held_out), tokens, kept, tokenizer, prompt, turns, limit) if held_out is not None else _Chosen()
    groups = _grouped(learned, tokens, recipe)
    others = _grouped(other, tokens, recipe)
    pad = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    out.mkdir(parents=True, exist_ok=True)
    for name, rows in ((TENSORS, groups), (HELD_OUT, others)):
        if rows:
            packing.write(out / name, rows, tokens, room=recipe.sequence_tokens, limit=limit, pad=pad)
    keys = dict(zip(learned.ids, learned.documents, strict=True))
    write_json(out / MEMBERS, [{"examples": row, "documents": sorted({key for name in row for key in keys[name]})} for row in groups])
    facts = SetFacts(
        examples=len(learned.ids),
        too_long=learned.too_long,
        not_stated=learned.not_stated,
        sequences=len(groups),
        sequence_tokens=recipe.sequence_tokens,
        tokens=sum(map(tokens.length, learned.ids)),
        learned_tokens=sum(tokens.length(name) - tokens.given(name) for name in learned.ids),
        rules=learned.rules,
        documents=len({key for some in learned.documents for key in some}),
        examples_sha256=sha256(learned.ids),
        tokenizer_sha256=tokenizer_sha256,
        prompt=prompt.name,
        prompt_sha256=prompt.sha256,
        held_out_examples=len(other.ids),
        held_out_sequences=len(others),
        chat_template=turns.sha256 if turns is not None else None,
    )
    write_json(out / "facts.json", facts.model_dump(mode="json"))
    kept.settle(tokens, [*learned.ids, *other.ids])
    return facts


def facts_of(folder: Path) -> SetFacts:
    """What `build` wrote. BadInput for a folder that it did not finish."""
    path = folder / "facts.json"
    if not path.is_file():
        raise BadInput("not a finished training set: facts.json is missing", where=str(folder), todo="build it again")
    return SetFacts.model_validate_json(path.read_text(encoding="utf-8"))


def encode(example: Example, tokenizer: Any, prompt: Prompt, turns: chat.Turns | None = None) -> tuple[list[int], list[int]]:
    """(ids, labels), equally long. Prompt and completion are tokenised apart, as at serving time, where only the prompt exists."""
    ((ids, given),) = encode_all([example], tokenizer, prompt, turns)
    return ids, [IGNORED] * given + ids[given:]


def encode_all(examples: Sequence[Example], tokenizer: Any, prompt: Prompt, turns: chat.Turns | None = None) -> list[tuple[list[int], int]]:
    """Per example its ids, and how many of them are the prompt, which is not learned.

    A text of continued pretraining has no prompt; its first token is not learned, for nothing comes before it but another text. Special
    tokens spelt out in a passage stay ordinary text: a delivered document must not be able to end the prompt.
    """
    texts = [one.passages[0] for one in examples if one.kind == "pretrain"]
    tasks = [one for one in examples if one.kind != "pretrain"]
    plain = _pairs(tokenizer, [""] * len(texts), texts, None)
    prompts, completions = [prompt.render(one.passages, one.question) for one in tasks], [_completion(one, prompt) for one in tasks]
    asked = _pairs(tokenizer, prompts, completions, turns)
    return [next(plain if one.kind == "pretrain" else asked) for one in examples]


def _pairs(tokenizer: Any, asked: list[str], wanted: list[str], turns: chat.Turns | None) -> Iterator[tuple[list[int], int]]:
    for context, target in zip(chat.prompts(tokenizer, asked, turns), chat.answers(tokenizer, wanted, turns), strict=True):
        yield [*context, *target], max(1, len(context))


def _completion(example: Example, prompt: Prompt) -> str:
    if example.kind == "grounded_extraction":
        return prompt.completion(example.answer, example.cited)
    return f" {(example.answer or '').strip()}"


# --- which examples, in which rows --------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Chosen:
    """The examples that fit, in the order of their file, and what is told about them."""

    ids: list[str]
    documents: list[list[str]]
    too_long: int
    not_stated: int
    rules: dict[str, int]

    def __init__(self) -> None:
        self.ids, self.documents, self.rules = [], [], {}
        self.too_long = self.not_stated = 0


def _tokenised(source: Any, tokens: Tokens, cache: Cache, tokenizer: Any, prompt: Prompt, turns: chat.Turns | None, limit: int) -> _Chosen:
    """Tokenise what the cache lacks, and choose what fits."""
    from pyarrow import compute

    about = source.to_table(columns={"id": _field("id"), "rule": _field("rule"), "documents": _field("documents"),
                                     "silent": _field("answer").is_null() & (_field("kind") == "grounded_extraction")})  # fmt: skip
    names = about["id"].to_pylist()
    missing = {name for name in names if name not in tokens}
    cache.keep(_fresh(source, missing, tokenizer, prompt, turns), tokens)
    fits = [tokens.length(name) <= limit for name in names]
    chosen = _Chosen()
    chosen.too_long = len(names) - sum(fits)
    about = about.filter(fits)
    chosen.ids, chosen.documents = about["id"].to_pylist(), about["documents"].to_pylist()
    chosen.not_stated = compute.sum(about["silent"]).as_py() or 0
    counts = compute.value_counts(about["rule"])
    chosen.rules = dict(sorted(zip(counts.field("values").to_pylist(), counts.field("counts").to_pylist(), strict=True)))
    return chosen


def _fresh(source: Any, missing: set[str], tokenizer: Any, prompt: Prompt, turns: chat.Turns | None) -> Iterator[Any]:
    for some in among(source, missing):
        yield keeping.table([example.id for example in some], encode_all(some, tokenizer, prompt, turns))


def _field(name: str) -> Any:
    from pyarrow import dataset as sets

    return sets.field(name)


def _grouped(chosen: _Chosen, tokens: Tokens, recipe: Recipe) -> list[list[str]]:
    lengths = [tokens.length(name) for name in chosen.ids]
    return [[chosen.ids[place] for place in group] for group in packing.pack(lengths, recipe.sequence_tokens, recipe.seed)]


OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
"""Nothing is fetched while training: a base model is put in place beforehand."""
