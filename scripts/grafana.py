"""Writes docker/observe/grafana/ from pipelines/monitoring/grafana.py: `.venv/bin/python scripts/grafana.py`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
FOLDER = PROJECT / "docker" / "observe" / "grafana"
HEAD = "# Written by scripts/grafana.py: change pipelines/monitoring/grafana.py.\n"


def files() -> dict[str, str]:
    """Name -> content, as it should be."""
    import yaml

    from pipelines.monitoring import grafana

    made = {"ratchet.json": json.dumps(grafana.dashboard(), indent=1, ensure_ascii=False) + "\n"}
    return made | {name: HEAD + yaml.safe_dump(value, sort_keys=False) for name, value in grafana.provisioning().items()}


if __name__ == "__main__":
    sys.path.insert(0, str(PROJECT))
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, content in files().items():
        (FOLDER / name).write_text(content, encoding="utf-8")
