"""Run by `test_hand_runs.py` in a process of its own: the DAGs that a person starts through `dag.test()`, on real steps."""

from __future__ import annotations

import hashlib
import json
import sys
import warnings
from pathlib import Path
from typing import Any

warnings.simplefilter("ignore")
NAME = "Annabel Quistgaard"


def run(dag: Any, **conf: Any) -> dict[str, Any]:
    """States of the run and its tasks, and what each task answered."""
    done = dag.test(run_conf=conf)
    tasks = done.get_task_instances()
    return {"state": str(done.state), "tasks": {ti.task_id: (str(ti.state), ti.xcom_pull(task_ids=ti.task_id)) for ti in tasks}}


def release(settings: Any, number: int) -> str:
    """A live release with an adapter and an index made from the first version: this test trains and serves nothing."""
    from live import make_live

    from pipelines.registry import artifacts, candidates

    made = {}
    for kind in ("adapter", "index"):
        step_hash = hashlib.sha256(f"{kind}{number}".encode()).hexdigest()
        artifacts.make(settings, kind, step_hash, lambda out: (out / "x").write_text("x"))
        made[kind] = artifacts.enter(settings, kind, "clinical", step_hash, {"version": "MedNotes_v1.0"})
    name = candidates.assemble(
        settings, domain="clinical", version_id="MedNotes_v1.0", base="b", base_sha256="0", adapter_id=made["adapter"],
        index_id=made["index"], prompt="p/v1", prompt_sha256="0", policy={}, step_hash=f"{number:064x}",
    )  # fmt: skip
    make_live(settings, name)
    return name


def main() -> None:
    folder, out = Path(sys.argv[1]), Path(sys.argv[2])
    from airflow.dag_processing.dagbag import DagBag
    from sqlalchemy import select

    from pipelines.config import PROJECT, load_settings
    from pipelines.intake import landing
    from pipelines.registry import pointer, views
    from pipelines.state.database import reading
    from pipelines.state.models import DatasetVersion
    from pipelines.steps import ingest, publish

    settings = load_settings()
    row = {"note_id": "a", "title": "Visit", "text": "The duration of the cough is 3 days.", "patient": NAME}
    (folder / "n.jsonl").write_text(json.dumps(row), encoding="utf-8")
    landing.deliver(settings, "clinical", [folder / "n.jsonl"], uploader="steward", source="test", effective="2024-01-01")
    arrivals = ingest.claim(settings, "clinical", "clinical.ingest", "run")
    ingest.prepare(settings, "clinical", arrivals[0])
    publish.publish(settings, "clinical", arrivals)
    publish.newly_published(settings, "clinical", "clinical.ingest", "run")
    for number in (1, 2):
        release(settings, number)

    bags = {name: DagBag(str(PROJECT / "dags" / f"{name}.py")) for name in ("rollback", "erase")}
    rollback, erase = (bag.dags[name] for name, bag in bags.items())
    for dag in (rollback, erase):
        for task in dag.tasks:
            task.retries = 0
    found: dict[str, Any] = {"errors": {path: text for bag in bags.values() for path, text in bag.import_errors.items()}}
    found["rollback"] = run(rollback, domain="clinical", reason="wrong doses")
    found["live"] = pointer.current(settings, "clinical").live_id  # type: ignore[union-attr]
    found["nothing before"] = run(rollback, domain="clinical", reason="and once more")

    requests = settings.requests
    requests.mkdir(mode=0o700)
    body = json.dumps({"domain": "clinical", "subject": {"patient": NAME}, "reason": "Art. 17", "requester": "case 12"})
    digest = hashlib.sha256(body.encode()).hexdigest()
    (requests / "case-12.json").write_text(body, encoding="utf-8")
    (requests / "case-12.json.sha256").write_text(f"{digest}  case-12.json\n", encoding="utf-8")
    found["unknown"] = run(erase, request="0" * 12)
    found["erased"] = run(erase, request=digest[:12])
    with reading(settings) as session:
        found["announced"] = [row.id for row in session.scalars(select(DatasetVersion)) if row.announced_at is not None]
    (requests / "case-12.json").unlink()  # it holds the name; its checksum may stay
    found["again"] = run(erase, request=digest[:12])
    found["events"] = views.audit_events(settings, None, 100)
    out.write_text(json.dumps(found, default=str), encoding="utf-8")


if __name__ == "__main__":
    main()
