"""Several ranks: torchrun starts them, DeepSpeed's ZeRO shares optimiser state, gradients and weights out among them.

Rajbhandari et al. 2020, "ZeRO: Memory Optimizations Toward Training Trillion Parameter Models", arXiv 1910.02054. On CPU ranks over
gloo it gains no time (measured with the starter model); it proves the path that larger bases take on several devices.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from pipelines.compute import launch as several_nodes
from pipelines.config import PROJECT, Recipe
from pipelines.errors import BadInput, Conflict, RatchetError
from pipelines.training import watch

AGENT = "RATCHET_TRAINING_AGENT"
"""Set for ranks that `launch` starts; those of another launcher (srun, a Kubernetes job) have none."""


def configs() -> Path:
    """Where the DeepSpeed files are: the site's configs folder."""
    return Path(os.environ.get("RATCHET_CONFIGS", str(PROJECT / "configs")))


def launch(path: Path, recipe: Recipe, work: Path, threads: int) -> None:
    """Become torchrun's agent and start the ranks on this host, in a job on several nodes an agent on each; returns when all have finished.

    Raises what the first failing rank left, after the others were killed. SIGTERM asks all ranks to save and stop, by a file: on other
    nodes it would not come to them otherwise, and whoever passes a signal on there kills them next.
    """
    stop = work / watch.STOP
    signal.signal(signal.SIGTERM, lambda *_: stop.touch())
    import torch

    os.environ[AGENT] = str(os.getpid())
    os.environ["OMP_NUM_THREADS"] = str(max(1, threads // recipe.ranks))
    if not torch.cuda.is_available():
        os.environ["DS_ACCELERATOR"] = "cpu"
    module = ["-m", "pipelines.training.worker", "--job", str(path)]
    nodes = several_nodes.within()
    died, code = (
        _on_this_host(module, recipe.ranks) if nodes is None else ("a rank", several_nodes.ranks(nodes, recipe.ranks, module, stop))
    )
    if code == watch.BUSY:
        raise Conflict("this training already runs", where=str(work), todo="wait for it, or stop it first")
    if code:
        told = RatchetError(f"{died} ended with {code}", where=str(work), todo="read the log; running it again resumes")
        raise watch.left(work) or told


def _on_this_host(module: list[str], ranks: int) -> tuple[str, int]:
    """Which rank failed first, and its exit code; 0 when none did."""
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main

    os.environ["GLOO_SOCKET_IFNAME"] = "lo"  # the ranks of one host talk over loopback only
    sys.argv[0] = "torchrun"
    options = ["--nnodes=1", f"--nproc-per-node={ranks}", "--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:0"]
    options += ["--local-addr=127.0.0.1", *several_nodes.PATIENT]
    # A host that is busy for a minute is not a lost node: stalls are the watchdog's.
    options += ["--rdzv-conf=heartbeat=60,keep_alive_interval=5,keep_alive_max_attempt=60"]
    try:
        main([*options, *module])
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        return f"rank {rank}", failure.exitcode
    return "", 0


def check_world(recipe: Recipe) -> tuple[int, int]:
    """(rank, ranks) of this process. BadInput when whoever started it started another number than the recipe says."""
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if world != recipe.ranks:
        raise BadInput(f"{world} ranks were started, the recipe says {recipe.ranks}", where="recipe.ranks", todo="make them agree")
    return rank, world


def init() -> None:
    """Join the other ranks."""
    import torch

    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))
    else:
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    import deepspeed

    deepspeed.init_distributed(dist_backend="nccl" if cuda else "gloo", verbose=False)


def engine(model: Any, config: dict[str, Any], groups: list[dict[str, Any]]) -> tuple[Any, Any]:
    """(engine, the optimiser around PyTorch's) for this rank."""
    import deepspeed

    wrapped, optimizer, _, _ = deepspeed.initialize(model=model, model_parameters=groups, config=config)
    return wrapped, optimizer


def gathered(trained: dict[str, Any], recipe: Recipe) -> AbstractContextManager[Any]:
    """Within it every rank sees the whole of the weights that learn, which ZeRO-3 has shared out."""
    if recipe.zero < 3:
        return nullcontext()
    import deepspeed

    context: AbstractContextManager[Any] = deepspeed.zero.GatheredParameters(list(trained.values()))
    return context


def summed(values: list[float], distributed: bool) -> list[float]:
    """Each value added up over the ranks."""
    if not distributed:
        return values
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    total = torch.tensor(values, dtype=torch.float64, device=device)
    torch.distributed.all_reduce(total)
    return [float(value) for value in total.tolist()]
