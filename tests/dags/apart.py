"""Runs a script against a fresh Airflow database, in a process of its own: Airflow reads its configuration once, at import."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from pipelines.config import PROJECT, Settings
from pipelines.site import users
from pipelines.site.airflow_env import airflow_env


def run_apart(settings: Settings, script: str, source: Path, out: Path) -> dict[str, Any]:
    """What `script`, a file beside this one, found: it is given `source` and writes JSON to `out`."""
    environ = users.clean_environ() | airflow_env(settings)
    environ["PYTHONPATH"] += f"{os.pathsep}{PROJECT / 'tests'}"
    for argv in (["-m", "airflow", "db", "migrate"], [str(Path(__file__).parent / script), str(source), str(out)]):
        done = subprocess.run([sys.executable, *argv], env=environ, cwd=PROJECT, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    value: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    assert value["errors"] == {}
    return value
