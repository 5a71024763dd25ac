"""Writes the model card and the licence note beside the weights."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
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

{commands}

{tokens:,} tokens of generated text in all; no document, name or record of anybody went in. Muon for the matrices, AdamW
for the rest. The loss is on completions, plus a little on the rest of the text, plus pointer losses that tell some heads
where each answer token stands in the passages. The attention starts as copying layers (`initialise.py`).
A build by `--tokens` repeats on one machine and one version of torch; the clock of `--minutes` does not.

## What it can do

Exact match on {questions} generated questions per set, none of them trained on; "unseen templates" are sentences whose
wording it never met. "Same-template" passages differ only in a year, a name or a term.

{table}

## What it cannot do

- On shorthand (clinical notes as doctors type them) it mostly fails, and may repeat a word until the token limit.
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


@dataclass(frozen=True)
class Part:
    """One run of the build: its command, and what it came to."""

    command: str
    tokens: int
    steps: int
    seconds: int


def history(folder: Path) -> list[Part]:
    """The runs that made the model in a folder, from its training.json."""
    return [Part(**part) for part in json.loads((folder / "training.json").read_text(encoding="utf-8"))]


def write(out: Path, figures: dict[str, tuple[float, float]], parts: list[Part], *, parameters: int, questions: int) -> None:
    """README.md and LICENSE, with the figures just measured, and training.json, with the runs."""
    commands = "\n".join(f"- `{part.command}`: {part.tokens:,} tokens, {part.steps:,} steps, {part.seconds:,} s" for part in parts)
    text = CARD.format(
        commands=commands,
        parameters=parameters,
        tokens=sum(part.tokens for part in parts),
        questions=questions,
        table=format_table(figures),
    )
    (out / "README.md").write_text(text, encoding="utf-8")
    (out / "LICENSE").write_text(LICENSE, encoding="utf-8")
    runs = json.dumps([asdict(part) for part in parts], indent=2)
    (out / "training.json").write_text(runs + "\n", encoding="utf-8")
