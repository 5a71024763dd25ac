"""What ends a training before its last step: a request, a stall, a loss that left the numbers or its own best behind."""

from __future__ import annotations

import faulthandler
import json
import logging
import math
import os
import signal
import threading
from collections.abc import Sequence
from pathlib import Path

from pipelines import errors
from pipelines.config import Recipe
from pipelines.errors import BadInput, RatchetError, Stalled
from pipelines.writing import write_json

FAULT = "fault.json"
STOP = "stop"
BUSY = 3
"""Exit code of a training whose work folder another one holds."""
SEQUENCES = "sequences.json"
"""Of a training set: per sequence, {"examples": [id, ...], "documents": [key, ...]}."""

START_SECONDS = 1800.0
"""Reading and hashing a large base, and compiling, take longer than a step."""
_FLOOR = 0.05
"""Nats per token. Near zero a loss of several times its best is noise."""

log = logging.getLogger("ratchet.training")


# --- faults told across processes ---------------------------------------------------------------------------------------


def leave(work: Path, error: RatchetError) -> None:
    """Tell the caller's process why this one ends. The first word stands: what the other ranks say follows from it."""
    if work.is_dir() and not (work / FAULT).exists():
        fault = {"kind": type(error).__name__, "what": error.what, "where": error.where, "todo": error.todo}
        write_json(work / FAULT, fault)


def left(work: Path) -> RatchetError | None:
    """What `leave` wrote."""
    try:
        fault = json.loads((work / FAULT).read_bytes())
        kind = getattr(errors, fault["kind"])
        told: RatchetError = kind(fault["what"], where=fault["where"], todo=fault["todo"])
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return None
    return told


def clear(work: Path) -> None:
    """A new start knows nothing of the last one's end."""
    for name in (FAULT, STOP):
        (work / name).unlink(missing_ok=True)


# --- stop on request ----------------------------------------------------------------------------------------------------


class StopSignal:
    """SIGTERM to this rank, or to whoever started it (the file `stop`, which ranks on every node see): asked for after every step."""

    def __init__(self, work: Path) -> None:
        self.file, self.caught, self.before = work / STOP, False, signal.getsignal(signal.SIGTERM)

    def __enter__(self) -> StopSignal:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._catch)
        return self

    def __exit__(self, *_: object) -> None:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self.before)

    def _catch(self, *_: object) -> None:
        self.caught = True

    def __bool__(self) -> bool:
        return self.caught or self.file.exists()


# --- stalls -------------------------------------------------------------------------------------------------------------


class Watchdog:
    """Kills this process when a step takes longer than `seconds`: a rank that waits for a hung peer never comes back by itself.

    The reason is written by a thread; where even threads do not run (a lock held in C), faulthandler's own timer ends the process.
    """

    def __init__(self, work: Path, rank: int, seconds: float) -> None:
        self.work, self.rank, self.seconds = work, rank, seconds
        self.timer: threading.Timer | None = None

    def __enter__(self) -> Watchdog:
        return self

    def __exit__(self, *_: object) -> None:
        self.rest()

    def beat(self, doing: str, at_least: float = 0.0) -> None:
        """A step begins: the time starts anew. `at_least` so many seconds are given it."""
        self.rest()
        seconds = max(self.seconds, at_least)
        faulthandler.dump_traceback_later(seconds + 10, exit=True, file=2)
        self.timer = threading.Timer(seconds, self._bite, (doing, seconds))
        self.timer.daemon = True
        self.timer.start()

    def rest(self) -> None:
        """Nothing is timed any more."""
        if self.timer is not None:
            self.timer.cancel()
            faulthandler.cancel_dump_traceback_later()

    def _bite(self, doing: str, seconds: float) -> None:
        error = Stalled(
            f"rank {self.rank} did not finish {doing} within {seconds:g} s",
            where="recipe.step_seconds",
            todo="running it again resumes; see the log for where each rank stood, and raise the limit if steps are that slow",
        )
        log.error("%s", error)
        faulthandler.dump_traceback(file=2)
        leave(self.work, error)
        os._exit(Stalled.exit_code)


# --- the loss -----------------------------------------------------------------------------------------------------------


def check_loss(losses: Sequence[float], recipe: Recipe, training_set: Path, rows: Sequence[int]) -> None:
    """BadInput when the last loss is not a number, or the last ones diverged: with the step and the documents of its batch."""
    step, last = len(losses), losses[-1]
    rule = recipe.divergence
    if not math.isfinite(last):
        what = f"the loss is not a number at step {step}"
    elif rule is not None and diverged(losses, rule.factor, rule.steps):
        what = f"the loss diverged at step {step}: {last:.4f}, for {rule.steps} steps over {rule.factor:g} times its best"
    else:
        return
    raise BadInput(
        f"{what}; its batch held {batch_names(training_set, rows)}",
        where="recipe.learning_rate",
        todo="lower it, or look at these documents; the last checkpoint is of before",
    )


def diverged(losses: Sequence[float], factor: float, steps: int) -> bool:
    """Whether each of the last `steps` losses is over `factor` times the lowest mean of as many consecutive ones before them."""
    before, recent = losses[:-steps], losses[-steps:]
    if len(before) < steps:
        return False
    best = min(sum(before[start : start + steps]) / steps for start in range(len(before) - steps + 1))
    return min(recent) > factor * max(best, _FLOOR)


def batch_names(training_set: Path, rows: Sequence[int], limit: int = 20) -> str:
    """The documents of these sequences, for a message; the row numbers where the training set does not tell."""
    try:
        sequences = json.loads((training_set / SEQUENCES).read_bytes())
        keys = sorted({key for row in rows for key in sequences[row]["documents"]})
    except (OSError, ValueError, IndexError, KeyError, TypeError):
        return f"the sequences {', '.join(map(str, sorted(rows)))} of the training set"
    more = f" and {len(keys) - limit} more" if len(keys) > limit else ""
    return f"the documents {', '.join(keys[:limit])}{more}"
