"""Requests that fail, and answers that mix two releases, over 10,000 requests while everything that can change does.

    python -m tests.bench.bench_releases [--requests 10000] [--json FILE]

Runs `tests/unit/serving/test_no_request_fails.py`, which says what happens meanwhile, with more requests than CI has time for.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from pipelines.config import PROJECT

TEST = "tests/unit/serving/test_no_request_fails.py"


def main() -> int:
    """Print what was seen; the test's exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        found = options.json or Path(scratch) / "found.json"
        env = os.environ | {"BENCH_REQUESTS": str(options.requests), "BENCH_JSON": str(found.resolve())}
        status = subprocess.run([sys.executable, "-m", "pytest", "-q", TEST], cwd=PROJECT, env=env).returncode
        if found.is_file():
            sys.stdout.write(found.read_text(encoding="utf-8") + "\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
