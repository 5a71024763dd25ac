"""The process of a step below the one that answers for its job."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

from pipelines.compute import files

STOPPED = 128 + signal.SIGTERM
"""Exit code of a job's process that was told to end and leaves no result."""


def start(place: Path, command: list[str]) -> subprocess.Popen[bytes]:
    """`python COMMAND`, told by RATCHET_JOB where to leave its output; killed when its parent is."""
    files.clean(place)
    env = {**os.environ, "RATCHET_JOB": str(place)}
    path = env.pop("RATCHET_LOG", None)  # where no scheduler writes the output down
    with Path(path).open("ab") if path else nullcontext() as log:
        return subprocess.Popen([sys.executable, *command], env=env, stdout=log, stderr=log, preexec_fn=die_with_parent)


def die_with_parent(number: signal.Signals = signal.SIGKILL) -> None:
    """This process gets `number` when its parent dies: a killed parent frees its job, and what it started must not run on beside the retry.

    Fit for `preexec_fn`. SIGTERM, which the parent may ignore, is heard again.
    """
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, number)
