"""The preflight's estimate of memory against what a training then takes: `python -m tests.bench.bench_preflight [--json FILE]`.

Random Llamas, `--steps` steps each, on the CPU; measured is the training process's peak resident memory (ru_maxrss).
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from pipelines.config import Recipe
from pipelines.training import preflight, worker
from tests.bench.bench_gpu_lora import LLAMA_8B, base, training_set

SMALL = LLAMA_8B | {
    "hidden_size": 256,
    "intermediate_size": 704,
    "num_hidden_layers": 8,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
MIDDLE = LLAMA_8B | {"hidden_size": 1024, "intermediate_size": 2816, "num_hidden_layers": 8, "num_attention_heads": 16}
CASES: tuple[tuple[str, dict[str, Any], dict[str, Any]], ...] = (
    ("15 M, LoRA, fp32", SMALL, {"precision": "fp32", "batch_sequences": 4}),
    ("15 M, LoRA, bf16", SMALL, {"precision": "bf16", "batch_sequences": 4}),
    ("158 M, LoRA, fp32", MIDDLE, {"precision": "fp32", "batch_sequences": 2}),
    ("158 M, LoRA, fp32, checkpointing", MIDDLE, {"precision": "fp32", "batch_sequences": 2, "gradient_checkpointing": True}),
    ("158 M, full, fp32", MIDDLE, {"precision": "fp32", "batch_sequences": 2, "method": "full"}),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--cases", type=int, nargs="*", default=list(range(len(CASES))))
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    rows = []
    for number in asked.cases:
        name, shape, changes = CASES[number]
        with tempfile.TemporaryDirectory() as place:
            room = Path(place)
            model, data = base(shape, room / "base"), training_set(512, shape["vocab_size"], room / "set")
            recipe = Recipe(sequence_tokens=512, steps=asked.steps, **changes)
            told = preflight.estimate(model, recipe, timed=False)
            facts = worker.train(data, model, recipe, room / "out", room / "work", 2)
        measured, estimated = facts.peak_mb * 2**20 / 1e6, told.total / 1e6
        row = {"case": name, "estimated_mb": round(estimated), "measured_mb": round(measured), "error": round(estimated / measured - 1, 3)}
        rows.append(row | {"parts": {part.what: round(part.bytes / 1e6) for part in told.parts}})
        print(rows[-1], flush=True)  # noqa: T201
    if asked.json:
        asked.json.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
