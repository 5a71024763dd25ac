"""A training as a process: `train` starts it and waits, `python -m pipelines.training.worker --job job.json` is the process itself, and
under DeepSpeed torchrun's agent and every rank. The loop is in `loop`.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pipelines.compute.child import die_with_parent
from pipelines.config import PROJECT, Recipe
from pipelines.errors import Conflict, RatchetError
from pipelines.training import deepspeed, progress, watch
from pipelines.training.job import Job as Job
from pipelines.training.job import TrainingFacts as TrainingFacts
from pipelines.training.job import facts_of_adapter as facts_of_adapter
from pipelines.training.loop import run as run
from pipelines.training.training_set import OFFLINE
from pipelines.writing import write_json

LOG = "train.log"

# Spinning OpenMP threads starve everything else that runs on the same cores; the libraries' notices to their authors fill the log.
QUIET = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "PYTHONWARNINGS": "ignore::FutureWarning"}

log = logging.getLogger("ratchet.training")


def train(
    training_set: Path,
    base: str,
    recipe: Recipe,
    out: Path,
    work: Path,
    threads: int,
    told: Callable[[progress.Progress], None] | None = None,
) -> TrainingFacts:
    """Train in a process of its own, and fill `out` with the adapter (safetensors, JSON) and, last, facts.json.

    `base` is what `from_pretrained` takes. `work` holds checkpoints, log and progress, and must outlive an interruption: the same call
    with the same `work` goes on where the last whole checkpoint ends. SIGTERM is passed on. `told` hears of progress. BadInput for what
    cannot be trained, Conflict when `work` is in use, Interrupted after a SIGTERM, Stalled when a step took too long.
    """
    work.mkdir(parents=True, exist_ok=True)
    job = Job(training_set=training_set, base=base, recipe=recipe, out=out, work=work, threads=threads)
    write_json(work / "job.json", job.model_dump(mode="json"))
    path = os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, **OFFLINE, **QUIET, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": path}
    command = [sys.executable, "-m", "pipelines.training.worker", "--job", str(work / "job.json")]
    with (work / LOG).open("a", encoding="utf-8") as lines:
        process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=lines, stderr=lines)
        with _passing_sigterm_on(process):
            code = _wait(process, work, told or (lambda now: log.info("%s", now)))
    if code == 0 and (out / "facts.json").is_file():
        return facts_of_adapter(out)
    if code == watch.BUSY:
        raise Conflict("this training already runs", where=str(work), todo="wait for it, or stop it first")
    if (fault := watch.left(work)) is not None:
        raise fault
    what = f"by {signal.Signals(-code).name}" if code < 0 else f"with {code}"
    raise RatchetError(f"the training process ended {what}", where=str(work / LOG), todo="read the log; running it again resumes")


def _wait(process: subprocess.Popen[bytes], work: Path, told: Callable[[progress.Progress], None]) -> int:
    last: progress.Progress | None = None
    while True:
        try:
            return process.wait(timeout=1.0)
        except subprocess.TimeoutExpired:
            now = progress.read(work)
            if now is not None and now != last and now.at > time.time() - 60:
                told(now)
                last = now


@contextmanager
def _passing_sigterm_on(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """The training saves and stops before this process does. It is asked once: asking again must not cut its last words short."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked: list[int] = []

    def pass_on(number: int, _: object) -> None:
        if not asked:
            process.terminate()
        asked.append(number)

    before = signal.signal(signal.SIGTERM, pass_on)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN if asked else before)


def main() -> int:
    """Entry of the process, of torchrun's agent and of its ranks.

    Exit codes: 0 done, 1 failed, 2 bad input, 3 already running, 4 stalled, 75 stopped on request with a checkpoint saved.
    """
    parser = argparse.ArgumentParser(prog="python -m pipelines.training.worker", description=__doc__)
    parser.add_argument("--job", type=Path, required=True, help="job.json")
    path = parser.parse_args().job
    die_with_parent()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s", stream=sys.stderr)
    job = Job.model_validate(json.loads(path.read_text(encoding="utf-8")))
    try:
        if job.recipe.distributed and "RANK" not in os.environ:
            watch.clear(job.work)
            deepspeed.launch(path, job.recipe, job.work, job.threads)
        else:
            run(job)
    except RatchetError as error:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # who stops a job may ask again and again; what is said now must be said
        log.error("%s", error)
        if isinstance(error, Conflict):
            return watch.BUSY
        watch.leave(job.work, error)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
