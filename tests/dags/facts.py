"""Run by `test_dags.py` in a process of its own: parses the DAG files twice, the second time with a broken domain, and prints facts."""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from pathlib import Path
from typing import Any

warnings.simplefilter("ignore")
HEAVY = ("torch", "transformers", "mlflow", "great_expectations", "lancedb", "pyiceberg", "presidio_analyzer", "ragas", "pandas")


def facts(folder: str) -> dict[str, Any]:
    from airflow.dag_processing.dagbag import DagBag

    began = time.process_time()
    bag = DagBag(folder)
    seconds = time.process_time() - began
    return {
        "seconds": seconds,
        "errors": {Path(path).name: text for path, text in bag.import_errors.items()},
        "heavy": [name for name in HEAVY if name in sys.modules],
        "dags": {
            dag_id: {
                "tags": sorted(dag.tags),
                "doc": dag.doc_md,
                "owner": dag.owner,
                "rights": {role: {k: sorted(v) for k, v in what.items()} for role, what in (dag.access_control or {}).items()},
                "stage": dag_id.rpartition(".")[2],
                "params": {name: param.schema for name, param in dag.params.items()},
                "schedule": type(dag.timetable).__name__,
                "ticks": [one.expression for one in getattr(dag.timetable, "timetables", [])],
                "max_active_runs": dag.max_active_runs,
                "leaves": sorted(task.task_id for task in dag.leaves),
                "tasks": {
                    task.task_id: {
                        "retries": task.retries,
                        "rule": str(getattr(task.trigger_rule, "value", task.trigger_rule)),
                        "upstream": sorted(task.upstream_task_ids),
                        "outlets": [type(outlet).__name__ for outlet in task.outlets],
                        "assigned": getattr(task, "assigned_users", None),
                    }
                    for task in dag.tasks
                },
            }
            for dag_id, dag in bag.dags.items()
        },
    }


def main() -> None:
    dags, good, broken, out = sys.argv[1:]
    found = {}
    for name, configs in (("good", good), ("broken", broken)):
        os.environ["RATCHET_CONFIGS"] = configs
        found[name] = facts(dags)
    Path(out).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
