"""What a training takes from its machine: processor, memory and, where NVML tells, GPU and energy, sampled beside it.

Covers the processes below the one that samples: on several nodes that of the first. NVML needs the package `nvidia-ml-py`; without it, or
without a GPU, those figures are absent, not zero.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

NAME = "usage.jsonl"
SECONDS = 5.0
"""Between two samples."""

Sample = dict[str, float]
"""began (of its try), at (both Unix seconds), cpu_percent (100 is one core), memory_mb, and of all GPUs together gpu_percent (mean),
gpu_memory_mb, energy_j (since the try began)."""


@contextmanager
def sampled(work: Path, seconds: float = SECONDS) -> Iterator[None]:
    """Append samples to `work`/usage.jsonl while the body runs: one at the start, one at the end, one every `seconds` between."""
    stop = threading.Event()
    thread = threading.Thread(target=_sample, args=(work / NAME, seconds, stop), name="usage", daemon=True)
    work.mkdir(parents=True, exist_ok=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def read(folder: Path) -> list[Sample]:
    """The samples of a folder, oldest first; a last line torn by a crash is left out."""
    path = folder / NAME
    found: list[Sample] = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        with suppress(json.JSONDecodeError):
            found.append(json.loads(line))
    return found


def energy_kwh(samples: list[Sample]) -> float | None:
    """Energy of all tries, each from its start to its last sample. None where NVML told nothing."""
    tries = {one["began"]: one["energy_j"] for one in samples if "energy_j" in one}
    return sum(tries.values()) / 3.6e6 if tries else None


def _sample(path: Path, seconds: float, stop: threading.Event) -> None:
    import psutil

    me, began = psutil.Process(), round(time.time(), 3)
    known: dict[int, psutil.Process] = {}
    with _gpus() as gpus, path.open("a", encoding="utf-8") as lines:
        first = gpus.energy()
        last = False
        while True:
            sample: Sample = {"began": began, "at": round(time.time(), 3), "cpu_percent": 0.0, "memory_mb": 0.0}
            for child in me.children(recursive=True):
                # Its own object each time would always tell 0 %: the figure is since the call before.
                process = known.setdefault(child.pid, child)
                with suppress(psutil.Error), process.oneshot():
                    sample["cpu_percent"] += process.cpu_percent()
                    sample["memory_mb"] += process.memory_info().rss / 2**20
            sample |= gpus.now()
            if first is not None and (spent := gpus.energy()) is not None:
                sample["energy_j"] = spent - first
            lines.write(json.dumps({name: round(value, 3) for name, value in sample.items()}) + "\n")
            lines.flush()
            if last:
                return
            last = stop.wait(seconds)


class _Gpus:
    """Every GPU that NVML shows; none where there is no NVML."""

    def __init__(self, nvml: Any, handles: list[Any]) -> None:
        self.nvml, self.handles = nvml, handles

    def energy(self) -> float | None:
        """Joules since the driver was loaded; None where a GPU is older than Volta."""
        if not self.handles:
            return None
        try:
            return float(sum(self.nvml.nvmlDeviceGetTotalEnergyConsumption(one) for one in self.handles)) / 1000
        except self.nvml.NVMLError:
            return None

    def now(self) -> Sample:
        """Load and memory."""
        if not self.handles:
            return {}
        with suppress(self.nvml.NVMLError):
            load = [self.nvml.nvmlDeviceGetUtilizationRates(one).gpu for one in self.handles]
            memory = [self.nvml.nvmlDeviceGetMemoryInfo(one).used for one in self.handles]
            return {"gpu_percent": sum(load) / len(load), "gpu_memory_mb": sum(memory) / 2**20}
        return {}


@contextmanager
def _gpus() -> Iterator[_Gpus]:
    try:
        import pynvml  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        yield _Gpus(None, [])
        return
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        yield _Gpus(None, [])
        return
    try:
        yield _Gpus(pynvml, [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())])
    finally:
        pynvml.nvmlShutdown()
