"""Measures a model on held-out questions: exact match of the answer and its citation, greedy decoding."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from transformers import PreTrainedModel, PreTrainedTokenizerFast

from pipelines.training.starter import templates
from pipelines.training.starter.text import GENRES, NOT_STATED, Context, Mix, Question, ask, contexts

Pair = tuple[Context, Question]
SETS: dict[str, tuple[Mix, tuple[str, ...]]] = {
    "single passage": (Mix(single=1.0, series=0.0, missing=0.0, max_questions=2), GENRES),
    "other-template passages": (Mix(single=0.0, series=0.0, missing=0.0, max_questions=2), GENRES),
    "same-template passages": (Mix(single=0.0, series=1.0, missing=0.0, max_questions=2), GENRES),
    "not stated": (Mix(single=0.2, series=0.5, missing=1.0, max_questions=2), GENRES),
    "unseen templates, single": (
        Mix(single=1.0, series=0.0, missing=0.0, max_facts=1, max_questions=2), (templates.HELD_OUT,),
    ),
    "unseen templates, mixed": (Mix(single=0.0, series=0.0, missing=0.0, max_questions=2), (templates.HELD_OUT,)),
    "unseen templates, same-template": (
        Mix(single=0.0, series=1.0, missing=0.0, max_questions=2), (templates.HELD_OUT,),
    ),
}  # fmt: skip


def pairs(name: str, count: int, seed: int = 1_000_003) -> list[Pair]:
    """`count` questions of one held-out set; its seed is not one that training uses."""
    mix, pools = SETS[name]
    drawn = ((context, question) for context in contexts(f"{seed}-{name}", mix, pools) for question in context.questions)
    if name == "not stated":
        drawn = (pair for pair in drawn if pair[1].answer == NOT_STATED)
    return list(islice(drawn, count))


def complete(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, prompts: list[str], new_tokens: int = 40, size: int = 32
) -> list[str]:
    """Greedy completions, in batches padded on the left, the longest prompts together."""
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    completions = [""] * len(prompts)
    tokenizer.padding_side = "left"
    for start in range(0, len(order), size):
        chosen = order[start : start + size]
        encoded = tokenizer([prompts[index] for index in chosen], return_tensors="pt", padding=True)
        out = model.generate(
            input_ids=encoded["input_ids"],
            attention_mask=encoded["attention_mask"],
            max_new_tokens=new_tokens,
            do_sample=False,
        )
        texts = tokenizer.batch_decode(out[:, encoded["input_ids"].shape[1] :], skip_special_tokens=True)
        for index, text in zip(chosen, texts, strict=True):
            completions[index] = text
    return completions


def score(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, asked: Iterable[Pair]) -> tuple[float, float]:
    """The shares of exact answers with citation, and of exact answers whatever the citation."""
    held = list(asked)
    completions = complete(model, tokenizer, [context.head + ask(question.text) for context, question in held])
    both = sum(text == question.completion for (_, question), text in zip(held, completions, strict=True))
    answers = sum(
        text.rpartition(" [")[0].strip() == question.answer or text.strip() == question.answer
        for (_, question), text in zip(held, completions, strict=True)
    )
    return both / len(held), answers / len(held)


def evaluate(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, count: int = 200) -> dict[str, tuple[float, float]]:
    """Per held-out set: exact match of answer and citation, and of the answer alone."""
    model.eval()
    return {name: score(model, tokenizer, pairs(name, count)) for name in SETS}


def format_table(figures: dict[str, tuple[float, float]]) -> str:
    """The figures as a Markdown table."""
    rows = [f"| {name} | {both:.3f} | {answer:.3f} |" for name, (both, answer) in figures.items()]
    return "\n".join(["| held-out set | answer and citation | answer |", "| --- | --- | --- |", *rows])
