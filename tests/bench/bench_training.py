"""Useful tokens per second against TRL's SFTTrainer on MTS-Dialog: `python -m tests.bench.bench_training DATA [OUT.json] [EXAMPLES]`.

Dialogue to note. The same base (the starter), LoRA rank, precision, examples (one pass over them, each of them whole: those longer than a
sequence are left out for all), learning rate and tokens per optimiser step. Padding is not counted as useful. Every contender runs once per
round, the rounds in opposite orders and each with a seed of its own; ratios are of CPU seconds and of wall seconds summed over the rounds.
The held-out loss is of the validation set's notes, measured the same way for all, its mean over the rounds. Needs TRL, which is not among
the requirements:

    python3.11 -m venv /tmp/trl && /tmp/trl/bin/pip install -r requirements.txt trl==1.16.0
"""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from pipelines.config import PROJECT, Recipe, Settings
from pipelines.training import methods, packing, training_set, worker
from pipelines.training.example import Example
from pipelines.training.prompt import Prompt
from pipelines.training.tokens import Tokens, table

ROOM, RANK, ALPHA, RATE, SEED = 1024, 16, 32, 1e-3, 7
SEQUENCES = 4
"""Packed sequences of an optimiser step; unpacked contenders take as many examples as fill these on average."""
EXAMPLES, HELD_OUT, ROUNDS = 160, 30, 2
BASE = str(PROJECT / "models" / "starter")

Pair = tuple[list[int], int]
Run = Callable[..., tuple[Any, float, float]]


def main(argv: list[str]) -> int:
    """Print the table; write JSON where a second argument says so."""
    if importlib.util.find_spec("trl") is None:
        print(__doc__)  # noqa: T201
        return 2
    os.environ.update(training_set.OFFLINE)
    os.environ.update(worker.QUIET)  # before torch: waiting threads that spin would be counted as work
    import torch

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    with tempfile.TemporaryDirectory() as folder:
        count = int(argv[2]) if len(argv) > 2 else EXAMPLES
        learned, held_out = (_pairs(Path(argv[0]), split, most) for split, most in (("Training", count), ("Validation", HELD_OUT)))
        facts = _contest(learned, held_out, Path(folder))
    _show(facts)
    if len(argv) > 1:
        Path(argv[1]).write_text(json.dumps(facts, indent=2), encoding="utf-8")
    return 0


def _contest(learned: list[Pair], held_out: list[Pair], folder: Path) -> dict[str, Any]:
    useful = sum(len(ids) for ids, _ in learned)
    per_step = max(1, round(SEQUENCES * ROOM * len(learned) / useful))
    packed = {"packing": True, "per_device_train_batch_size": 1, "gradient_accumulation_steps": SEQUENCES, "gradient_checkpointing": False}
    pieces = next(count for count in (SEQUENCES, 3, 5, 2, 1) if per_step % count == 0)  # as many optimiser steps as the others take
    free = {"padding_free": True, "max_length": None, "gradient_accumulation_steps": pieces, "gradient_checkpointing": False}
    settings: dict[str, dict[str, Any]] = {
        "TRL default": {"per_device_train_batch_size": per_step},
        "TRL bfd": {**packed, "packing_strategy": "bfd"},
        "TRL wrapped": {**packed, "packing_strategy": "wrapped"},
        "TRL padding-free": {**free, "per_device_train_batch_size": per_step // pieces},
    }
    contenders: dict[str, Run] = {}
    for precision in ("fp32", "bf16"):
        contenders[f"Ratchet, {precision}"] = partial(_ours, learned, precision)
        for name, more in settings.items():
            contenders[f"{name}, {precision}"] = partial(_trl, learned, precision, more, folder)
    _ours(learned[:4], "fp32", SEED)  # the first steps of a process are slow
    rows: dict[str, dict[str, Any]] = {name: {"wall": 0.0, "cpu": 0.0, "losses": []} for name in contenders}
    for turn in range(ROUNDS):
        for name in list(contenders)[:: 1 if turn % 2 == 0 else -1]:
            row = rows[name]
            try:
                model, wall, cpu = contenders[name](seed=SEED + turn)
            except (ValueError, RuntimeError, ImportError) as error:
                row["fault"] = " ".join(str(error).split())[:200]
                continue
            row["wall"] += wall
            row["cpu"] += cpu
            row["losses"].append(_loss(model, held_out))
            print(f"round {turn + 1}: {name}: {wall:.1f} s, {cpu:.1f} CPU s, held-out {row['losses'][-1]}", file=sys.stderr)  # noqa: T201
    for row in rows.values():
        if row["losses"]:
            row |= {f"tokens_per_{kind}_second": round(ROUNDS * useful / row[kind]) for kind in ("wall", "cpu")}
            row["held_out_loss"] = sum(row["losses"]) / len(row["losses"])
    return {"examples": len(learned), "useful_tokens": useful, "examples_per_step": per_step, "rounds": ROUNDS, "runs": rows}


def _ours(learned: list[Pair], precision: str, seed: int) -> tuple[Any, float, float]:
    """The worker's own model and loss over our packed rows, with its optimiser, clipping and schedule."""
    import torch

    held = Tokens()
    names = [str(place) for place in range(len(learned))]
    held.add(table(names, learned))
    recipe = Recipe(rank=RANK, alpha=ALPHA, sequence_tokens=ROOM, batch_sequences=SEQUENCES, seed=seed)
    groups = [[names[place] for place in row] for row in packing.pack([len(ids) for ids, _ in learned], ROOM, seed)]
    with tempfile.TemporaryDirectory() as folder:
        from safetensors.torch import load_file

        path = Path(folder) / training_set.TENSORS
        packing.write(path, groups, held, room=ROOM, limit=ROOM, pad=0)
        data = load_file(path)
    model = methods.build(BASE, recipe, "cpu", precision)
    weights = [one for one in model.parameters() if one.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=RATE, weight_decay=0.0)
    steps = -(-len(groups) // SEQUENCES)
    model.train()
    began = time.monotonic(), time.process_time()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = RATE * (1 - step / steps)
        optimizer.zero_grad(set_to_none=True)
        batch = {name: tensor[step * SEQUENCES : (step + 1) * SEQUENCES].long() for name, tensor in data.items()}
        tokens = int((batch["labels"][:, 1:] != packing.IGNORED).sum())
        (methods.summed_loss(model, batch, methods.autocast("cpu", precision)) / tokens).backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
    return model, time.monotonic() - began[0], time.process_time() - began[1]


def _trl(learned: list[Pair], precision: str, more: dict[str, Any], folder: Path, seed: int) -> tuple[Any, float, float]:
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    clock: list[tuple[float, float]] = []

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            clock.append((time.monotonic(), time.process_time()))

        def on_train_end(self, *_: Any, **__: Any) -> None:
            clock.append((time.monotonic(), time.process_time()))

    settings = SFTConfig(
        **{
            "output_dir": str(folder / "trl"),
            "max_length": ROOM,
            "num_train_epochs": 1,
            "learning_rate": RATE,
            "lr_scheduler_type": "linear",
            "weight_decay": 0.0,
            "max_grad_norm": 1.0,
            "bf16": precision == "bf16",
            "use_cpu": True,
            "report_to": [],
            "save_strategy": "no",
            "seed": seed,
            "completion_only_loss": True,
            "disable_tqdm": True,
            "logging_strategy": "no",
            **more,
        }
    )
    rows = [{"input_ids": ids, "completion_mask": [0] * given + [1] * (len(ids) - given)} for ids, given in learned]
    torch.manual_seed(seed)
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32),
        args=settings,
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(BASE),
        peft_config=LoraConfig(r=RANK, lora_alpha=ALPHA, lora_dropout=0.0, target_modules="all-linear", bias="none", task_type="CAUSAL_LM"),
        callbacks=[Clock()],
    )
    trainer.train()
    (wall, cpu), (wall_end, cpu_end) = clock
    return trainer.model, wall_end - wall, cpu_end - cpu


def _loss(model: Any, pairs: list[Pair]) -> float:
    """Mean cross-entropy over the completions' tokens, an example at a time in fp32."""
    import torch

    model.float().eval()
    total = count = 0.0
    with torch.no_grad():
        for ids, given in pairs:
            logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, given - 1 : -1]
            total += float(torch.nn.functional.cross_entropy(logits.float(), torch.tensor(ids[given:]), reduction="sum"))
            count += len(ids) - given
    return round(total / count, 4)


def _pairs(data: Path, split: str, most: int) -> list[Pair]:
    from transformers import AutoTokenizer

    tokenizer, prompt = AutoTokenizer.from_pretrained(BASE), Prompt.load("dialogue_note/v1", Settings())
    with (data / "mts_dialog" / "Main-Dataset" / f"MTS-Dialog-{split}Set.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    random.Random(SEED).shuffle(rows)  # noqa: S311
    made = ((row["ID"], tuple(row["dialogue"].splitlines()), row["section_header"], row["section_text"], None, "pairs", ()) for row in rows)
    examples = [Example(*one, kind="dialogue_note") for one in islice(made, 2 * most)]
    return [pair for pair in training_set.encode_all(examples, tokenizer, prompt) if len(pair[0]) <= ROOM][:most]


def _show(facts: dict[str, Any]) -> None:
    runs = facts["runs"]
    print(f"{facts['examples']} examples, {facts['useful_tokens']} useful tokens a run, {facts['rounds']} rounds")  # noqa: T201
    print(f"{'':<38}{'tokens/s':>10}{'tokens/CPU s':>14}{'Ratchet x, wall':>17}{'CPU':>7}{'held-out loss':>15}")  # noqa: T201
    for name, row in runs.items():
        ours = runs[f"Ratchet, {name.rpartition(', ')[2]}"]
        if "fault" in row:
            print(f"{name:<38} {row['fault']}")  # noqa: T201
        else:
            ratios = [row[kind] / ours[kind] for kind in ("wall", "cpu")]
            print(  # noqa: T201
                f"{name:<38}{row['tokens_per_wall_second']:>10}{row['tokens_per_cpu_second']:>14}{ratios[0]:>17.2f}{ratios[1]:>7.2f}"
                f"{row['held_out_loss']:>15.4f}"
            )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
