from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.training import usage


def test_the_processes_below_are_sampled_with_what_they_take(tmp_path: Path) -> None:
    busy = "import time\nblock = bytearray(60_000_000)\nend = time.monotonic() + 1.5\nwhile time.monotonic() < end: pass"
    with usage.sampled(tmp_path, seconds=0.4):
        subprocess.run([sys.executable, "-c", busy], check=True)
    samples = usage.read(tmp_path)
    assert len(samples) >= 3
    assert max(one["memory_mb"] for one in samples) > 50
    assert max(one["cpu_percent"] for one in samples) > 10
    assert len({one["began"] for one in samples}) == 1


def test_a_failed_body_ends_the_sampling_and_the_next_try_goes_on_in_the_same_file(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), usage.sampled(tmp_path):
        raise RuntimeError
    first = len(usage.read(tmp_path))
    assert first >= 1
    with usage.sampled(tmp_path):
        pass
    assert len({one["began"] for one in usage.read(tmp_path)}) == 2


def test_a_torn_line_is_left_out(tmp_path: Path) -> None:
    (tmp_path / usage.NAME).write_text('{"began": 1.0, "at": 2.0}\n{"began": 1.0, "a')
    assert usage.read(tmp_path) == [{"began": 1.0, "at": 2.0}]
    assert usage.read(tmp_path / "nowhere") == []


def test_energy_is_the_sum_over_the_tries_and_none_without_nvml() -> None:
    assert usage.energy_kwh([{"began": 1.0, "at": 1.0}]) is None
    tries = [{"began": 1.0, "energy_j": 1.0}, {"began": 1.0, "energy_j": 1.8e6}, {"began": 2.0, "energy_j": 3.6e6}]
    assert usage.energy_kwh(tries) == 1.5
