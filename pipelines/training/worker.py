"""Trains a LoRA adapter from a packed training set: transformers holds the base, peft the adapter, this module the loop.

The loop is ours because it must survive `kill -9`: batch, learning rate and random state are functions of the step number alone, and
a checkpoint is the adapter and Adam's two moments. So a resumed run takes the very steps that an unbroken one takes, and nothing is
pickled. `python -m pipelines.training.worker --job job.json` is the process; `train` starts it and waits.
"""

from __future__ import annotations

import argparse
import ctypes
import fcntl
import json
import logging
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from pipelines.config import PROJECT, Recipe
from pipelines.errors import BadInput, Conflict, RatchetError
from pipelines.manifest import sha256, sha256_file, sha256_folder
from pipelines.training import checkpoints
from pipelines.training.training_set import IGNORED, OFFLINE, TENSORS, facts_of, write_json

VERSION = 1
"""Raise when the same training set and recipe would be trained otherwise."""

WEIGHTS = "adapter_model.safetensors"
LOG = "train.log"

# Spinning OpenMP threads starve everything else that runs on the same cores.
QUIET = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}

log = logging.getLogger("ratchet.training")


class Job(BaseModel):
    """What the training process needs to know; written as job.json."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    training_set: Path
    base: str
    recipe: Recipe
    out: Path
    work: Path
    threads: int


class TrainingFacts(BaseModel):
    """facts.json of an adapter. `history` has per step: step, loss (mean over the learned tokens), lr, tokens_per_second."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    base: str
    base_sha256: str
    prompt: str
    prompt_sha256: str
    training_set_sha256: str
    recipe: Recipe
    ranks: int
    threads: int
    steps: int
    resumed_at: int | None
    parameters: int
    trained_parameters: int
    examples: int
    loss: float
    history: list[dict[str, float]]
    seconds: float
    peak_mb: float
    weights_sha256: str
    packages: dict[str, str]


def train(training_set: Path, base: str, recipe: Recipe, out: Path, work: Path, threads: int) -> TrainingFacts:
    """Train in a process of its own, and fill `out` with the adapter (safetensors, JSON) and, last, facts.json.

    `base` is what `from_pretrained` takes. `work` holds checkpoints and the log, and must outlive an interruption: the same call with
    the same `work` goes on where the last whole checkpoint ends. BadInput for what cannot be trained, Conflict when `work` is in use.
    """
    work.mkdir(parents=True, exist_ok=True)
    job = Job(training_set=training_set, base=base, recipe=recipe, out=out, work=work, threads=threads)
    write_json(work / "job.json", job.model_dump(mode="json"))
    path = os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, **OFFLINE, **QUIET, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": path}
    command = [sys.executable, "-m", "pipelines.training.worker", "--job", str(work / "job.json")]
    with (work / LOG).open("a", encoding="utf-8") as lines:
        done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, stdout=lines, stderr=lines)
    if done.returncode == 0 and (out / "facts.json").is_file():
        return facts_of_adapter(out)
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        raise RatchetError(f"the training process ended by {name}", where=str(work / LOG), todo="run it again: it resumes")
    last = ((work / LOG).read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["no word"])[-1]
    kind = {BadInput.exit_code: BadInput, _BUSY: Conflict}.get(done.returncode, RatchetError)
    raise kind(f"training failed: {last}", where=str(work / LOG), todo="read the log; running it again resumes")


def facts_of_adapter(folder: Path) -> TrainingFacts:
    """What a finished adapter says of itself."""
    return TrainingFacts.model_validate_json((folder / "facts.json").read_text(encoding="utf-8"))


def batch_rows(sequences: int, size: int, step: int, seed: int) -> list[int]:
    """Row numbers of step `step` (from 0): `size` next ones of an endless run of shuffled epochs, a function of its arguments alone."""
    import torch

    rows: list[int] = []
    epochs: dict[int, list[int]] = {}
    for place in range(step * size, (step + 1) * size):
        epoch, index = divmod(place, sequences)
        if epoch not in epochs:
            generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
            epochs[epoch] = torch.randperm(sequences, generator=generator).tolist()
        rows.append(epochs[epoch][index])
    return rows


def learning_rate(recipe: Recipe, step: int) -> float:
    """Of step `step` (from 0): linear warm-up, then linearly towards zero."""
    if step < recipe.warmup_steps:
        return recipe.learning_rate * (step + 1) / recipe.warmup_steps
    left = (recipe.steps - step) / max(1, recipe.steps - recipe.warmup_steps)
    return recipe.learning_rate * min(1.0, left)


# --- inside the process -------------------------------------------------------------------------------------------------


def run(job: Job) -> TrainingFacts | None:
    """The whole training in this process, as this rank. Rank 0 writes the adapter and returns its facts; others return None."""
    import torch
    from safetensors.torch import load_file

    began = time.monotonic()
    recipe, rank, world = job.recipe, int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    torch.set_num_threads(max(1, job.threads // world))
    torch.use_deterministic_algorithms(True, warn_only=True)
    facts = facts_of(job.training_set)
    tensors_sha256, base_sha256 = sha256_file(job.training_set / TENSORS), base_hash(job.base)
    identity = sha256([VERSION, tensors_sha256, base_sha256, recipe.model_dump(mode="json"), world])
    lock = _lock(job.work) if rank == 0 else None

    device = "cuda" if torch.cuda.is_available() and world == 1 else "cpu"
    model, adapter = _adapted(job.base, recipe, device)
    parameters = sum(p.numel() for p in model.parameters())
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if recipe.profile == "deepspeed_zero2":
        from pipelines.training import deepspeed

        wrapped, optimizer = deepspeed.engine(model, recipe)
        barrier = torch.distributed.barrier
    else:
        wrapped = model
        optimizer = torch.optim.AdamW(trained.values(), lr=recipe.learning_rate, betas=(0.9, 0.999), weight_decay=0.0)
        barrier = _nothing

    history: list[dict[str, float]] = []
    checkpoint = checkpoints.newest(job.work, identity)
    barrier()
    if checkpoint is not None:
        _restore(checkpoint.tensors(rank), trained, optimizer)
        history = checkpoint.history
        log.info("goes on after step %d", checkpoint.step)
    data = load_file(job.training_set / TENSORS)
    model.train()
    for step in range(checkpoint.step if checkpoint else 0, recipe.steps):
        tick = time.monotonic()
        rate = learning_rate(recipe, step)
        for group in optimizer.param_groups:
            group["lr"] = rate
        rows = batch_rows(facts.sequences, recipe.batch_sequences, step, recipe.seed)[rank::world]
        batch = {name: tensor[rows].long().to(device) for name, tensor in data.items()}
        torch.manual_seed(recipe.seed * 1_000_003 + step * world + rank)  # dropout, too, is a function of the step
        loss = _loss(wrapped, batch)
        if recipe.profile == "deepspeed_zero2":
            wrapped.backward(loss)
            wrapped.step()
        else:
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trained.values(), 1.0)
            optimizer.step()
        value = float(loss.detach())
        if value != value:  # NaN
            raise BadInput(f"the loss is not a number at step {step + 1}", where="recipe.learning_rate", todo="lower it")
        speed = recipe.batch_sequences * facts.sequence_tokens / (time.monotonic() - tick)
        history.append({"step": step + 1, "loss": round(value, 6), "lr": rate, "tokens_per_second": round(speed)})
        if (step + 1) % recipe.checkpoint_every == 0 or step + 1 == recipe.steps:
            log.info("step %d of %d: loss %.4f, %.0f tokens/s", step + 1, recipe.steps, value, speed)
            checkpoints.save(
                job.work,
                identity=identity,
                step=step + 1,
                history=history,
                tensors=_snapshot(trained, optimizer),
                rank=rank,
                barrier=barrier,
            )
    if rank != 0:
        return None
    _write_adapter(model, adapter, job)
    result = TrainingFacts(
        base=base_name(job.base),
        base_sha256=base_sha256,
        prompt=facts.prompt,
        prompt_sha256=facts.prompt_sha256,
        training_set_sha256=tensors_sha256,
        recipe=recipe,
        ranks=world,
        threads=job.threads,
        steps=len(history),
        resumed_at=checkpoint.step if checkpoint else None,
        parameters=parameters,
        trained_parameters=sum(p.numel() for p in trained.values()),
        examples=facts.examples,
        loss=round(sum(row["loss"] for row in history[-10:]) / len(history[-10:]), 6),
        history=history,
        seconds=round(time.monotonic() - began, 1),
        peak_mb=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        weights_sha256=sha256_file(job.out / WEIGHTS),
        packages=_packages(),
    )
    write_json(job.out / "facts.json", result.model_dump(mode="json"))
    if lock is not None:
        os.close(lock)
    return result


def _adapted(base: str, recipe: Recipe, device: str) -> tuple[Any, Any]:
    """The base with a fresh adapter on all its linear layers, and the adapter's config."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    try:
        model = AutoModelForCausalLM.from_pretrained(
            base, dtype=torch.float32 if device == "cpu" else "auto", use_safetensors=True, local_files_only=True
        )
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise BadInput(f"the base model does not load: {reason}", where=base, todo="check base.model of the domain") from None
    torch.manual_seed(recipe.seed)
    config = LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        lora_dropout=recipe.dropout,
        target_modules="all-linear",
        bias="none",
        task_type="CAUSAL_LM",
    )
    adapted = get_peft_model(model, config).to(device)
    adapted.config.use_cache = False
    return adapted, adapted.peft_config["default"]


def _loss(model: Any, batch: dict[str, Any]) -> Any:
    """Mean cross-entropy over the learned tokens of a batch ([sequences, tokens] each).

    The vocabulary is projected only at positions whose next token is learned: about one in fifteen, and the projection is a third of
    a small model's work. No attention mask and no cache: only so do position ids that restart keep packed examples apart.
    """
    import torch

    following = torch.full_like(batch["labels"], IGNORED)
    following[:, :-1] = batch["labels"][:, 1:]
    learned = following != IGNORED
    output = model(input_ids=batch["input_ids"], position_ids=batch["position_ids"], logits_to_keep=learned, use_cache=False)
    logits = output.logits.reshape(-1, output.logits.shape[-1])
    return torch.nn.functional.cross_entropy(logits.float(), following[learned])


def _snapshot(trained: dict[str, Any], optimizer: Any) -> dict[str, Any]:
    """The adapter, the optimiser's own parameters (under ZeRO this rank's share) and their moments, as copies on the CPU."""
    tensors = {f"weight/{name}": parameter for name, parameter in trained.items()}
    for index, parameter in enumerate(_parameters(optimizer)):
        tensors[f"own/{index}"] = parameter
        tensors |= {f"state/{index}/{name}": value for name, value in optimizer.state[parameter].items()}
    return {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}


def _restore(tensors: dict[str, Any], trained: dict[str, Any], optimizer: Any) -> None:
    for name, parameter in trained.items():
        parameter.data.copy_(tensors[f"weight/{name}"])
    for index, parameter in enumerate(_parameters(optimizer)):
        parameter.data.copy_(tensors[f"own/{index}"])
        prefix = f"state/{index}/"
        saved = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
        # Adam counts its steps on the CPU wherever the moments live.
        optimizer.state[parameter] = {
            name: value.clone() if name == "step" else value.to(parameter.device, copy=True) for name, value in saved.items()
        }


def _parameters(optimizer: Any) -> list[Any]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _write_adapter(model: Any, config: Any, job: Job) -> None:
    """`adapter_model.safetensors` and `adapter_config.json`, as peft reads them; no path of this machine in either."""
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    job.out.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in get_peft_model_state_dict(model).items()}
    temporary = job.out / f"{WEIGHTS}.tmp-{os.getpid()}"
    save_file(weights, temporary, metadata={"format": "pt"})
    temporary.rename(job.out / WEIGHTS)
    settings = {name: sorted(value) if isinstance(value, set) else value for name, value in config.to_dict().items()}
    write_json(job.out / "adapter_config.json", settings | {"inference_mode": True, "base_model_name_or_path": base_name(job.base)})


def base_name(base: str) -> str:
    """The base as the project names it: relative where it lies in the project."""
    path = Path(base)
    return path.relative_to(PROJECT).as_posix() if path.is_relative_to(PROJECT) else path.name if path.is_absolute() else base


def base_hash(base: str) -> str:
    """SHA-256 of a local base's folder; a hub name stands for itself."""
    folder = Path(base)
    return sha256_folder(folder) if folder.is_dir() else sha256(base)


def _lock(work: Path) -> int:
    """Held until the process ends: two trainings over the same checkpoints would spoil both."""
    work.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(work / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise Conflict("this training already runs", where=str(work), todo="wait for it, or stop it first") from None
    return descriptor


def _packages() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("torch", "transformers", "peft")}


def _nothing() -> None:
    pass


_BUSY = 3


def _die_with_parent() -> None:
    """Linux: a training whose caller was killed must not run on unseen."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def main() -> int:
    """Entry of the process, of torchrun's agent and of its ranks. Exit 2: bad input; 3: already running."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.training.worker", description=__doc__)
    parser.add_argument("--job", type=Path, required=True, help="job.json")
    path = parser.parse_args().job
    _die_with_parent()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s", stream=sys.stderr)
    try:
        job = Job.model_validate(json.loads(path.read_text(encoding="utf-8")))
        if job.recipe.profile == "deepspeed_zero2" and "RANK" not in os.environ:
            from pipelines.training import deepspeed

            os.environ.update(deepspeed.ENVIRONMENT, OMP_NUM_THREADS=str(max(1, job.threads // deepspeed.RANKS)))
            deepspeed.launch(path)
        else:
            run(job)
    except RatchetError as error:
        log.error("%s", error)
        return _BUSY if isinstance(error, Conflict) else error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
