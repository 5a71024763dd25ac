"""Where the wall time of a site's runs went: `python -m tests.bench.bench_airflow_share VAR [OUT.json]` after `make demo`.

For each arrival that became a release, from its seal to the moment it was live, every instant falls into the first of these that fits:

step     a step's body works (its manifest says when it ended and how long it took)
start    a process of ours starts or imports: a task runs, or a step's process lives, and no body works
approve  the run waits for a person
airflow  nothing of ours runs: Airflow schedules, or hands a task to a process
"""

from __future__ import annotations

import json
import sqlite3
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from pipelines.config import load_settings
from pipelines.state.database import reading
from pipelines.state.models import Arrival, Candidate, DatasetVersion, ManifestRow, Tenure

Span = tuple[float, float]


def main(argv: list[str]) -> int:
    """Print the table; write JSON where a second argument says so."""
    var = Path(argv[0]).resolve()
    settings = load_settings({"RATCHET_VAR": str(var)})
    bodies, processes, tasks, waits = _bodies(settings), list(_processes(var)), *_tasks(var / "airflow" / "airflow.db")
    rows = []
    for release, domain, began, ended in _chains(settings):
        window = (began, ended)
        step = _clip(bodies.get(domain, []), window)
        ours = _clip([*bodies.get(domain, []), *processes, *tasks.get(domain, [])], window)
        asked = _clip([*ours, *waits.get(domain, [])], window)
        wall = ended - began
        parts = {"step": _sum(step), "start": _sum(ours) - _sum(step), "approve": _sum(asked) - _sum(ours), "airflow": wall - _sum(asked)}
        rows.append({"release": release, "wall_s": round(wall, 1), **{name: round(value / wall, 3) for name, value in parts.items()}})
    print(f"{'release':<18}{'wall s':>8}{'step':>8}{'start':>8}{'approve':>9}{'airflow':>9}")  # noqa: T201
    for row in rows:
        shares = (f"{row[name]:>8.1%}" for name in ("step", "start", "approve", "airflow"))
        print(f"{row['release']:<18}{row['wall_s']:>8}{''.join(shares)}")  # noqa: T201
    if len(argv) > 1:
        Path(argv[1]).write_text(json.dumps(rows, indent=2), encoding="utf-8")
    return 0


def _chains(settings):  # type: ignore[no-untyped-def]
    with reading(settings) as session:
        found = session.query(Tenure, Candidate, Arrival).filter(
            Tenure.candidate_id == Candidate.id, Candidate.version_id == DatasetVersion.id, DatasetVersion.arrival_id == Arrival.id
        )
        for tenure, candidate, arrival in sorted(found, key=lambda row: row[0].began_at):
            yield candidate.id, candidate.domain, _stamp(arrival.received_at), _stamp(tenure.began_at)


def _bodies(settings) -> dict[str, list[Span]]:  # type: ignore[no-untyped-def]
    spans: dict[str, list[Span]] = {}
    with reading(settings) as session:
        for row in session.query(ManifestRow):
            end = datetime.fromisoformat(row.body["finished_at"]).timestamp()
            spans.setdefault(row.domain, []).append((end - row.body["seconds"], end))
    return spans


def _processes(var: Path) -> Iterable[Span]:
    for started in (var / "jobs").rglob("started"):
        result = started.with_name("result.json")
        if result.exists():
            yield started.stat().st_mtime, result.stat().st_mtime


def _tasks(database: Path) -> tuple[dict[str, list[Span]], dict[str, list[Span]]]:
    """(running, waiting for a person) by domain. A task that defers is running at its start and at its end: see `_processes`."""
    running: dict[str, list[Span]] = {}
    waiting: dict[str, list[Span]] = {}
    with sqlite3.connect(database) as connection:
        rows = connection.execute("SELECT dag_id, task_id, operator, start_date, end_date FROM task_instance WHERE end_date IS NOT NULL")
        for dag_id, task_id, operator, start, end in rows:
            if start is None:
                continue
            target = waiting if task_id == "approve" else running
            if operator != "StepOperator":
                target.setdefault(dag_id.split(".")[0], []).append((_parse(start), _parse(end)))
    return running, waiting


def _parse(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def _stamp(moment: datetime) -> float:
    return moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()


def _clip(spans: Iterable[Span], window: Span) -> list[Span]:
    """The union of the spans inside the window."""
    merged: list[Span] = []
    for start, end in sorted((max(s, window[0]), min(e, window[1])) for s, e in spans):
        if end <= start:
            continue
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


def _sum(spans: Iterable[Span]) -> float:
    return sum(end - start for start, end in spans)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
