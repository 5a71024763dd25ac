"""`python -m pipelines.compute.wrapper JOB_FOLDER LOCK_FD ARGV...`: runs one job and leaves its result. Started by `local.start` only."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from pipelines.compute import child, files


def main(argv: list[str]) -> int:
    """Run the child, pass SIGTERM on, and rename `result.json` into place while the inherited lock is still held."""
    place, _lock, command = Path(argv[0]), int(argv[1]), argv[2:]
    # Until the child runs, a stop is heard by being sent again: a wrapper that died of it would leave no result.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if os.fork():
        os._exit(0)  # the starter waits for this process only: the job itself belongs to nobody, and init reaps it
    os.setsid()
    (place / "pid").write_text(str(os.getpid()))
    step = child.start(place, command)
    signal.signal(signal.SIGTERM, lambda *_: step.terminate())
    files.leave_result(place, step.wait())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
