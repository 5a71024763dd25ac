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


def start(place: Path, command: list[str]) -> subprocess.Popen[bytes]:
    """`python COMMAND`, told by RATCHET_JOB where to leave its output; killed when its parent is."""
    files.clean(place)
    env = {**os.environ, "RATCHET_JOB": str(place)}
    path = env.pop("RATCHET_LOG", None)  # where no scheduler writes the output down
    with Path(path).open("ab") if path else nullcontext() as log:
        return subprocess.Popen([sys.executable, *command], env=env, stdout=log, stderr=log, preexec_fn=die_with_parent)


def die_with_parent() -> None:
    """For `preexec_fn`. A killed parent frees the job; its child must not run on beside the retry."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
