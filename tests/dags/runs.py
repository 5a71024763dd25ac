"""Run by `test_runs.py` in a process of its own: the DAGs of the regulatory domain through `dag.test()`, on real steps."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

warnings.simplefilter("ignore")


def run(bag: Any, dag_id: str) -> dict[str, Any]:
    """One run; its state and the states of its tasks."""
    from airflow.sdk.exceptions import AirflowException

    try:
        done = bag.dags[dag_id].test()
    except AirflowException as error:
        return {"state": "raised", "error": str(error)}
    return {"state": str(done.state), "tasks": {ti.task_id: str(ti.state) for ti in done.get_task_instances()}}


def main() -> None:
    samples, out = Path(sys.argv[1]), Path(sys.argv[2])
    from airflow.dag_processing.dagbag import DagBag
    from live import make_live

    from pipelines.config import PROJECT, load_settings
    from pipelines.intake import landing
    from pipelines.registry import views
    from pipelines.samples.write import break_seal

    settings = load_settings()
    bag = DagBag(str(PROJECT / "dags"))
    found: dict[str, Any] = {"errors": dict(bag.import_errors)}

    def deliver(name: str, effective: str) -> Path:
        files = sorted((samples / "regulatory" / name).iterdir())
        return landing.deliver(settings, "regulatory", files, uploader="steward", source="test", effective=effective)

    found["nothing to do"] = run(bag, "regulatory.ingest")
    deliver("01-base", "2014-01-01")
    found["accepted"] = run(bag, "regulatory.ingest")
    found["adapter"] = run(bag, "regulatory.finetune")
    make_live(settings, "regulatory/r1")
    deliver("02-amendment", "2014-07-01")
    break_seal(deliver("03-broken", "2014-08-01"))
    found["one refused"] = run(bag, "regulatory.ingest")
    found["index"] = run(bag, "regulatory.finetune")
    found["candidates"] = views.candidates(settings, "regulatory")
    found["plans"] = views.plans(settings, "regulatory")
    found["arrivals"] = views.arrivals(settings, "regulatory")
    out.write_text(json.dumps(found, default=str), encoding="utf-8")


if __name__ == "__main__":
    main()
