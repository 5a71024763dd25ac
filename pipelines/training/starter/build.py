"""Builds the starter model: `python -m pipelines.training.starter.build --out models/starter --seed 7`.

The text is generated, so nothing is read or downloaded. With `--tokens` a build repeats on one machine and one version of
torch; `--minutes` ends on the clock, and so depends on the machine's load.
"""

from __future__ import annotations

import argparse
import logging
import random
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from pipelines.training.starter import card, vocabulary
from pipelines.training.starter.batches import Batch, Row, collate, repeats, stream
from pipelines.training.starter.initialise import initialise
from pipelines.training.starter.measure import evaluate, format_table
from pipelines.training.starter.muon import Muon
from pipelines.training.starter.pointer import Pointer
from pipelines.training.starter.text import Mix

log = logging.getLogger(__name__)

BATCH_TOKENS = 2048
MUON_LR = 0.01
ADAM_LR = 3e-3
# Loss on passages and questions: a fifth of their tokens, at a tenth of a completion token's weight.
TEXT_SHARE = 0.2
TEXT_WEIGHT = 0.1

# Harder contexts as the training goes on: (from this share of the run, the mix).
CURRICULUM = (
    (0.0, Mix(single=0.5, series=0.4, missing=0.0, fillers=0.1, max_siblings=3, max_facts=1)),
    (0.15, Mix(single=0.2, series=0.6, missing=0.0, fillers=0.15, max_siblings=4, max_facts=2)),
    (0.4, Mix(single=0.2, series=0.5, missing=0.04)),
    (0.7, Mix()),
)
REPEATS_UNTIL = 0.05
# Where in the curriculum a build that goes on from other weights begins.
CONTINUE_AT = 0.3


@dataclass(frozen=True)
class Budget:
    """When to stop: after so many tokens, or after so many seconds."""

    tokens: int | None
    seconds: float | None

    def progress(self, tokens: int, seconds: float) -> float:
        """The share of the run that is done, 0 to 1."""
        if self.seconds is not None:
            return min(1.0, seconds / self.seconds)
        return min(1.0, tokens / (self.tokens or 1))


def new_model(tokenizer: PreTrainedTokenizerFast, seed: int) -> LlamaForCausalLM:
    """About 2.7 million parameters; four layers, since a cited look-up by key chains several attention steps."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=1024,
        # Slow rotary pairs leave more of a head's width to matching content at any distance.
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(config)
    initialise(model, seed)
    return model


def schedule(progress: float) -> float:
    """The learning rate's factor: a short warm-up, flat to the half, then straight down."""
    if progress < 0.04:
        return 0.1 + 0.9 * progress / 0.04
    return 1.0 if progress < 0.5 else 1.0 - 0.97 * (progress - 0.5) / 0.5


def batch_loss(model: LlamaForCausalLM, pointer: Pointer, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """The loss to step on, that of completion tokens alone, the pointer loss. Logits are made only where they count."""
    hidden = model.model(input_ids=batch.ids, attention_mask=batch.mask, position_ids=batch.position, use_cache=False).last_hidden_state
    answer = batch.weight > 0
    text = (batch.weight < 0) & (torch.rand(batch.weight.shape, generator=generator) < TEXT_SHARE)
    answer_loss = cross_entropy(model.lm_head(hidden[answer]), batch.target[answer])
    text_loss = cross_entropy(model.lm_head(hidden[text]), batch.target[text]) if text.any() else hidden.sum() * 0.0
    told_loss, pointer_loss = pointer.losses(batch)
    return answer_loss + TEXT_WEIGHT * text_loss + told_loss, answer_loss.detach(), pointer_loss


@dataclass(frozen=True)
class Run:
    """What a training run came to."""

    model: LlamaForCausalLM
    tokens: int
    steps: int
    seconds: float


def train(
    tokenizer: PreTrainedTokenizerFast,
    seed: int,
    budget: Budget,
    start: LlamaForCausalLM | None = None,
) -> Run:
    """Train from nothing, or on from `start` without the first, easy part. Prints the losses every twenty seconds."""
    torch.manual_seed(seed)
    rng = random.Random(seed)  # noqa: S311 - text, not secrets
    generator = torch.Generator().manual_seed(seed)
    model = start.train() if start else new_model(tokenizer, seed)
    skipped = CONTINUE_AT if start else 0.0
    pointer = Pointer(model)
    matrices = [value for name, value in model.named_parameters() if value.ndim == 2 and ".layers." in name]
    chosen = {id(value) for value in matrices}
    muon = Muon(matrices)
    adam = torch.optim.AdamW(
        [value for value in model.parameters() if id(value) not in chosen], lr=ADAM_LR, betas=(0.9, 0.98), weight_decay=0.0
    )
    streams = [stream(tokenizer, f"{seed}-train-{number}", mix, BATCH_TOKENS) for number, (_, mix) in enumerate(CURRICULUM)]
    began = printed = time.monotonic()
    tokens = steps = 0
    mean = missed = 6.0
    while (progress := budget.progress(tokens, time.monotonic() - began)) < 1.0:
        course = skipped + (1 - skipped) * progress
        stage = max(number for number, (share, _) in enumerate(CURRICULUM) if course >= share)
        rows: list[Row] = next(streams[stage])
        if course < REPEATS_UNTIL and steps % 2 == 0:
            rows = [repeats(rng, len(tokenizer)) for _ in range(24)]
        batch = collate(rows, tokenizer.pad_token_id)
        loss, answer_loss, pointer_loss = batch_loss(model, pointer, batch, generator)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        factor = schedule(progress)
        for group in adam.param_groups:
            group["lr"] = ADAM_LR * factor
        adam.step()
        muon.step(MUON_LR * factor)
        adam.zero_grad(set_to_none=True)
        steps += 1
        tokens += sum(len(row.ids) for row in rows)
        mean = 0.96 * mean + 0.04 * float(answer_loss)
        missed = 0.96 * missed + 0.04 * float(pointer_loss)
        if time.monotonic() - printed > 20:
            printed = time.monotonic()
            rate = tokens / (printed - began)
            log.info(
                "%5.1f%%  step %d  %d tokens  %.0f tokens/s  loss %.3f  pointer %.3f", 100 * progress, steps, tokens, rate, mean, missed
            )
    seconds = time.monotonic() - began
    log.info("done: %d steps, %d tokens, %.0f s", steps, tokens, seconds)
    return Run(model.eval(), tokens, steps, seconds)


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, out: Path) -> None:
    """Write the weights (safetensors), the configs and the tokenizer."""
    out.mkdir(parents=True, exist_ok=True)
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        do_sample=False,
        max_new_tokens=48,
    )
    model.save_pretrained(str(out))
    vocabulary.save(tokenizer, out)
    # safetensors files are made for their owner alone; this one ships.
    (out / "model.safetensors").chmod(0o644)


def load(folder: Path) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    """Read the model and its tokenizer from a folder, without the network."""
    model: LlamaForCausalLM = AutoModelForCausalLM.from_pretrained(str(folder), local_files_only=True).eval()
    return model, AutoTokenizer.from_pretrained(str(folder), local_files_only=True)


def main(arguments: list[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Build the starter model.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--tokens", type=int, default=6_000_000, help="tokens to train on")
    parser.add_argument("--minutes", type=float, help="train for so long instead")
    parser.add_argument("--start", type=Path, help="go on from the model in this folder, with its tokenizer")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--questions", type=int, default=200, help="questions of each held-out set")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(options.threads)
    start, tokenizer = load(options.start) if options.start else (None, vocabulary.train(options.seed))
    budget = Budget(options.tokens, options.minutes * 60 if options.minutes else None)
    run = train(tokenizer, options.seed, budget, start)
    save(run.model, tokenizer, options.out)
    model, tokenizer = load(options.out)
    figures = evaluate(model, tokenizer, options.questions)
    log.info("%s", format_table(figures))
    parts = [*(card.history(options.start) if options.start else ()), _part(options, run)]
    parameters = sum(value.numel() for value in model.parameters())
    card.write(options.out, figures, parts, parameters=parameters, questions=options.questions)


def _part(options: argparse.Namespace, run: Run) -> card.Part:
    """What the model card says of this run."""
    start = f" --start {options.start}" if options.start else ""
    budget = f"--minutes {options.minutes:g}" if options.minutes else f"--tokens {options.tokens}"
    command = f"python -m pipelines.training.starter.build --out {options.out}{start} --seed {options.seed} {budget}"
    return card.Part(command, run.tokens, run.steps, round(run.seconds))


if __name__ == "__main__":
    main()
