"""The engine's loop. Between any two steps requests join and leave the batch: none waits for another to end (iteration-level
scheduling: Yu et al., Orca, OSDI 2022).

One thread owns the model. A request has a deadline; a fault in one costs that one only.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from pipelines.serving.engine.adapters import Adapters, Resident
from pipelines.serving.engine.base import Base, Pieces
from pipelines.serving.engine.decoder import Batch, Token, portions
from pipelines.serving.engine.lora import NONE
from pipelines.serving.engine.work import Ask, Completion, Figures, Refused, Sink


@dataclass(eq=False, slots=True)
class Job:
    """A request under way."""

    ask: Ask
    sink: Sink
    ids: list[int]
    deadline: float
    pieces: Pieces | None
    resident: Resident | None = None
    chosen: list[int] = field(default_factory=list)
    logs: list[float] = field(default_factory=list)


class Scheduler:
    """The transformers engine: a `work.Backend`. `seconds` is a request's time in it; `broken` is called when the device itself fails."""

    def __init__(
        self,
        base: Base,
        adapters: Path,
        *,
        slots: int = 16,
        keep: int = 8,
        seconds: float = 30.0,
        broken: Callable[[], None] = lambda: None,
    ) -> None:
        self.base, self.slots, self.seconds = base, slots, seconds
        self.adapters = Adapters(base.model, base.small, adapters, keep, self._wake)
        self._broken = broken
        self._change = threading.Condition()
        self._fresh: list[Job] = []
        self._running = 0
        self._closing = False
        self._waiting: list[Job] = []
        self._shared = Batch(base.model, base.words.pad, self.adapters.stacks.select)
        self._jobs: dict[Batch, list[Job]] = {self._shared: []}
        self._own: dict[int, Batch] = {}
        self._tokens = 0
        self._thread = threading.Thread(target=self._run, name="scheduler", daemon=True)
        self._thread.start()

    # --- any thread ---------------------------------------------------------------------------------------------------

    def submit(self, ask: Ask, sink: Sink) -> None:
        """As `work.Backend.submit`."""
        try:
            ids = self.base.words.encode(ask)
        except Refused as refusal:
            sink.end(refusal)
            return
        pieces = Pieces(self.base.words) if ask.stream else None
        job = Job(ask, sink, ids, time.monotonic() + self.seconds, pieces)
        with self._change:
            refused = self._closing
            if not refused:
                self._running += 1
                self._fresh.append(job)
                self._change.notify_all()
        if refused:
            sink.end(Refused("engine: it is being unloaded"))

    def room(self, seconds: float) -> bool:
        """As `work.Backend.room`."""
        with self._change:
            return self._change.wait_for(lambda: self._closing or self._running < self.slots, seconds)

    def figures(self) -> Figures:
        """As `work.Backend.figures`."""
        return Figures(self._running, len(self._waiting), self._tokens)

    def close(self) -> None:
        """As `work.Backend.close`."""
        with self._change:
            self._closing = True
            self._change.notify_all()
        self._thread.join()
        self.adapters.close()

    def _wake(self) -> None:
        with self._change:
            self._change.notify_all()

    # --- the engine's thread ------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            with self._change:
                if not self._closing and not self._fresh and not any(self._jobs.values()):
                    # One that waits for its adapter is woken when that was read; the time-out is for its deadline.
                    self._change.wait(0.05 if self._waiting else None)
                self._waiting += self._fresh
                self._fresh = []
                closing = self._closing
            if closing:
                self._end([*self._waiting, *(job for jobs in self._jobs.values() for job in jobs)], Refused("engine: it is being unloaded"))
                self._waiting, self._jobs = [], {}
                return
            self._admit()
            for batch in list(self._jobs):
                self._step(batch)
            self._forget_trees()

    def _admit(self) -> None:
        """Those whose adapter is there join the batch it runs in."""
        waiting: list[Job] = []
        joining: dict[tuple[Batch, int], list[Job]] = {}
        for job in self._waiting:
            refusal = self._lost(job)
            try:
                if refusal is None and job.ask.adapter:
                    job.resident = self.adapters.take(job.ask)
                if refusal is None and job.resident is None and job.ask.adapter:
                    waiting.append(job)
                    continue
                if job.resident is not None:
                    self.base.words.require_taught(job.ask, job.resident.taught)
            except Refused as refused:
                refusal = refused
            except Exception as error:
                refusal = Refused(f"engine: {type(error).__name__}")
            if refusal is not None:
                self._end([job], refusal)
            else:
                batch = self._batch(job.resident)
                # A CPU computes a prompt no faster beside others, and adapters side by side cost it more: it takes them one by one.
                apart = job.resident.number if job.resident is not None and batch.device.type == "cpu" else NONE
                joining.setdefault((batch, apart), []).append(job)
        self._waiting = waiting
        for (batch, _), jobs in joining.items():
            for places in portions([len(job.ids) for job in jobs]):
                self._join(batch, [jobs[place] for place in places])

    def _batch(self, resident: Resident | None) -> Batch:
        if resident is None or resident.model is None:
            return self._shared
        found = self._own.get(id(resident.model))
        if found is None:
            found = self._own[id(resident.model)] = Batch(resident.model, self.base.words.pad)
            self._jobs[found] = []
        return found

    def _join(self, batch: Batch, jobs: list[Job]) -> None:
        numbers = [job.resident.number if job.resident else NONE for job in jobs]
        try:
            tokens = batch.join([job.ids for job in jobs], numbers)
        except Exception as error:
            if batch.torn:
                self._fail(batch, error, jobs)
            elif len(jobs) > 1:
                for job in jobs:
                    self._join(batch, [job])
            else:
                self._end(jobs, Refused(f"engine: {type(error).__name__}"))
                self._require_device()
            return
        before = len(self._jobs[batch])
        self._jobs[batch] += jobs
        self._advance(batch, range(before, before + len(jobs)), tokens)

    def _step(self, batch: Batch) -> None:
        if not self._jobs[batch]:
            return
        lost = {place: refusal for place, job in enumerate(self._jobs[batch]) if (refusal := self._lost(job)) is not None}
        self._leave(batch, lost)
        if not self._jobs[batch]:
            return
        try:
            tokens = batch.step()
        except Exception as error:
            self._fail(batch, error)
            return
        self._advance(batch, range(len(tokens)), tokens)

    def _lost(self, job: Job) -> Refused | None:
        if job.sink.gone():
            return Refused("cancelled: nobody waits for it")
        if time.monotonic() >= job.deadline:
            return Refused(f"timeout: no answer within {self.seconds:g} s")
        return None

    def _advance(self, batch: Batch, places: Sequence[int], tokens: Sequence[Token]) -> None:
        """Give each job its token; those that are done leave."""
        jobs, stops = self._jobs[batch], self.base.words.stops
        done: dict[int, Completion | Refused] = {}
        self._tokens += len(tokens)
        for place, (number, log) in zip(places, tokens, strict=True):
            job = jobs[place]
            job.logs.append(log)
            if not log <= 1e-3:  # also false for NaN
                done[place] = Refused("engine: the model's probabilities are not finite")
                continue
            if number not in stops:
                job.chosen.append(number)
            over = number in stops or len(job.chosen) >= job.ask.max_tokens
            if job.pieces is not None:
                fresh = job.pieces.next(job.chosen, last=over)
                if fresh:
                    job.sink.piece(fresh)
            if over:
                done[place] = self._completion(job)
        self._leave(batch, done)

    def _completion(self, job: Job) -> Completion | Refused:
        mean, least = sum(job.logs) / len(job.logs), min(job.logs)
        if not math.isfinite(mean):
            return Refused("engine: the model's probabilities are not finite")
        text = self.base.words.decode(job.chosen)
        return Completion(text, len(job.ids), len(job.chosen), min(math.exp(mean), 1.0), min(least, 0.0))

    def _leave(self, batch: Batch, done: dict[int, Any]) -> None:
        if not done:
            return
        jobs = self._jobs[batch]
        try:
            batch.drop(list(done))
        except Exception as error:
            self._fail(batch, error)
            return
        leaving = [(jobs[place], outcome) for place, outcome in done.items()]
        for place in sorted(done, reverse=True):
            jobs[place] = jobs[-1]
            jobs.pop()
        for job, outcome in leaving:
            self._end([job], outcome)

    def _fail(self, batch: Batch, error: Exception, more: Sequence[Job] = ()) -> None:
        """A step failed: its rows are lost, other batches and what comes next are not."""
        jobs, self._jobs[batch] = self._jobs[batch], []
        batch.clear()
        self._end([*jobs, *more], Refused(f"engine: {type(error).__name__}"))
        self._require_device()

    def _require_device(self) -> None:
        try:
            torch.zeros(1, device=self._shared.device).item()
        except Exception:
            self._broken()

    def _end(self, jobs: Sequence[Job], outcome: Completion | Refused) -> None:
        for job in jobs:
            if job.resident is not None:
                self.adapters.release(job.resident)
            with self._change:
                self._running -= 1
                self._change.notify_all()
            job.sink.end(outcome)

    def _forget_trees(self) -> None:
        """Drop the batches of module trees that are no longer loaded."""
        kept = {id(each.model) for each in self.adapters.loaded.values() if each.model is not None}
        for key in [key for key, batch in self._own.items() if key not in kept and not self._jobs[batch]]:
            del self._jobs[self._own.pop(key)]
