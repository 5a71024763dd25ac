"""`python -m pipelines.compute.wrapper JOB_FOLDER LOCK_FD ARGV...`: runs one job and leaves its result. Started by `local.start` only."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any


def main(argv: list[str]) -> int:
    """Run the child, pass SIGTERM on, and rename `result.json` into place while the inherited lock is still held."""
    place, _lock, command = Path(argv[0]), int(argv[1]), argv[2:]
    # Until the child runs, a stop is heard by being sent again: a wrapper that died of it would leave no result.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if os.fork():
        os._exit(0)  # the starter waits for this process only: the job itself belongs to nobody, and init reaps it
    os.setsid()
    (place / "pid").write_text(str(os.getpid()))
    for name in ("output.json", "error.txt"):
        (place / name).unlink(missing_ok=True)
    child = subprocess.Popen(
        [sys.executable, *command],
        env={**os.environ, "RATCHET_JOB": str(place)},
        preexec_fn=_die_with_parent,
    )
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    code = child.wait()
    written: dict[str, Any] = {"rc": code, "output": _json(place / "output.json"), "error": _text(place / "error.txt")}
    if code != 0 and not written["error"]:
        written["error"] = f"the step's process ended by signal {-code}" if code < 0 else f"the step's process ended with {code}"
    temporary = place / "result.json.tmp"
    temporary.write_text(json.dumps(written), encoding="utf-8")
    temporary.rename(place / "result.json")
    return 0


def _die_with_parent() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # A killed wrapper frees the lock; its child must not run on beside the retry.
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def _text(path: Path) -> str | None:
    return path.read_text(encoding="utf-8").strip() if path.exists() else None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
