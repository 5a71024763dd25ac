"""Run by `test_collect_runs.py` in a process of its own: the collect DAG through `dag.test()`, on a real folder."""

from __future__ import annotations

import json
import os
import sys
import warnings
from pathlib import Path
from typing import Any

warnings.simplefilter("ignore")


def run(dag: Any) -> dict[str, Any]:
    """States of the run and its tasks, and what each task answered."""
    done = dag.test()
    tasks = {ti.task_id: (str(ti.state), ti.xcom_pull(task_ids=ti.task_id)) for ti in done.get_task_instances()}
    return {"state": str(done.state), "tasks": tasks}


def put(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    os.utime(path, (1_700_000_000, 1_700_000_000))


def main() -> None:
    inbox, out = Path(sys.argv[1]), Path(sys.argv[2])
    from airflow.dag_processing.dagbag import DagBag

    from pipelines.config import PROJECT, load_settings
    from pipelines.intake import landing

    settings = load_settings()
    bag = DagBag(str(PROJECT / "dags" / "collect.py"))
    dag = bag.dags["law.collect"]
    for task in dag.tasks:
        task.retries = 0  # the source stays away: waiting for it is Airflow's affair
    put(inbox / "a.jsonl", '{"id": "1", "text": "one"}\n')
    found: dict[str, Any] = {"errors": dict(bag.import_errors), "first": run(dag), "again": run(dag)}
    put(inbox / "empty.jsonl", "")
    put(inbox / "b.jsonl", '{"id": "2", "text": "two"}\n')
    found["skipped"] = run(dag)
    found["sealed"] = [landing.verify(folder).uploader for folder in landing.sealed(settings, "law")]
    Path(out).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
