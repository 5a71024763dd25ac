"""`python -m pipelines.compute.inside JOB_FOLDER ARGV...`: a job's first process on its first node, whatever scheduler started it there.

It ends with 0 when it leaves a result, also a failed step's: how the step ended is the result's word, not the scheduler's. Stopped by
SIGTERM (time limit, cancel, eviction, a lost peer) it leaves none, so that the job counts as lost, with the scheduler's reason, and
resumes.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from subprocess import Popen
from threading import Event
from typing import Any

from pipelines.compute import child, files, launch


def main(argv: list[str]) -> int:
    """Run the step unless its result is there already, or the job was told to end before it came here; pass SIGTERM on to it."""
    place, command = Path(argv[0]), argv[1:]
    if int(os.environ.get("JOB_COMPLETION_INDEX", "0")):  # a pod that is not the first of its Job
        return launch.follow(place, os.environ["RATCHET_SUBMISSION"])
    if (place / files.RESULT).exists():
        return 0
    if (place / files.STOP).exists():
        return child.STOPPED
    stopped = Event()
    step: list[Popen[bytes]] = []

    def stop(*_: Any) -> None:
        stopped.set()
        for started in step:
            started.terminate()

    signal.signal(signal.SIGTERM, stop)
    step.append(child.start(place, command))
    if stopped.is_set():  # while it was started
        step[0].terminate()
    code = step[0].wait()
    if code < 0:
        time.sleep(1)  # schedulers signal every process of a job: ours may come a moment after the step's
    if stopped.is_set() and code != 0:
        return child.STOPPED
    files.leave_result(place, code)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
