"""Locks between processes: one holder at a time, and none after a kill."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pipelines import locks

HOLDER = """\
import sys, time
from pathlib import Path
from pipelines import locks

with locks.alone(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.lock"


def test_another_process_keeps_us_out_until_it_is_killed(path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        assert locks.is_held(path)
        with locks.alone_now(path) as alone:
            assert not alone
        waited = threading.Thread(target=lambda: locks.alone(path).__enter__(), daemon=True)
        waited.start()
        waited.join(0.2)
        assert waited.is_alive(), "it waits"
        holder.send_signal(signal.SIGKILL)
    waited.join(10)
    assert not waited.is_alive()


def test_a_lock_is_free_again_after_an_error_and_nobody_else_may_read_its_file(path: Path) -> None:
    assert not locks.is_held(path), "there is no such file"
    with pytest.raises(ValueError, match="x"), locks.alone(path):
        assert locks.is_held(path)
        raise ValueError("x")
    assert not locks.is_held(path) and path.stat().st_mode & 0o077 == 0
    with locks.alone_now(path) as alone:
        assert alone


def test_a_link_is_not_followed(path: Path) -> None:
    path.symlink_to(path.with_name("elsewhere"))
    with pytest.raises(OSError, match=r"symbolic link|Too many"), locks.alone(path):
        pass
    assert not path.with_name("elsewhere").exists()
