"""Packs contexts for training: the passages once, then every question beside it, none seeing another.

A row is `<s> passages q1 a1 q2 a2 ...`. Each question block sees the passages and itself, and its positions start where
the passages end, so that the row teaches the same as the prompts one by one, for a fraction of the tokens.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from pipelines.training.starter.text import Context, Mix, ask, contexts


@dataclass
class Row:
    """One packed context. `block` is 0 for the passages and the question's number after that; `weight` is of the token.

    `source` is the index in the row that the token was copied from, -1 where it was not copied; a citation's bracket has
    its span's last token there. `number` is, for a token of a passage, the index of the passage's number, else -1.
    """

    ids: list[int]
    position: list[int]
    block: list[int]
    weight: list[float] = field(default_factory=list)
    source: list[int] = field(default_factory=list)
    number: list[int] = field(default_factory=list)


def _sources(ids: list[int], newline: int, line: int, answer: list[int]) -> list[int]:
    """Where each token of `answer` (span, blank and bracket, number, bracket) stands in the passages; -1 for unknown."""
    found = [-1] * len(answer)
    if not line:
        return found
    ends = [index for index, token in enumerate(ids) if token == newline]
    start = ends[line - 2] + 1 if line > 1 else 1
    # A line begins with a bracket and its number: the number is what the citation copies.
    found[-2] = start + 1
    span = answer[:-3]
    places = [place for place in range(start, ends[line - 1]) if ids[place : place + len(span)] == span]
    if len(places) == 1:
        found[: len(span) + 1] = [*range(places[0], places[0] + len(span)), places[0] + len(span) - 1]
    return found


def pack(tokenizer: PreTrainedTokenizerFast, context: Context, text_weight: float = 1.0) -> Row:
    """Tokenize and pack. `weight[i]` is the loss weight of predicting `ids[i]`: 1 in a completion, negative in other text.

    A text token carries `-text_weight`, so that the caller can sample a part of them.
    """
    texts = [context.head]
    texts += [part for question in context.questions for part in (ask(question.text), question.completion)]
    encoded = tokenizer(texts, add_special_tokens=False)["input_ids"]
    ids = [tokenizer.bos_token_id, *encoded[0]]
    start = len(ids)
    row = Row(ids, list(range(start)), [0] * start, [-text_weight] * start, [-1] * start)
    newline = ids[start - 1]
    begin = 1
    row.number = [-1]
    for end in [index for index, token in enumerate(ids) if token == newline]:
        row.number += [-1, -1, *[begin + 1] * (end - begin - 1)]
        begin = end + 1
    lines = [question.line for question in context.questions]
    for number, (line, question, answer) in enumerate(zip(lines, encoded[1::2], encoded[2::2], strict=True), 1):
        tokens = [*question, *answer, tokenizer.eos_token_id]
        row.ids += tokens
        row.position += range(start, start + len(tokens))
        row.block += [number] * len(tokens)
        row.weight += [-text_weight] * len(question) + [1.0] * (len(answer) + 1)
        row.source += [-1] * len(question) + _sources(ids[:start], newline, line, answer) + [-1]
    return row


def repeats(rng: random.Random, vocabulary: int, count: int = 4) -> Row:
    """A random sequence, then pieces of it again after a piece's first token: teaches to copy any token at all."""
    size = rng.randint(20, 90)
    ids = [1, *(rng.randrange(3, vocabulary) for _ in range(size))]
    start = len(ids)
    row = Row(ids, list(range(start)), [0] * start, [0.0] * start, [-1] * start)
    for number in range(1, count + 1):
        length = rng.randint(5, min(20, size - 1))
        first = rng.randrange(1, start - length)
        row.ids += ids[first : first + length]
        row.position += range(start, start + length)
        row.block += [number] * length
        row.weight += [0.0, *[1.0] * (length - 1)]
        row.source += [-1, *range(first + 1, first + length)]
    return row


@dataclass(frozen=True)
class Batch:
    """Shapes (rows, length); the mask (rows, 1, length, length) is added to the attention scores.

    `target`, `weight` and `source` at a position are those of the next token; `origin` is the token's own source.
    """

    ids: Tensor
    position: Tensor
    mask: Tensor
    target: Tensor
    weight: Tensor
    source: Tensor
    origin: Tensor
    number: Tensor


def collate(rows: list[Row], pad: int) -> Batch:
    """Pad the rows to one length and build the block mask; targets are the next tokens inside a block."""
    length = max(len(row.ids) for row in rows)

    def padded(values: list[list[int]], fill: int) -> Tensor:
        return torch.tensor([value + [fill] * (length - len(value)) for value in values])

    ids = padded([row.ids for row in rows], pad)
    block = padded([row.block for row in rows], -1)
    weight = torch.tensor([row.weight + [0.0] * (length - len(row.weight)) for row in rows])
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    allowed = causal & ((block[:, None, :] == 0) | (block[:, None, :] == block[:, :, None]))
    mask = torch.zeros(allowed.shape).masked_fill(~allowed, torch.finfo(torch.float32).min)[:, None]
    origin = padded([row.source for row in rows], -1)
    number = padded([row.number for row in rows], -1)
    target, weight, source = (torch.roll(value, -1, 1) for value in (ids, weight, origin))
    # The last token of a block predicts nothing: what follows belongs to another question.
    weight[:, :-1][block[:, 1:] != block[:, :-1]] = 0.0
    weight[:, -1] = 0.0
    source[weight <= 0] = -1
    # A bracket is not copied from where its span ends.
    source[:, :-1][origin[:, 1:] == origin[:, :-1]] = -1
    return Batch(ids, padded([row.position for row in rows], 0), mask, target, weight, source, origin, number)


def stream(tokenizer: PreTrainedTokenizerFast, seed: str, mix: Mix, tokens: int) -> Iterator[list[Row]]:
    """Endless lists of rows of about `tokens` tokens, rows of like length together."""
    rng = random.Random(seed)  # noqa: S311 - text, not secrets
    drawn = contexts(seed, mix)
    while True:
        rows = sorted((pack(tokenizer, next(drawn)) for _ in range(192)), key=lambda row: len(row.ids))
        lists: list[list[Row]] = [[]]
        for row in rows:
            if lists[-1] and (len(lists[-1]) + 1) * len(row.ids) > tokens:
                lists.append([])
            lists[-1].append(row)
        rng.shuffle(lists)
        yield from lists
