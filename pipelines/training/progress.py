"""How far a training is: `progress.json` in its work folder, for the command line and the Airflow task to show."""

from __future__ import annotations

import resource
import time
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from pipelines.writing import write_json

FILE = "progress.json"


class Progress(BaseModel):
    """`loss` of the last step, `tokens_per_second` over all ranks (padding counted), `eta_seconds` from the pace since the start."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    step: int
    steps: int
    loss: float
    tokens_per_second: float
    eta_seconds: float
    peak_mb: float
    at: float
    """Unix seconds."""

    def figures(self) -> str:
        """`loss 0.412, 9,100 tokens/s, 1,820 MB, about 4 min left`."""
        left = f"about {duration(self.eta_seconds)} left"
        return f"loss {self.loss:.3f}, {self.tokens_per_second:,.0f} tokens/s, {self.peak_mb:,.0f} MB, {left}"

    def __str__(self) -> str:
        return f"step {self.step} of {self.steps}: {self.figures()}"


class Meter:
    """Writes the file at most every `seconds`, and at the last step."""

    def __init__(self, work: Path, steps: int, first: int, seconds: float = 2.0) -> None:
        self.path, self.steps, self.first, self.seconds = work / FILE, steps, first, seconds
        self.began = time.monotonic()
        self.written = -seconds

    def tell(self, step: int, loss: float, tokens_per_second: float) -> Progress:
        """`step` steps are done."""
        now = time.monotonic() - self.began
        pace = now / max(1, step - self.first)
        told = Progress(
            step=step,
            steps=self.steps,
            loss=round(loss, 6),
            tokens_per_second=round(tokens_per_second),
            eta_seconds=round(pace * (self.steps - step), 1),
            peak_mb=peak_mb(),
            at=round(time.time(), 3),
        )
        if now - self.written >= self.seconds or step == self.steps:
            write_json(self.path, told.model_dump(mode="json"))
            self.written = now
        return told


def read(work: Path) -> Progress | None:
    """What was last written, or None where nothing was, or by another version."""
    try:
        return Progress.model_validate_json((work / FILE).read_bytes())
    except (OSError, ValidationError):
        return None


def progress_line(work: Path) -> str:
    """The same in words; empty while there is nothing to tell."""
    return "" if (found := read(work)) is None else str(found)


def duration(seconds: float) -> str:
    """`40 s`, `12 min`, `3 h 5 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def peak_mb() -> float:
    """Peak memory of this process in MB: of the GPU where there is one, else resident."""
    import torch

    if torch.cuda.is_available():
        return round(float(torch.cuda.max_memory_allocated()) / 2**20, 1)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)
