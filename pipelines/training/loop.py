"""The training itself, in one process per rank.

The loop is ours because it must survive `kill -9`: batch, learning rate and random state are functions of the step number alone, and
a checkpoint is what learns and Adam's two moments. So a resumed run takes the very steps that an unbroken one takes, and nothing is
pickled.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines import locks
from pipelines.errors import Conflict, Interrupted, RatchetError
from pipelines.manifest import sha256, sha256_file, sha256_folder
from pipelines.recipe_config import deepspeed_config
from pipelines.training import base_model, builds, checkpoints, deepspeed, methods, preflight, probe, progress, schedule, snapshot, watch
from pipelines.training.job import Job, TrainingFacts
from pipelines.training.training_set import HELD_OUT, IGNORED, TENSORS, SetFacts, facts_of
from pipelines.writing import write_json

VERSION = 2
"""Raise when the same training set and recipe would be trained otherwise."""

BEST = "best.safetensors"

log = logging.getLogger("ratchet.training")


@dataclass
class Training:
    """One rank's training: the model, its optimiser, the data, and how far it is."""

    job: Job
    facts: SetFacts
    rank: int
    world: int
    device: str
    precision: probe.Probe
    rows: list[int]
    held_out: list[int]
    data: dict[str, Any]
    held_out_data: dict[str, Any]
    model: Any
    wrapped: Any
    optimizer: Any
    trained: dict[str, Any]
    barrier: Callable[[], None]
    identity: str
    tensors_sha256: str
    base_sha256: str
    parameters: int
    history: list[dict[str, float]] = field(default_factory=list)
    checkpoint: checkpoints.Checkpoint | None = None
    stopped: str | None = None

    @property
    def steps(self) -> int:
        return self.job.recipe.total_steps(len(self.rows))

    def loss_of(self, data: dict[str, Any], rows: Sequence[int]) -> Any:
        """Summed over the learned tokens of these rows. DeepSpeed casts the module itself."""
        precision = "fp32" if self.job.recipe.distributed else self.precision.precision
        return methods.summed_loss(self.wrapped, _batch(data, rows, self.device), methods.autocast(self.device, precision))

    def take_step(self, step: int, asked_to_stop: bool) -> bool:
        """Step `step` (from 0), recorded in the history. True when any rank was asked to stop."""
        import torch

        recipe, tick = self.job.recipe, time.monotonic()
        rate = schedule.learning_rate(recipe, step, self.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        batch = schedule.batch_rows(self.rows, recipe.batch_sequences, step, recipe.seed)
        tokens = max(1, learned_tokens(self.data, batch))
        mine = batch[self.rank :: self.world]
        torch.manual_seed(recipe.seed * 1_000_003 + step * self.world + self.rank)  # dropout, too, is a function of the step
        value = 0.0
        if not recipe.distributed:
            self.optimizer.zero_grad(set_to_none=True)
        for at in range(0, len(mine), recipe.micro_sequences):
            # A mean over the whole batch's tokens, whatever pieces and ranks it is computed in; DeepSpeed averages over the ranks.
            loss = self.loss_of(self.data, mine[at : at + recipe.micro_sequences]) / tokens
            value += float(loss.detach())
            if recipe.distributed:
                self.wrapped.backward(loss * self.world, scale_wrt_gas=False)
                self.wrapped.step()
            else:
                loss.backward()
        value, asked = deepspeed.summed([value, float(asked_to_stop)], recipe.distributed)
        watch.check_loss([*(row["loss"] for row in self.history), value], recipe, self.job.training_set, batch)
        if not recipe.distributed:
            torch.nn.utils.clip_grad_norm_(self.trained.values(), recipe.max_grad_norm)
            self.optimizer.step()
        speed = recipe.batch_sequences * self.facts.sequence_tokens / (time.monotonic() - tick)
        self.history.append({"step": step + 1, "loss": round(value, 6), "lr": rate, "tokens_per_second": round(speed)})
        return asked > 0

    def look(self) -> None:
        """The loss of the held-out part; the best weights so far are kept, and patience may run out.

        Every rank looks at all of it: under ZeRO-3 they must walk the layers together.
        """
        import torch

        recipe, size = self.job.recipe, self.job.recipe.micro_sequences
        self.model.eval()
        with torch.no_grad():
            parts = (self.held_out[at : at + size] for at in range(0, len(self.held_out), size))
            total = sum(float(self.loss_of(self.held_out_data, part)) for part in parts)
        self.model.train()
        self.history[-1]["held_out_loss"] = round(total / max(1, learned_tokens(self.held_out_data, self.held_out)), 6)
        if schedule.best(self.history)["step"] == self.history[-1]["step"]:
            with deepspeed.gathered(self.trained, recipe):
                if self.rank == 0:
                    methods.keep(self.trained, self.job.work / BEST, len(self.history))
        self.stopped = schedule.out_of_patience(self.history, recipe)

    def save(self) -> None:
        """A checkpoint of this step, by all ranks together."""
        checkpoints.save(
            self.job.work,
            identity=self.identity,
            step=len(self.history),
            history=self.history,
            tensors=snapshot.take(self.trained, self.optimizer),
            rank=self.rank,
            barrier=self.barrier,
            keep=self.job.recipe.keep_checkpoints,
        )

    def walk(self, stop: watch.StopSignal, dog: watch.Watchdog) -> None:
        """Every step that is left. Interrupted when asked to stop, after a checkpoint."""
        recipe, steps, start = self.job.recipe, self.steps, len(self.history)
        meter = progress.Meter(self.job.work, steps, start)
        self.model.train()
        for step in range(start, steps):
            if self.stopped:
                log.info("%s", self.stopped)
                return
            dog.beat(f"step {step + 1}")
            asked, last = self.take_step(step, bool(stop)), step + 1 == steps
            if recipe.early_stopping is not None and ((step + 1) % recipe.early_stopping.every == 0 or last):
                self.look()
            if self.rank == 0:
                now = meter.tell(step + 1, self.history[-1]["loss"], self.history[-1]["tokens_per_second"])
                if (step + 1) % 10 == 0 or last:
                    log.info("%s", now)
            if (step + 1) % recipe.checkpoint_every == 0 or last or asked or self.stopped:
                self.save()
            if asked and not last:
                raise Interrupted(f"stopped on request after step {step + 1} of {steps}", where=str(self.job.work), todo="run it again")

    def finish(self, began: float) -> TrainingFacts | None:
        """Rank 0 writes the result: the last weights, or the best ones where it looked."""
        job, rows = self.job, self.history
        best = int(schedule.best(rows)["step"]) if job.recipe.early_stopping is not None else None
        with deepspeed.gathered(self.trained, job.recipe):
            if self.rank == 0:
                if best is not None and best != len(rows):
                    methods.bring_back(self.trained, job.work / BEST)
                weights_sha256 = methods.write(self.model, job.recipe, job.base, job.out)
        if self.rank != 0:
            return None
        result = TrainingFacts(
            base=methods.base_name(job.base),
            base_sha256=self.base_sha256,
            prompt=self.facts.prompt,
            prompt_sha256=self.facts.prompt_sha256,
            training_set_sha256=self.tensors_sha256,
            recipe=job.recipe,
            ranks=self.world,
            threads=job.threads,
            steps=len(rows),
            resumed_at=self.checkpoint.step if self.checkpoint else None,
            parameters=self.parameters,
            trained_parameters=sum(_size(p) for p in self.trained.values()),
            examples=self.facts.examples,
            loss=round(sum(row["loss"] for row in rows[-10:]) / len(rows[-10:]), 6),
            history=rows,
            seconds=round(time.monotonic() - began, 1),
            peak_mb=progress.peak_mb(),
            weights_sha256=weights_sha256,
            packages=_packages(),
            precision=self.precision,
            passed_over=self.checkpoint.passed_over if self.checkpoint else (),
            stopped=self.stopped,
            best_step=best,
            chat_template=self.facts.chat_template,
        )
        write_json(job.out / "facts.json", result.model_dump(mode="json"))
        return result


def run(job: Job) -> TrainingFacts | None:
    """The whole training in this process, as this rank. Rank 0 writes the result and returns its facts; others return None."""
    began = time.monotonic()
    with ExitStack() as ending:
        rank, _ = deepspeed.check_world(job.recipe)
        if rank == 0:
            job.work.mkdir(parents=True, exist_ok=True)
            if not ending.enter_context(locks.alone_now(job.work / "lock")):  # two trainings over the same checkpoints would spoil both
                raise Conflict("this training already runs", where=str(job.work), todo="wait for it, or stop it first")
            if deepspeed.AGENT not in os.environ:  # the agent has cleared it, before any rank could speak
                watch.clear(job.work)
        if job.recipe.distributed:
            ending.enter_context(builds.usable(builds.folder()))
        stop = ending.enter_context(watch.StopSignal(job.work))
        dog = ending.enter_context(watch.Watchdog(job.work, rank, job.recipe.step_seconds))
        dog.beat("its start", watch.START_SECONDS)
        training = _set_up(job)
        training.walk(stop, dog)
        dog.beat("its end", watch.START_SECONDS)
        return training.finish(began)


def _set_up(job: Job) -> Training:
    """Everything in place, as the newest whole checkpoint left it."""
    import torch
    from safetensors.torch import load_file

    recipe = job.recipe
    rank, world = deepspeed.check_world(recipe)
    torch.set_num_threads(max(1, job.threads // int(os.environ.get("LOCAL_WORLD_SIZE", world))))
    torch.use_deterministic_algorithms(True, warn_only=True)
    facts = facts_of(job.training_set)
    data, held_out_data = load_file(job.training_set / TENSORS), {}
    if recipe.early_stopping is not None and (job.training_set / HELD_OUT).is_file():
        held_out_data = load_file(job.training_set / HELD_OUT)
        rows, held_out = list(range(facts.sequences)), list(range(len(held_out_data["labels"])))
    else:
        rows, held_out = schedule.split(facts.sequences, recipe)
    schedule.check_ranks(len(rows), recipe)
    base_model.check(job.base)
    device = f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if torch.cuda.is_available() else "cpu"
    if recipe.distributed:
        deepspeed.init()
    barrier = torch.distributed.barrier if recipe.distributed else _nothing
    if rank == 0:
        told = probe.decide(job.work, job.base, recipe, device, _batch(data, rows[: recipe.micro_sequences], device))
        _check_room(job, told.precision, facts)
    barrier()
    chosen = probe.decide(job.work, job.base, recipe, device, {})
    # DeepSpeed takes what is on the host, and shares it out or moves it.
    model = methods.build(job.base, recipe, "cpu" if recipe.distributed else device, chosen.precision)
    parameters = sum(p.numel() for p in model.parameters())
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    groups = snapshot.groups(trained, recipe.weight_decay)
    settings: dict[str, Any] = {}
    if recipe.distributed:
        settings = deepspeed_config(recipe, chosen.precision, deepspeed.configs())
        wrapped, optimizer = deepspeed.engine(model, settings, groups)
    else:
        wrapped, optimizer = model, torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.999))
    tensors_sha256, base_sha256 = sha256_file(job.training_set / TENSORS), base_hash(job.base)
    identity = sha256([VERSION, tensors_sha256, base_sha256, recipe.model_dump(mode="json"), world, chosen.precision, settings])
    training = Training(
        job, facts, rank, world, device, chosen, rows, held_out, data, held_out_data or data, model, wrapped, optimizer, trained,
        barrier, identity, tensors_sha256, base_sha256, parameters,
    )  # fmt: skip
    checkpoint = checkpoints.newest(job.work, identity)
    barrier()
    if checkpoint is not None:
        snapshot.restore(checkpoint.tensors(rank), trained, optimizer)
        training.checkpoint, training.history = checkpoint, checkpoint.history
        training.stopped = schedule.out_of_patience(training.history, recipe)
        log.info("goes on after step %d", checkpoint.step)
    return training


def _check_room(job: Job, precision: str, facts: SetFacts) -> None:
    """BadInput when it will not fit. An architecture that cannot be estimated is trained all the same."""
    recipe = job.recipe.model_copy(update={"precision": precision})
    share = facts.learned_tokens / (facts.sequences * facts.sequence_tokens)
    try:
        told = preflight.estimate(job.base, recipe, learned_share=share, timed=False)
    except RatchetError:
        raise
    except Exception as error:
        log.warning("no estimate of the memory needed: %s", methods.reason(error))
        return
    log.info("memory: %s, of %.2f GB", told.arithmetic(), told.capacity / preflight.GB)
    preflight.require_fit(told)


def _batch(data: dict[str, Any], rows: Sequence[int], device: str) -> dict[str, Any]:
    return {name: tensor[list(rows)].long().to(device) for name, tensor in data.items()}


def learned_tokens(data: dict[str, Any], rows: Sequence[int]) -> int:
    """How many tokens of these rows are learned: a first token is given, whatever its label."""
    return int((data["labels"][list(rows), 1:] != IGNORED).sum())


def base_hash(base: str) -> str:
    """SHA-256 of a local base's folder; a hub name stands for itself."""
    folder = Path(base)
    return sha256_folder(folder) if folder.is_dir() else sha256(base)


def _size(parameter: Any) -> int:
    return int(getattr(parameter, "ds_numel", parameter.numel()))


def _packages() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("torch", "transformers", "peft")}


def _nothing() -> None:
    pass
