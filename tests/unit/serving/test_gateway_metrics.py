"""The gateway's metrics: in one process, summed over several, and bounded whatever the labels are."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pipelines.config import PROJECT, Settings
from pipelines.serving import metrics
from pipelines.serving.metrics import FAMILIES, FOLDER, Metrics


def values(text: bytes) -> dict[str, float]:
    """`name{labels}` -> value, without histogram buckets."""
    found = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            if not sample.name.endswith(("_bucket", "_created")):
                labels = ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items()))
                found[f"{sample.name}{{{labels}}}"] = sample.value
    return found


def test_every_family_takes_values_and_is_shown(settings: Settings) -> None:
    made = Metrics(settings)
    for name, family in FAMILIES.items():
        labels = ["x"] * len(family.labels)
        if family.kind == "counter":
            made.count(name, *labels, by=2)
        elif family.kind == "histogram":
            made.observe(name, 0.25, *labels)
        else:
            made.set(name, 2, *labels)
    found = values(made.render())
    for name, family in FAMILIES.items():
        labels = "{" + ",".join(f"{label}=x" for label in sorted(family.labels)) + "}"
        shown = {"counter": f"{name}_total", "histogram": f"{name}_sum", "gauge": name}[family.kind] + labels
        assert found[shown] == {"counter": 2, "histogram": 0.25, "gauge": 2}[family.kind], shown
    assert "process_cpu_seconds_total{}" in found


def test_a_request_and_the_pointers_age(settings: Settings) -> None:
    made = Metrics(settings)
    assert values(made.render())["ratchet_pointer_age_seconds{}"] == float("inf"), "never read is infinitely old"
    made.request("law", "law/r1", 200, False, 0.01)
    made.pointers_read()
    made.connection_refused("head_too_slow")
    found = values(made.render())
    assert found["ratchet_requests_total{canary=false,domain=law,release=law/r1,status=200}"] == 1
    assert found["ratchet_request_seconds_count{domain=law}"] == 1
    assert found["ratchet_connections_refused_total{reason=head_too_slow}"] == 1
    assert 0 <= found["ratchet_pointer_age_seconds{}"] < 60


def test_labels_without_end_are_counted_as_other(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "MOST", 10)
    made = Metrics(settings)
    for number in range(1000):
        made.count("ratchet_abstained", "law", f"reason {number}")
    found = {name: value for name, value in values(made.render()).items() if name.startswith("ratchet_abstained")}
    assert len(found) == 11 and sum(found.values()) == 1000
    assert found["ratchet_abstained_total{domain=other,reason=other}"] == 990


def test_a_family_nobody_declared_is_an_error(settings: Settings) -> None:
    with pytest.raises(KeyError):
        Metrics(settings).count("ratchet_misspelt")


WORKER = """
import sys
from pathlib import Path
from pipelines.config import Settings
from pipelines.serving.metrics import Metrics
made = Metrics(Settings(var=Path(sys.argv[1]), gateway_workers=2))
for _ in range(int(sys.argv[2])):
    made.request("law", "law/r1", 200, False, 0.01)
made.set("ratchet_instance_up", float(sys.argv[3]), "a")
made.set("ratchet_traffic_backlog", 3)
made.pointers_read()
print("ready", flush=True)
sys.stdin.readline()
if sys.argv[4] == "ends":
    made.close()
sys.stdout.write(made.render().decode())
"""


def test_several_workers_are_summed_also_after_one_was_killed(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = settings.model_copy(update={"gateway_workers": 2})
    folder = shared.var / "run" / f"metrics-{shared.ports.gateway}"
    folder.mkdir(parents=True)
    (folder / "counter_1.db").write_bytes(b"of an earlier run")
    monkeypatch.setenv(FOLDER, "elsewhere")
    metrics.share(shared)
    assert os.environ[FOLDER] == str(folder) and not list(folder.iterdir())

    def worker(requests: int, up: int, how: str) -> subprocess.Popen[str]:
        argv = [sys.executable, "-c", WORKER, str(shared.var), str(requests), str(up), how]
        made = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=PROJECT)
        assert made.stdout is not None and made.stdout.readline() == "ready\n"
        return made

    first, second, third = worker(5, 1, "stays"), worker(7, 0, "ends"), worker(1, 1, "is killed")
    third.kill()
    third.communicate()
    during, _ = first.communicate("\n")
    found = values(during.encode())
    assert found["ratchet_requests_total{canary=false,domain=law,release=law/r1,status=200}"] == 13, "what was counted stays counted"
    assert found["ratchet_request_seconds_count{domain=law}"] == 13
    assert found["ratchet_instance_up{instance=a}"] == 0, "one worker of two does not use it"
    assert (found["ratchet_workers{}"], found["ratchet_traffic_backlog{}"]) == (2, 6), "the killed one's gauges are gone"
    assert 0 <= found["ratchet_pointer_age_seconds{}"] < 60
    after, _ = second.communicate("\n")
    found = values(after.encode())
    assert found["ratchet_requests_total{canary=false,domain=law,release=law/r1,status=200}"] == 13
    assert "ratchet_workers{}" not in found, "both have ended"


def test_one_worker_keeps_no_files(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER, "elsewhere")
    metrics.share(settings)
    assert FOLDER not in os.environ and not Path("elsewhere").exists()
