"""The DeepSpeed profile: ZeRO-2, optimiser state split over the ranks, on two CPU ranks over gloo.

Measured on loopback with the starter model it gains no time; it proves the path that larger bases take on several devices.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from pipelines.compute import launch as several_nodes
from pipelines.config import PROJECT, Recipe
from pipelines.errors import BadInput

RANKS = 2
CONFIG = PROJECT / "configs" / "deepspeed" / "zero2_cpu.json"

ENVIRONMENT = {
    "DS_ACCELERATOR": "cpu",
    "GLOO_SOCKET_IFNAME": "lo",  # the ranks talk over loopback only
}


def launch(job: Path) -> None:
    """Become torchrun's agent and start the ranks; returns when all of them have finished, raises when one failed.

    In a job on several nodes the ranks are spread over them instead, and a failed rank's exit code becomes this process's.
    """
    if (nodes := several_nodes.within()) is not None:
        if code := several_nodes.ranks(nodes, RANKS, ["-m", "pipelines.training.worker", "--job", str(job)]):
            sys.exit(code)
        return
    from torch.distributed.run import main

    sys.argv[0] = "torchrun"
    ranks = ["--nnodes=1", f"--nproc-per-node={RANKS}", "--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:0"]
    main([*ranks, "--local-addr=127.0.0.1", "-m", "pipelines.training.worker", "--job", str(job)])


def engine(model: Any, recipe: Recipe) -> tuple[Any, Any]:
    """(engine, the optimiser inside it) for this rank. BadInput when the batch does not divide among the ranks."""
    world = int(os.environ["WORLD_SIZE"])
    if recipe.batch_sequences % world:
        raise BadInput(
            f"{recipe.batch_sequences} sequences do not divide among {world} ranks",
            where="recipe.batch_sequences",
            todo=f"use a multiple of {world}",
        )
    import deepspeed

    config = json.loads(CONFIG.read_text(encoding="utf-8"))
    config["train_batch_size"] = recipe.batch_sequences
    config["train_micro_batch_size_per_gpu"] = recipe.batch_sequences // world
    deepspeed.init_distributed(dist_backend="gloo", verbose=False)
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    wrapped, optimizer, _, _ = deepspeed.initialize(model=model, model_parameters=trainable, config=config)
    return wrapped, optimizer.optimizer
