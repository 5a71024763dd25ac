"""Examples as packed tensors: a pure function of (examples, recipe, tokenizer, prompt), byte for byte.

Several examples share one sequence. Position ids restart at 0 with each, which transformers reads as "separate texts" and answers with
a block-diagonal attention mask, so an example never sees its neighbour: as long as no attention mask and no cache are passed
(`use_cache=False`). A test holds the packed logits against the separate ones.
"""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from pipelines.config import Recipe
from pipelines.errors import BadInput
from pipelines.manifest import canonical, sha256
from pipelines.training.examples import Example
from pipelines.training.prompt import Prompt, prompt_ids

VERSION = 1
"""Raise when the same examples would give other tensors."""

TENSORS = "sequences.safetensors"
IGNORED = -100
"""Label of a token that is not learned."""


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
    documents: tuple[str, ...]
    examples_sha256: str
    tokenizer_sha256: str
    prompt: str
    prompt_sha256: str


def build(examples: Sequence[Example], recipe: Recipe, base: str, prompt: Prompt, out: Path) -> SetFacts:
    """Fill the folder `out`: `sequences.safetensors` (int32, [sequences, sequence_tokens]) and, last, `facts.json`.

    `base` is what `from_pretrained` takes. An example longer than a sequence, or than the base's context, is left out and counted;
    BadInput when none is left.
    """
    os.environ.update(OFFLINE)
    from transformers import AutoConfig, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    context = getattr(AutoConfig.from_pretrained(base), "max_position_embeddings", None)
    limit = min(recipe.sequence_tokens, context or recipe.sequence_tokens)
    encoded = [(example, *encode(example, tokenizer, prompt)) for example in examples]
    kept = [(example, ids, labels) for example, ids, labels in encoded if len(ids) <= limit]
    if not kept:
        raise BadInput(
            f"none of the {len(examples)} examples fits into {limit} tokens",
            where="recipe.sequence_tokens",
            todo="raise it, or lower retrieval.chunk_words or task.passages",
        )
    sequences = _pack([(ids, labels) for _, ids, labels in kept], recipe.sequence_tokens, recipe.seed)
    facts = SetFacts(
        examples=len(kept),
        too_long=len(encoded) - len(kept),
        not_stated=sum(example.answer is None for example, _, _ in kept),
        sequences=len(sequences),
        sequence_tokens=recipe.sequence_tokens,
        tokens=sum(len(ids) for _, ids, _ in kept),
        learned_tokens=sum(label != IGNORED for _, _, labels in kept for label in labels),
        rules={rule: sum(example.rule == rule for example, _, _ in kept) for rule in sorted({e.rule for e, _, _ in kept})},
        documents=tuple(sorted({key for example, _, _ in kept for key in example.documents})),
        examples_sha256=sha256([example.id for example, _, _ in kept]),
        tokenizer_sha256=sha256(tokenizer.backend_tokenizer.to_str() if tokenizer.is_fast else sorted(tokenizer.get_vocab().items())),
        prompt=prompt.name,
        prompt_sha256=prompt.sha256,
    )
    _write(sequences, recipe.sequence_tokens, limit, _pad(tokenizer), facts, out)
    return facts


def facts_of(folder: Path) -> SetFacts:
    """What `build` wrote. BadInput for a folder that it did not finish."""
    path = folder / "facts.json"
    if not path.is_file():
        raise BadInput("not a finished training set: facts.json is missing", where=str(folder), todo="build it again")
    return SetFacts.model_validate_json(path.read_text(encoding="utf-8"))


def encode(example: Example, tokenizer: Any, prompt: Prompt) -> tuple[list[int], list[int]]:
    """(ids, labels), equally long. Prompt and completion are tokenised apart, as at serving time, where only the prompt exists."""
    context = prompt_ids(tokenizer, prompt.render(example.passages, example.question))
    completion = prompt.completion(example.answer, example.cited)
    target = [*tokenizer(completion, add_special_tokens=False, split_special_tokens=True)["input_ids"], tokenizer.eos_token_id]
    return context + target, [IGNORED] * len(context) + target


Pair = tuple[list[int], list[int]]


def _pack(pairs: Sequence[Pair], room: int, seed: int) -> list[list[Pair]]:
    """Groups whose lengths add up to at most `room`: longest first into the first group that has room, then in random order."""
    groups: list[list[Pair]] = []
    left: list[int] = []
    for pair in sorted(pairs, key=lambda pair: -len(pair[0])):
        length = len(pair[0])
        index = next((i for i, space in enumerate(left) if space >= length), None)
        if index is None:
            groups.append([])
            left.append(room)
            index = len(groups) - 1
        groups[index].append(pair)
        left[index] -= length
    random.Random(seed).shuffle(groups)  # noqa: S311 - repeatable, not secret
    return groups


def _write(sequences: Sequence[Sequence[Pair]], room: int, limit: int, pad: int, facts: SetFacts, out: Path) -> None:
    import numpy
    from safetensors.numpy import save_file

    ids = numpy.full((len(sequences), room), pad, dtype=numpy.int32)
    labels = numpy.full_like(ids, IGNORED)
    positions = numpy.zeros_like(ids)
    for row, pairs in enumerate(sequences):
        start = 0
        for tokens, targets in pairs:
            end = start + len(tokens)
            ids[row, start:end] = tokens
            labels[row, start:end] = targets
            positions[row, start:end] = numpy.arange(len(tokens))
            start = end
        # The padding at the end counts as one more text of its own, within the base's context.
        positions[row, start:] = numpy.arange(room - start) % limit
    out.mkdir(parents=True, exist_ok=True)
    temporary = out / f"{TENSORS}.tmp-{os.getpid()}"
    save_file({"input_ids": ids, "labels": labels, "position_ids": positions}, temporary)
    temporary.rename(out / TENSORS)
    write_json(out / "facts.json", facts.model_dump(mode="json"))


def write_json(path: Path, value: object) -> None:
    """Canonical JSON under a temporary name, then renamed."""
    temporary = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    temporary.write_bytes(canonical(value) + b"\n")
    temporary.rename(path)


def _pad(tokenizer: Any) -> int:
    pad: int | None = tokenizer.pad_token_id
    return int(tokenizer.eos_token_id) if pad is None else pad


OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
"""Nothing is fetched while training: a base model is put in place beforehand."""
