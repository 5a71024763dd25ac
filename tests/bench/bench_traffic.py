"""What the traffic log costs a request: `python -m tests.bench.bench_traffic FOLDER [--json FILE] [--requests 2000]`.

For each concurrency, with and without the flush to disk: the time from handing a record over until it is acknowledged (p50, p99, in ms),
records a second, and the processor's time a record of the whole process, all threads (ms). So many tasks hand over one record after the
other. Beside it, in the same run: a bare write, and a bare write with fdatasync, one at a time, which is what the disk alone costs.
FOLDER lies on the disk that is to be measured.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import shutil
import time
from pathlib import Path
from typing import Any

from pipelines.config import Settings
from pipelines.traffic.log import TrafficLog

CONCURRENCY = (1, 8, 64)
RECORD: dict[str, Any] = {
    "conversation": "c" * 32, "release": "regulatory/r12", "canary": False, "shadow": False, "status": 200, "key": "reader",
    "tenant": "north", "as_of": "2015-06-01", "latency_ms": 41.25, "first_ms": 12.5,
    "tokens_in": 412, "tokens_out": 18, "confidence": 0.9312,
    "min_logprob": -0.412, "abstained": False, "reason": None, "sources": ["9013-1-a"] * 5, "cited": "9013-2-a",
    "guards": [], "cache": None, "route": "own", "engine": "base-0123456789ab", "instance": "127.0.0.1:8001",
    "question_masked": "What is the exemption threshold for consumer leases in 2014?",
}  # fmt: skip


def main() -> None:
    """Print the table; write JSON where it is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--requests", type=int, default=2000, help="per measurement")
    asked = parser.parse_args()
    import uvloop

    rows = [bare(asked.folder, asked.requests, durable=durable) for durable in (False, True)]
    for durable in (False, True):
        for concurrency in CONCURRENCY:
            rows.append(uvloop.run(logged(asked.folder, asked.requests, concurrency, durable=durable)))
    print(f"{'what':<12}{'flush':>8}{'at once':>9}{'p50 ms':>9}{'p99 ms':>9}{'a second':>10}{'CPU-ms':>9}")  # noqa: T201
    for row in rows:
        flush = "yes" if row["durable"] else "no"
        print(  # noqa: T201
            f"{row['what']:<12}{flush:>8}{row['concurrency']:>9}{row['p50']:>9.3f}{row['p99']:>9.3f}{row['per_second']:>10.0f}{row['cpu']:>9.4f}"
        )
    if asked.json:
        asked.json.write_text(json.dumps(rows, indent=2), encoding="utf-8")


def bare(folder: Path, requests: int, *, durable: bool) -> dict[str, Any]:
    """The disk alone."""
    import orjson

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"bare-{secrets.token_hex(4)}"
    line = orjson.dumps(RECORD | {"request_id": "0" * 32}) + b"\n"
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    took, cpu, began = [], time.process_time(), time.perf_counter()
    for _ in range(requests):
        at = time.perf_counter()
        os.write(handle, line)
        if durable:
            os.fdatasync(handle)
        took.append(time.perf_counter() - at)
    row = _row("bare write", durable, 1, took, time.perf_counter() - began, time.process_time() - cpu)
    os.close(handle)
    path.unlink()
    return row


async def logged(folder: Path, requests: int, concurrency: int, *, durable: bool) -> dict[str, Any]:
    """Through the log."""
    var = folder / f"log-{secrets.token_hex(4)}"
    log = TrafficLog(Settings(var=var), durable=durable)
    took: list[float] = []

    async def ask(count: int) -> None:
        for number in range(count):
            at = time.perf_counter()
            await log.write("regulatory", RECORD | {"request_id": f"{number:032x}"})
            took.append(time.perf_counter() - at)

    await log.write("regulatory", RECORD | {"request_id": "first"})
    cpu, began = time.process_time(), time.perf_counter()
    await asyncio.gather(*(ask(requests // concurrency) for _ in range(concurrency)))
    row = _row("traffic log", durable, concurrency, took, time.perf_counter() - began, time.process_time() - cpu)
    await asyncio.to_thread(log.close)
    shutil.rmtree(var)
    return row


def _row(what: str, durable: bool, concurrency: int, took: list[float], wall: float, cpu: float) -> dict[str, Any]:
    took.sort()
    return {
        "what": what,
        "durable": durable,
        "concurrency": concurrency,
        "p50": took[len(took) // 2] * 1000,
        "p99": took[len(took) * 99 // 100] * 1000,
        "per_second": len(took) / wall,
        "cpu": cpu / len(took) * 1000,
    }


if __name__ == "__main__":
    main()
