"""Measures a short LoRA on the starter model: `python -m pipelines.training.starter.adapt --model models/starter`.

The adapter sees the templates of `templates.HELD_OUT` with values drawn at random for every example ("swapping"), and is
measured on the same templates with other values, so that nothing it could memorise helps. The sets of the model's own
templates show what the adapter unlearns.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerFast

from pipelines.training.starter import templates
from pipelines.training.starter.measure import evaluate, format_table
from pipelines.training.starter.text import Context, Mix, Question, ask, contexts

log = logging.getLogger(__name__)

LINEARS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
MIX = Mix(single=0.2, series=0.4, missing=0.05, max_questions=4)


def lora(model: PreTrainedModel, rank: int = 16) -> torch.nn.Module:
    """Wrap the model: rank 16, alpha 32, every linear layer, no dropout."""
    config = LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules=LINEARS, bias="none", task_type="CAUSAL_LM")
    adapted: torch.nn.Module = get_peft_model(model, config)
    return adapted


def collate(tokenizer: PreTrainedTokenizerFast, chosen: list[tuple[Context, Question]]) -> tuple[Tensor, Tensor, Tensor]:
    """Prompts with completions, padded on the right: ids, attention mask and labels (-100 outside completions)."""
    rows, labels = [], []
    for context, question in chosen:
        prompt = tokenizer(context.head + ask(question.text))["input_ids"]
        answer = [*tokenizer(question.completion, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        rows.append(prompt + answer)
        labels.append([-100] * len(prompt) + answer)
    length = max(len(row) for row in rows)
    ids = torch.tensor([row + [tokenizer.pad_token_id] * (length - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in rows])
    return ids, mask, torch.tensor([row + [-100] * (length - len(row)) for row in labels])


def train(
    model: torch.nn.Module,
    tokenizer: PreTrainedTokenizerFast,
    seed: int,
    seconds: float,
    rate: float,
    size: int,
) -> tuple[int, float]:
    """Train the adapter until the time is up; the rate falls linearly to nothing. Returns the steps and the last loss."""
    drawn: Iterator[tuple[Context, Question]] = (
        (context, question) for context in contexts(f"{seed}-adapt", MIX, (templates.HELD_OUT,)) for question in context.questions
    )
    weights = [value for value in model.parameters() if value.requires_grad]
    adam = torch.optim.AdamW(weights, lr=rate, weight_decay=0.0)
    began = time.monotonic()
    steps, mean = 0, 0.0
    model.train()
    while (progress := (time.monotonic() - began) / seconds) < 1:
        ids, mask, labels = collate(tokenizer, [next(drawn) for _ in range(size)])
        hidden = model.get_base_model().model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
        wanted = labels[:, 1:] != -100
        loss = cross_entropy(model.get_base_model().lm_head(hidden[:, :-1][wanted]), labels[:, 1:][wanted])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        adam.param_groups[0]["lr"] = rate * min(1.0, (steps + 1) / 10) * (1 - progress)
        adam.step()
        adam.zero_grad(set_to_none=True)
        steps += 1
        mean = float(loss.detach()) if steps == 1 else 0.95 * mean + 0.05 * float(loss.detach())
    return steps, mean


def main(arguments: list[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Measure a short LoRA on the starter model.")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--out", type=Path, help="keep the adapter here")
    parser.add_argument("--seconds", type=float, default=80)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--questions", type=int, default=100, help="questions of each held-out set")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    tokenizer = AutoTokenizer.from_pretrained(str(options.model), local_files_only=True)
    model = AutoModelForCausalLM.from_pretrained(str(options.model), local_files_only=True)
    log.info("before\n%s", format_table(evaluate(model, tokenizer, options.questions)))
    adapted = lora(model)
    steps, loss = train(adapted, tokenizer, options.seed, options.seconds, options.rate, options.batch)
    log.info("%d steps of %d examples, rate %g, %.0f s, loss %.3f", steps, options.batch, options.rate, options.seconds, loss)
    log.info("after\n%s", format_table(evaluate(adapted, tokenizer, options.questions)))
    if options.out:
        adapted.save_pretrained(str(options.out))


if __name__ == "__main__":
    main()
