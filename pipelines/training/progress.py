"""How far a training is: `progress.json` in its work folder, for the command line and the Airflow task to show."""

from __future__ import annotations

import resource
import time
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from pipelines.training.training_set import write_json

FILE = "progress.json"


class Progress(BaseModel):
    """`loss` of the last step, `tokens_per_second` over all ranks (padding counted), `eta_seconds` from the pace since the start."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    step: int
    steps: int
    loss: float
    tokens_per_second: float
    eta_seconds: float
    peak_mb: float
    at: float

    def __str__(self) -> str:
        minutes, seconds = divmod(round(self.eta_seconds), 60)
        return (
            f"step {self.step} of {self.steps}: loss {self.loss:.4f}, {self.tokens_per_second:,.0f} tokens/s, "
            f"{minutes}:{seconds:02d} left, peak {self.peak_mb:,.0f} MB"
        )


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
    """What was last written, or None where nothing was."""
    try:
        return Progress.model_validate_json((work / FILE).read_bytes())
    except (OSError, ValidationError):
        return None


def peak_mb() -> float:
    """Peak memory of this process in MB: of the GPU where there is one, else resident."""
    import torch

    if torch.cuda.is_available():
        return round(float(torch.cuda.max_memory_allocated()) / 2**20, 1)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)
