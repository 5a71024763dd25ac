"""How far a training is, as its worker tells it: `progress.json` in the training's work folder, replaced whole at every step."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NAME = "progress.json"


@dataclass(frozen=True, slots=True)
class Progress:
    """What the file says; None where the worker has not told it."""

    step: int
    steps: int
    loss: float | None = None
    tokens_per_second: float | None = None
    eta_seconds: float | None = None
    peak_mb: float | None = None


def read(folder: Path) -> Progress | None:
    """The newest progress, or None while there is none to read: not begun, or written by another version."""
    try:
        told: Any = json.loads((folder / NAME).read_text(encoding="utf-8"))
        step, steps = int(told["step"]), int(told["steps"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    names = ("loss", "tokens_per_second", "eta_seconds", "peak_mb")
    return Progress(step, steps, **{name: _number(told.get(name)) for name in names})


def progress_line(folder: Path) -> str:
    """`step 40 of 200 (20 %), loss 0.412, 9,100 tokens/s, 1,820 MB, about 4 min left`; empty while there is nothing to tell."""
    found = read(folder)
    if found is None:
        return ""
    share = f" ({found.step / found.steps:.0%})" if found.steps else ""
    told = [f"step {found.step} of {found.steps}{share}", *figures(found)]
    if found.eta_seconds is not None:
        told.append(f"about {duration(found.eta_seconds)} left")
    return ", ".join(told)


def figures(found: Progress) -> list[str]:
    """Loss, speed and memory in words, as far as they are known."""
    told = []
    if found.loss is not None:
        told.append(f"loss {found.loss:.3f}")
    if found.tokens_per_second is not None:
        told.append(f"{found.tokens_per_second:,.0f} tokens/s")
    if found.peak_mb is not None:
        told.append(f"{found.peak_mb:,.0f} MB")
    return told


def duration(seconds: float) -> str:
    """`40 s`, `12 min`, `3 h 5 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and value == value else None
