"""LoRA on a 7B- to 8B-shaped random Llama: model FLOPs utilisation, tokens per second and peak memory, without ZeRO and with ZeRO-3.

    python -m tests.bench.bench_gpu_lora [--tiny] [--steps N] [--peak-tflops N] [--json FILE]

The weights are random, in bf16; sequences of 2048 tokens are packed full, of 4 texts each; 1 token in 10 is learned.

    MFU = tokens/s x FLOPs per token / peak FLOPs/s of the device
    FLOPs per token = 4 x (frozen weights that multiply) + 6 x (weights of the adapter) + 12 x layers x hidden x (mean length of a text / 2)

4, not 6, because frozen weights need no gradient of their own (2 forward, 2 for the gradient of the activations); the adapter's need
one; attention as in Chowdhery et al. 2022 (PaLM, appendix B), halved because it is causal. Recomputation is not counted. Peak: bf16 without
sparsity, 989 TFLOP/s for H100 SXM and H200 by NVIDIA's data sheet; on a CPU (`--tiny`) the best of a few large matrix products, measured.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from pipelines.config import PROJECT, Recipe
from pipelines.training import preflight, worker
from pipelines.training.training_set import IGNORED, TENSORS, SetFacts
from pipelines.writing import write_json

LLAMA_8B = {
    "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
    "vocab_size": 32000, "max_position_embeddings": 4096,
}  # fmt: skip
TINY = LLAMA_8B | {"hidden_size": 256, "intermediate_size": 704, "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2}
TEXTS = 4
PEAK = {"H100": 989.0, "H200": 989.0, "A100": 312.0}


def base(shape: dict[str, Any], folder: Path) -> str:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        torch.set_default_dtype(torch.bfloat16)
        LlamaForCausalLM(LlamaConfig(**shape)).save_pretrained(folder)
        torch.set_default_dtype(torch.float32)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(PROJECT / "models" / "starter" / name, folder / name)
    return str(folder)


def training_set(tokens: int, vocabulary: int, folder: Path) -> Path:
    """Sequences without padding, of TEXTS texts each."""
    import torch
    from safetensors.torch import save_file

    folder.mkdir()
    torch.manual_seed(0)
    ids = torch.randint(3, min(vocabulary, 4000), (32, tokens), dtype=torch.int32)
    learned = torch.rand(ids.shape) < preflight.LEARNED_SHARE
    positions = (torch.arange(tokens, dtype=torch.int32) % (tokens // TEXTS)).expand(ids.shape).contiguous()
    save_file({"input_ids": ids, "labels": ids.where(learned, IGNORED), "position_ids": positions}, folder / TENSORS)
    documents: Any = 0 if SetFacts.model_fields["documents"].annotation is int else ()
    facts = SetFacts(
        examples=32 * TEXTS, too_long=0, not_stated=0, sequences=32, sequence_tokens=tokens, tokens=ids.numel(),
        learned_tokens=int(learned.sum()), examples_sha256="", tokenizer_sha256="",
        prompt="", prompt_sha256="", rules={}, documents=documents,
    )  # fmt: skip
    write_json(folder / "facts.json", facts.model_dump(mode="json"))
    return folder


def peak_tflops() -> tuple[float, str]:
    import torch

    if torch.cuda.is_available():
        name = torch.cuda.get_device_name(0)
        return next((peak for part, peak in PEAK.items() if part in name), 0.0), name
    a = torch.rand(2048, 2048).bfloat16()
    best = float("inf")
    for _ in range(5):
        began = time.perf_counter()
        a @ a
        best = min(best, time.perf_counter() - began)
    return 2 * 2048**3 / best / 1e12, f"CPU, {torch.get_num_threads()} threads, measured"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="a model of some millions, on a CPU")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--peak-tflops", type=float, default=0.0)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    shape, tokens = (TINY, 256) if asked.tiny else (LLAMA_8B, 2048)
    measured, device = peak_tflops()
    peak = asked.peak_tflops or measured
    rows = []
    with tempfile.TemporaryDirectory() as place:
        room = Path(place)
        model, data = base(shape, room / "base"), training_set(tokens, shape["vocab_size"], room / "set")
        common = {"precision": "bf16", "sequence_tokens": tokens, "batch_sequences": 8, "accumulate": 4, "steps": asked.steps}
        for name, zero in (("no ZeRO", 0), ("ZeRO-3", 3)):
            recipe = Recipe(zero=zero, checkpoint_every=1000, divergence=None, **common)
            facts = worker.train(data, model, recipe, room / f"out-{zero}", room / f"work-{zero}", 2)
            sizes, layers, _ = preflight.measure(model, recipe)
            attention = 12 * layers * shape["hidden_size"] * tokens / TEXTS / 2
            per_token = preflight.flops(sizes, recipe) + attention
            speed = statistics.median(row["tokens_per_second"] for row in facts.history[2:])
            rows.append(
                {
                    "run": name, "parameters": facts.parameters, "tokens_per_second": speed, "gflop_per_token": per_token / 1e9,
                    "mfu": speed * per_token / (peak * 1e12) if peak else None, "peak_mb": facts.peak_mb, "loss": facts.loss,
                }
            )  # fmt: skip
    print(f"{device}: {peak:.2f} TFLOP/s peak, bf16")  # noqa: T201
    for row in rows:
        print("  ".join(f"{key} {value:,.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in row.items()))  # noqa: T201
    if asked.json:
        asked.json.write_text(json.dumps({"device": device, "peak_tflops": peak, "rows": rows}, indent=2))


if __name__ == "__main__":
    main()
