"""Windows over ten million records, a day's ingest, and a burst: `python -m tests.bench.bench_windows FOLDER [--json FILE]`.

1. `--records` (10,000,000) of `--days` (1) are put into the warehouse in hourly commits. Then, each in a process of its own with two
   threads: the windows of five minutes, a new one every minute, with every measure of the traffic log, by release (4) and by tenant (20),
   out of `history`. Seconds by the clock and of the processor, and the process's peak memory; `bare`: the same process without the windows.
2. `--lines` (1,000,000) as JSON lines in segments of 64 MB, which `rotate` puts into the warehouse.
3. The same lines taken in by `recent.Recent`, as a burst, and one look at a five-minute window afterwards.

FOLDER needs about 3 GB, which is given back. 0 leaves a part out.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pipelines.config import PROJECT, Settings, load_domain
from pipelines.monitor_config import Monitors
from pipelines.monitoring.measures import LOG
from pipelines.traffic import segments

DOMAIN = "regulatory"
BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
SEGMENT_BYTES = 64 * 1024 * 1024
ROWS = """
    SELECT TIMESTAMPTZ '{begin}' + to_microseconds(cast(i * {apart} AS BIGINT)) AS "at", md5(i::VARCHAR) AS request_id,
    md5((i // 3)::VARCHAR) AS conversation, 'regulatory/r' || (1 + (i * 7) % 4) AS release,
    'grounded_extraction/v' || (1 + (i * 7) % 2) AS prompt,
    'key' || (i % 97) AS "key", 'tenant' || (i % 20) AS tenant, '2026-03-01' AS as_of,
    CASE WHEN r < 0.1 THEN 'not_in_passage' WHEN r < 0.2 THEN 'no_passage' END AS reason,
    CASE WHEN r > 0.2 THEN '10' || (10 + i % 30) || '-' || (1 + i % 7) || '-a' END AS cited,
    CASE WHEN i % 11 = 0 THEN 'exact' END AS "cache", CASE WHEN i % 9 = 0 THEN 'small' ELSE 'own' END AS route,
    'base-0123456789ab' AS engine, '127.0.0.1:8001' AS instance, i % 97 = 0 AS canary,
    i % 50 = 0 AS shadow, r < 0.2 AS abstained, false AS stored,
    cast(CASE WHEN r < 0.005 THEN 500 WHEN r < 0.02 THEN 429 WHEN r < 0.03 THEN 403 ELSE 200 END AS BIGINT) AS status,
    cast(400 + i % 193 AS BIGINT) AS tokens_in, cast(20 + i % 23 AS BIGINT) AS tokens_out,
    round(exp(3 + 3 * s), 2) AS latency_ms, CASE WHEN i % 3 = 0 THEN round(exp(2 + 2 * s), 2) END AS first_ms,
    round(s, 4) AS confidence, round(-r, 4) AS min_logprob, cast(NULL AS DOUBLE) AS judged, round(s * 1.5, 6) AS top_score,
    ['10' || (10 + i % 30) || '-' || (1 + i % 7) || '-a', '1013-2-b', '1013-3-b', '1013-4', '1026-6'] AS sources,
    CASE WHEN r < 0.01 THEN [{{'rule': 'injection', 'action': 'refuse', 'score': 0.9::DOUBLE, 'where': 'question'}}] ELSE [] END AS guards,
    'bench' AS segment, cast(TIMESTAMPTZ '{begin}' + to_microseconds(cast(i * {apart} AS BIGINT)) AS DATE) AS "day", NULL AS question_masked
    FROM (SELECT i, random() AS r, random() AS s FROM range({first}, {last}) AS t(i))
"""


def main() -> None:
    """Print the table; write JSON where it is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--records", type=int, default=10_000_000)
    parser.add_argument("--days", type=float, default=1.0)
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--child", choices=sorted(PARTS), help="what a process of its own measures")
    asked = parser.parse_args()
    if asked.child:
        sys.stdout.write(json.dumps(_measured(PARTS[asked.child], asked)))
        return
    asked.folder.mkdir(parents=True, exist_ok=True)
    rows = []
    print(f"{'what':<10}{'wall s':>9}{'CPU s':>9}{'peak MB':>9}  notes", flush=True)  # noqa: T201
    with tempfile.TemporaryDirectory(dir=asked.folder) as var:
        for fill, names, count in ((_fill, ("bare", "release", "tenant"), asked.records), (_write, ("burst", "ingest"), asked.lines)):
            if not count:
                continue
            fill(Settings(var=Path(var)), count, asked.days)
            for name in names:
                rows.append(row := _child(name, var, asked))
                notes = ", ".join(f"{one} {value}" for one, value in row.items() if one not in ("what", "wall", "cpu", "peak_mb"))
                print(f"{name:<10}{row['wall']:>9.2f}{row['cpu']:>9.2f}{row['peak_mb']:>9.0f}  {notes}", flush=True)  # noqa: T201
            shutil.rmtree(Path(var) / "warehouse", ignore_errors=True)
    if asked.json:
        asked.json.write_text(json.dumps(rows, indent=2), encoding="utf-8")


def _fill(settings: Settings, records: int, days: float) -> None:
    import duckdb

    from pipelines.corpus import traffic_table

    table = traffic_table.open_or_create(settings, DOMAIN, questions=True)
    connection, commits = duckdb.connect(), max(round(days * 24), 1)
    connection.execute("SET TimeZone = 'UTC'")
    for number in range(commits):
        first, last = records * number // commits, records * (number + 1) // commits
        query = ROWS.format(begin=BEGIN.isoformat(), apart=days * 86_400e6 / records, first=first, last=last)
        traffic_table.append(table, connection.sql(query).to_arrow_table(), {f"bench-{number}": ""})


def _write(settings: Settings, lines: int, _: float) -> None:
    """Segments of the hours that are over, as a gateway writes them."""
    import duckdb
    import orjson

    begin = datetime.now(UTC) - timedelta(hours=6)
    folder = segments.folder_of(settings, DOMAIN)
    folder.mkdir(parents=True)
    connection, number, file = duckdb.connect(), 0, None
    connection.execute("SET TimeZone = 'UTC'")
    for first in range(0, lines, 20_000):
        query = ROWS.format(begin=begin.isoformat(), apart=5 * 3600e6 / lines, first=first, last=min(first + 20_000, lines))
        for row in connection.sql(query).to_arrow_table().to_pylist():
            if file is None or file.tell() > SEGMENT_BYTES:
                if file is not None:
                    file.close()
                number += 1
                file = (folder / f"{begin:{segments.STAMP}}-1-bench-{number}.jsonl").open("wb")
            kept = {name: row[name] for name in row if name not in ("segment", "day")}
            file.write(orjson.dumps(kept | {"at": row["at"].isoformat(timespec="milliseconds")}) + b"\n")
    if file is not None:
        file.close()


def _child(name: str, var: str, asked: argparse.Namespace) -> dict[str, Any]:
    command = [
        sys.executable,
        "-m",
        "tests.bench.bench_windows",
        var,
        "--child",
        name,
        "--records",
        str(asked.records),
        "--days",
        str(asked.days),
    ]
    told = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    if told.returncode:
        raise SystemExit(told.stderr)
    found: dict[str, Any] = json.loads(told.stdout)
    return {"what": name, **found}


def _measured(part: Callable[[Settings, argparse.Namespace], dict[str, Any]], asked: argparse.Namespace) -> dict[str, Any]:
    settings = Settings(var=asked.folder)
    cpu, began = time.process_time(), time.perf_counter()
    more = part(settings, asked)
    wall = time.perf_counter() - began
    return {"wall": wall, "cpu": time.process_time() - cpu, "peak_mb": _peak_mb(), **more}


def _peak_mb() -> float:
    """Of this process alone: `ru_maxrss` of a child begins with what its parent held."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def _windows(by: Any, settings: Settings, asked: argparse.Namespace) -> dict[str, Any]:
    from pipelines.monitoring.history import history
    from pipelines.monitoring.windows import windows

    end = BEGIN + timedelta(days=asked.days)
    source = history(settings, DOMAIN, BEGIN, end)
    config = Monitors(cost_per_1000_tokens=0.1)
    found = windows(source, by, begin=BEGIN, end=end, seconds=300, every=60, config=config, measures=LOG)
    source.close()
    return {"windows": len(found), "counted_requests": sum(one.requests for one in found)}


def _bare(settings: Settings, asked: argparse.Namespace) -> dict[str, Any]:
    from pipelines.monitoring.history import history

    history(settings, DOMAIN, BEGIN, BEGIN + timedelta(days=asked.days)).close()
    return {}


def _ingest(settings: Settings, asked: argparse.Namespace) -> dict[str, Any]:
    from pipelines.steps.traffic import rotate

    told = rotate(settings, DOMAIN)
    return {name: told[name] for name in ("segments", "rows", "bad")}


def _burst(settings: Settings, asked: argparse.Namespace) -> dict[str, Any]:
    from pipelines.monitoring.recent import Recent

    now = datetime.now(UTC)
    recent = Recent(settings, load_domain(DOMAIN, settings))
    taken = recent.take_in(now)
    began = time.perf_counter()
    recent.latest("tenant", now - timedelta(hours=2), 300, LOG)
    took = time.perf_counter() - began
    recent.close()
    return {"taken": taken, "dropped": recent.dropped, "look_ms": round(took * 1000, 1)}


PARTS: dict[str, Callable[[Settings, argparse.Namespace], dict[str, Any]]] = {
    "bare": _bare,
    "release": lambda settings, asked: _windows("release", settings, asked),
    "tenant": lambda settings, asked: _windows("tenant", settings, asked),
    "ingest": _ingest,
    "burst": _burst,
}

if __name__ == "__main__":
    main()
