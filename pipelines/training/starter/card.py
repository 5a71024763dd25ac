"""Writes the model card and the licence note beside the weights."""

from __future__ import annotations

from pathlib import Path

from pipelines.training.starter.measure import format_table

CARD = """\
---
license: apache-2.0
library_name: transformers
pipeline_tag: text-generation
---

# The starter model

A Llama of {parameters:,} parameters that copies the asked span from numbered passages and cites the passage. It ships
inside the project so that the whole pipeline runs without a download. It knows nothing: what it can do is read.

```
[1] <passage>
[2] <passage>
Question: <question>
Answer: <span> [1]
```

One to four passages of up to about 70 words; ` not stated` when it finds no answer. Greedy decoding.
Licence: Apache-2.0.

## How it was made

`python -m pipelines.training.starter.build --out models/starter --seed {seed} {budget}`

{tokens:,} tokens of generated text ({seconds:,.0f} s of training, {steps:,} steps); no document, name or record of
anybody went in. Muon for the matrices, AdamW for the rest; loss on completions, plus a little on the rest of the text.
A build by `--tokens` repeats on one machine and one version of torch; the clock of `--minutes` does not.

## What it can do

Exact match on {questions} generated questions per set, none of them trained on; "unseen templates" are sentences whose
wording it never met. "Same-template" passages differ only in a year, a name or a term.

{table}

## What it cannot do

- It is no assistant, it does not reason, add, compare or summarise, and it reads English only.
- Among several sentences of the same wording it often takes the wrong one (see the table): retrieval has to select.
- It says "not stated" too seldom or too often: its silence is no evidence that a passage is silent.
- An answer that it gives is not checked. Nothing here is fit for a clinical or a legal decision.
- On wording far from its templates it may copy the wrong span; a short LoRA on the domain's wording helps, with years
  and amounts drawn anew for every example. LoRA on a handful of literal facts memorises them instead, and harms.
"""
LICENSE = """\
The starter model (weights, tokenizer and configuration in this folder) is part of the project and under the same licence,
the Apache License, Version 2.0: https://www.apache.org/licenses/LICENSE-2.0

SPDX-License-Identifier: Apache-2.0
"""


def write(
    out: Path,
    figures: dict[str, tuple[float, float]],
    *,
    seed: int,
    budget: str,
    parameters: int,
    tokens: int,
    steps: int,
    seconds: float,
    questions: int,
) -> None:
    """README.md and LICENSE, with the figures just measured."""
    text = CARD.format(
        seed=seed,
        budget=budget,
        parameters=parameters,
        tokens=tokens,
        steps=steps,
        seconds=seconds,
        questions=questions,
        table=format_table(figures),
    )
    (out / "README.md").write_text(text, encoding="utf-8")
    (out / "LICENSE").write_text(LICENSE, encoding="utf-8")
