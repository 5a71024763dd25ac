"""What the engine's batching gains: through a real Triton on this machine's CPU, or (`--device`) in process on whatever device torch finds.

    python -m tests.bench.bench_engine [--requests 48] [--tokens 64] [--json FILE]
    python -m tests.bench.bench_engine --device [--tiny] [--json FILE]

Prompts are grounded-extraction prompts of many lengths; stops are off, so that every request writes the same number of tokens. Offline
batch: transformers' own `generate` over all of a batch's prompts, padded, nothing else running, the same number of threads.

`--device` needs torch, transformers and safetensors and nothing else of this project's requirements: a Llama of about 1B with random
weights (`--tiny`: a toy), eight adapters of rank 16. It shows eight adapters in one batch beside one adapter too.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT))
sys.path.insert(0, str(PROJECT / "tests"))
STARTER = "models/starter"
TOGETHER = 16
RANK = 16
TASK = (
    "Answer the question from the numbered passages only. Give the value exactly as it is written, and the number of its passage in "
    "brackets. If no passage states it, answer: not stated."
)


def prompts(count: int) -> list[str]:
    """Of the shape of grounded extraction, with one to four passages."""
    found = []
    for number in range(count):
        passages = [
            f"[{place + 1}] Section {number}.{place}: the threshold amount for a consumer credit transaction from January 1, "
            f"{2000 + number} is ${number + 10},{place}00, as adjusted for the annual percentage change in the consumer price index."
            for place in range(1 + number * 7 % 4)
        ]
        question = f"Question: What is the threshold amount from January 1, {2000 + number}?"
        found.append("\n".join([TASK, *passages, question, "Answer:"]))
    return found


def say(line: str) -> None:
    """On standard output."""
    sys.stdout.write(line + "\n")


def quick(values: list[float]) -> float:
    """The middle one."""
    return statistics.median(values)


# --- in process -------------------------------------------------------------------------------------------------------


class Letters:
    """Stands for a tokenizer: a token is a letter. Where nothing of the project's models is wanted."""

    chat_template = None
    bos_token_id, eos_token_id, pad_token_id = 1, 2, 0

    def __call__(self, texts: list[str], **_: Any) -> dict[str, Any]:
        # About four letters of text are a token elsewhere.
        return {"input_ids": [[3 + ord(letter) % 250 for letter in text[::4]] for text in texts]}

    def decode(self, ids: list[int], **_: Any) -> str:
        """One letter per token."""
        return "".join(chr(32 + number % 90) for number in ids)

    def get_vocab(self) -> dict[str, int]:
        """Nothing that could end an answer."""
        return {}


def llama(tiny: bool) -> Any:
    """Random weights."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    shape = (
        {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 256}
        if tiny
        else {"hidden_size": 2048, "num_hidden_layers": 16, "num_attention_heads": 32, "num_key_value_heads": 8, "intermediate_size": 8192}
    )
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=512 if tiny else 32_000, max_position_embeddings=4096, bos_token_id=1, eos_token_id=2, **shape)
    gpu = torch.cuda.is_available()
    with torch.device("cuda" if gpu else "cpu"):
        return LlamaForCausalLM(config).to(torch.bfloat16 if gpu else torch.float32)


def write_adapters(model: Any, root: Path, count: int) -> list[str]:
    """LoRA adapters with random weights over every linear layer of the blocks."""
    import torch
    from safetensors.torch import save_file

    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    layers = {name: module for name, module in model.named_modules() if name.rpartition(".")[2] in targets}
    names = [f"a{number}" for number in range(count)]
    for name in names:
        (root / name).mkdir(parents=True)
        tensors = {}
        for layer, module in layers.items():
            tensors[f"base_model.model.{layer}.lora_A.weight"] = 0.02 * torch.randn(RANK, module.in_features)
            tensors[f"base_model.model.{layer}.lora_B.weight"] = 0.02 * torch.randn(module.out_features, RANK)
        save_file(tensors, str(root / name / "adapter_model.safetensors"))
        config = {"peft_type": "LORA", "r": RANK, "lora_alpha": RANK, "target_modules": targets}
        (root / name / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    return names


def offline(base: Any, texts: list[str], tokens: int) -> float:
    """Tokens per second of one static batch, by transformers."""
    import torch

    from pipelines.serving.engine.work import Ask

    rows = [base.words.encode(Ask(text, "", tokens)) for text in texts]
    width = max(map(len, rows))
    ids = torch.tensor([[base.words.pad] * (width - len(row)) + row for row in rows], device=base.model.device)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=base.model.device)
    began = time.perf_counter()
    with torch.inference_mode():
        out = base.model.generate(
            input_ids=ids, attention_mask=mask, max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False, pad_token_id=base.words.pad
        )
    took = time.perf_counter() - began
    assert out.shape[1] == width + tokens
    return len(rows) * tokens / took


def in_process(arguments: argparse.Namespace) -> dict[str, float]:
    """The `--device` table."""
    import torch

    from pipelines.serving.engine.alone import Engine
    from pipelines.serving.engine.base import Base
    from pipelines.serving.engine.work import Ask, Completion

    tokens, texts = arguments.tokens, prompts(TOGETHER)
    base = Base("", stop=False, model=llama(arguments.tiny), tokenizer=Letters())
    base.words.stops = frozenset()
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as scratch:
        names = write_adapters(base.model, Path(scratch), 8)
        engine = Engine(base, Path(scratch), slots=TOGETHER, keep=8, seconds=600)

        def speed(adapters: list[str], rows: list[str], alone: bool = False) -> float:
            asks = [Ask(text, adapters[place % len(adapters)], tokens) for place, text in enumerate(rows)]
            began = time.perf_counter()
            found = [engine.answer([ask])[0] for ask in asks] if alone else engine.answer(asks)
            took = time.perf_counter() - began
            for one in found:
                assert isinstance(one, Completion), one
            return sum(one.tokens_out for one in found if isinstance(one, Completion)) / took

        measured: dict[str, Callable[[], float]] = {
            "one at a time": lambda: speed([""], texts[:3], alone=True),
            "together": lambda: speed([""], texts),
            "offline batch": lambda: offline(base, texts, tokens),
            "together, one adapter": lambda: speed(names[:1], texts),
            "together, eight adapters": lambda: speed(names, texts),
        }
        rounds: dict[str, list[float]] = {name: [] for name in measured}
        for attempt in range(arguments.rounds + 1):
            for name, measure in measured.items():
                value = measure()
                if attempt:  # the first warms
                    rounds[name].append(value)
        engine.close()
    figures = {name: quick(values) for name, values in rounds.items()}
    figures["parameters (millions)"] = sum(weight.numel() for weight in base.model.parameters()) / 1e6
    say(torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} thread(s)")
    return figures


# --- through Triton -----------------------------------------------------------------------------------------------------


def through_triton(arguments: argparse.Namespace) -> dict[str, float]:
    """The default table."""
    import asyncio
    import subprocess

    from free_ports import free_ports

    from pipelines.config import Ports, Settings
    from pipelines.serving import client, triton
    from pipelines.serving.engine.base import Base
    from pipelines.serving.exchange import Ask

    tokens, texts = arguments.tokens, prompts(arguments.requests)
    with tempfile.TemporaryDirectory() as scratch:
        http, grpc, metrics = free_ports(3)
        settings = Settings(var=Path(scratch) / "var", ports=Ports(triton_http=http, triton_grpc=grpc, triton_metrics=metrics))
        name = triton.prepare(settings, STARTER)
        file = triton.repository(settings) / name / "config.pbtxt"
        file.write_text(file.read_text().replace("parameters [", 'parameters [\n  { key: "stop" value: { string_value: "false" } },'))
        argv, env = triton.command(settings)
        with (Path(scratch) / "log").open("wb") as log:
            process = subprocess.Popen(argv, env=env, stdout=log, stderr=log)
        try:
            client.wait_ready(settings, alive=lambda: process.poll() is None)
            client.Engine(settings, name).load()

            async def speed(together: int, rows: list[str]) -> float:
                server, slots, done = client.Server(settings), asyncio.Semaphore(together), 0

                async def one(text: str) -> int:
                    async with slots:
                        return (await server.generate(name, Ask(text, max_tokens=tokens))).tokens_out

                await server.probe(name)
                began = time.perf_counter()
                done = sum(await asyncio.gather(*(one(text) for text in rows)))
                took = time.perf_counter() - began
                await server.close()
                return done / took

            base = Base(str(PROJECT / STARTER), stop=False)
            measured: dict[str, Callable[[], float]] = {
                "one at a time": lambda: asyncio.run(speed(1, texts[:6])),
                "sixteen at once": lambda: asyncio.run(speed(TOGETHER, texts)),
                "one batch of sixteen": lambda: asyncio.run(speed(TOGETHER, texts[:TOGETHER])),
                "offline batch": lambda: offline(base, texts[:TOGETHER], tokens),
            }
            rounds: dict[str, list[float]] = {key: [] for key in measured}
            for attempt in range(arguments.rounds + 1):
                for key, measure in measured.items():
                    value = measure()
                    if attempt:
                        rounds[key].append(value)
        finally:
            process.terminate()
            process.wait(30)
            triton.clean(settings)
    return {key: quick(values) for key, values in rounds.items()}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", action="store_true")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--requests", type=int, default=48)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
    figures = in_process(arguments) if arguments.device else through_triton(arguments)
    batch = figures.get("sixteen at once", figures.get("together", 0.0))
    ratios = {"sixteen / one": batch / figures["one at a time"], "sixteen / offline": batch / figures["offline batch"]}
    if "one batch of sixteen" in figures:
        ratios["one batch / offline"] = figures["one batch of sixteen"] / figures["offline batch"]
    if arguments.device:
        ratios["eight adapters / one"] = figures["together, eight adapters"] / figures["together, one adapter"]
    for key, value in figures.items():
        say(f"{key:28} {value:10.1f}{'' if 'param' in key else ' tokens/s'}")
    for key, value in ratios.items():
        say(f"{key:28} {value:10.2f}")
    if arguments.json:
        arguments.json.write_text(json.dumps({"figures": figures, "ratios": ratios}, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
