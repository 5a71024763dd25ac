"""What a span, a metric, a choice of instance and the HTTP limits cost: `python -m tests.bench.bench_telemetry [--json FILE]`."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from pipelines.config import Settings, TritonInstance
from pipelines.serving import telemetry
from pipelines.serving.fleet import Fleet
from pipelines.serving.metrics import FOLDER, Metrics


def microseconds(work: Callable[[], object], count: int = 50_000) -> float:
    """Of CPU for one call, exporting threads included: the best of twenty rounds, since whatever else runs only adds to it."""
    best = float("inf")
    for _ in range(20):
        began = time.process_time()
        for _ in range(count // 20):
            work()
        best = min(best, (time.process_time() - began) / (count // 20))
    return best * 1e6


def span() -> None:
    """One span with two attributes."""
    with telemetry.span("retrieve", passages=3, engine="llm_ab12"):
        pass


def measured() -> dict[str, float]:
    """Row -> microseconds."""
    settings = Settings()
    metrics = Metrics(settings)
    kind = "files of several workers" if FOLDER in os.environ else "one process"
    rows = {
        f"counter, {kind}": microseconds(lambda: metrics.count("ratchet_tokens", "law", "in", by=3)),
        f"histogram, {kind}": microseconds(lambda: metrics.observe("ratchet_stage_seconds", 0.01, "retrieve")),
        f"request (counter and histogram), {kind}": microseconds(lambda: metrics.request("law", "law/r1", 200, False, 0.01)),
    }
    if FOLDER in os.environ:
        return rows
    rows["span, off"] = microseconds(span)
    tritons = tuple(TritonInstance(http=f"t{number}:8000", grpc=f"t{number}:8001") for number in range(4))
    fleet = Fleet(settings.model_copy(update={"tritons": tritons}))
    rows["choice of one of 4 instances"] = microseconds(lambda: fleet.order("a conversation"))
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = "http://127.0.0.1:9"
    telemetry.start()
    telemetry._state.provider._active_span_processor._span_processors = (BatchSpanProcessor(InMemorySpanExporter()),)
    rows["span, on (batched)"] = microseconds(span, 5_000)
    return rows


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", type=Path)
    parser.add_argument("--inner", action="store_true")
    options = parser.parse_args()
    rows = measured()
    if options.inner:
        print(json.dumps(rows))  # noqa: T201
        return
    with tempfile.TemporaryDirectory() as folder:
        argv = [sys.executable, "-m", "tests.bench.bench_telemetry", "--inner"]
        done = subprocess.run(argv, env=os.environ | {FOLDER: folder}, capture_output=True, text=True, check=True)
        rows |= json.loads(done.stdout)
    for name, value in rows.items():
        print(f"{name:55s} {value:8.2f} us")  # noqa: T201
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
