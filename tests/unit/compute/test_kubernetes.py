"""Jobs on Kubernetes: objects as the API's schema wants them, one Job whatever dies, cancelled, explained, resumed. No real cluster."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import kubernetes_validate
import pytest
from kube_api import VERSION, Cluster, serving

from pipelines.compute import files, jobs, kubernetes
from pipelines.compute import kubernetes_manifest as manifest
from pipelines.compute_config import Kubernetes
from pipelines.config import PROJECT, Settings
from pipelines.errors import BadInput, Unavailable

ONE = Kubernetes(
    kind="kubernetes",
    image=f"registry.example/trainer@sha256:{'a' * 64}",
    claim="var",
    secret="env",
    python=sys.executable,
    project=str(PROJECT),
    network_interface="lo",
    poll_seconds=0.05,
    stop_seconds=5,
    kill_seconds=0.2,
    result_grace_seconds=0.3,
)
TWO = ONE.model_copy(update={"nodes": 2, "gpus_per_node": 4, "memory_gb_per_node": 32, "queue": "team-a", "node_selector": {"gpu": "a100"}})
ARGV = ["-c", "print('hello')"]


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    with serving(tmp_path) as (made, config):
        monkeypatch.setenv("KUBECONFIG", str(config))
        yield made


def only(cluster: Cluster) -> str:
    (name,) = cluster.jobs
    return name


def test_the_objects_are_what_the_api_takes_and_hold_no_secret(settings: Settings) -> None:
    secret = settings.model_copy(update={"database_url": "postgresql://u:hunter2@db/x"})
    name = kubernetes.object_name(secret, "law.finetune/manual__2026-01-01T00:00:00+00:00/train/-1/g1")
    assert name.startswith("ratchet-law-finetune-train-") and len(name) < 60
    for profile in (ONE, TWO):
        made = manifest.job(secret, name, "law.finetune/run/train", Path("/v/jobs/x"), Path("/v/jobs/x/configs"), ARGV, profile)
        for body in (made, manifest.service(profile)):
            kubernetes_validate.validate(body, VERSION, strict=True)
        assert "hunter2" not in json.dumps(made)
    spec, pod = made["spec"], made["spec"]["template"]["spec"]
    assert (spec["completionMode"], spec["completions"], spec["parallelism"], spec["backoffLimit"]) == ("Indexed", 2, 2, 0)
    assert spec["activeDeadlineSeconds"] == 24 * 3600
    assert pod["automountServiceAccountToken"] is False and pod["securityContext"]["runAsNonRoot"] is True
    container = pod["containers"][0]
    assert container["resources"]["limits"] == {"cpu": "4", "memory": "32768Mi", "nvidia.com/gpu": "4"}
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert pod["subdomain"] == manifest.service(TWO)["metadata"]["name"], "pods are named by the headless service"
    assert {"name": "RATCHET_HEAD", "value": f"{name}-0.{pod['subdomain']}"} in container["env"]


def test_a_second_start_a_lost_answer_and_a_race_make_one_job(settings: Settings, cluster: Cluster) -> None:
    cluster.drop_answers = 1
    jobs.start(settings, "job", ARGV, ONE)
    assert jobs.poll(settings, "job") == "queued"
    jobs.start(settings, "job", ARGV, ONE)
    assert cluster.log == ["POST Service", "POST Job"]
    # Another caller that looked before the first had submitted: the API server refuses its Job, which is as good.
    found, kubernetes.calls.read_job = kubernetes.calls.read_job, lambda *_: None
    try:
        kubernetes.start(settings, "job", ARGV, ONE)
    finally:
        kubernetes.calls.read_job = found
    assert len(cluster.jobs) == 1 and cluster.created == 2, "one service, one job"


def test_states_and_the_reason_of_a_wait_or_a_loss(settings: Settings, cluster: Cluster) -> None:
    assert jobs.poll(settings, "job") == "absent"
    jobs.start(settings, "job", ARGV, ONE)
    name = only(cluster)
    unschedulable = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "0/3 nodes: insufficient nvidia.com/gpu",
    }
    cluster.pods = [{"metadata": {}, "status": {"phase": "Pending", "conditions": [unschedulable]}}]
    assert jobs.poll(settings, "job") == "queued"
    assert "Unschedulable 0/3 nodes: insufficient nvidia.com/gpu, submitted 2026-11-27" in jobs.note(settings, "job")
    cluster.jobs[name]["status"] = {"active": 1, "ready": 1}
    assert jobs.poll(settings, "job") == "running"
    seen = {"name": "step", "image": "", "imageID": "", "ready": False, "restartCount": 0}
    killed = seen | {"state": {"terminated": {"reason": "OOMKilled", "exitCode": 137}}}
    cluster.pods = [{"metadata": {}, "status": {"phase": "Failed", "containerStatuses": [killed]}}]
    cluster.end(name, "Failed", "BackoffLimitExceeded", "reached the limit")
    assert jobs.poll(settings, "job") == "lost"
    assert "BackoffLimitExceeded: reached the limit; OOMKilled" in jobs.note(settings, "job")
    jobs.start(settings, "job", ARGV, ONE)
    assert cluster.jobs[name]["metadata"]["uid"] == "uid-3" and cluster.log[-2:] == ["POST Service", "POST Job"]
    assert "DELETE Foreground" in cluster.log, "the failed one makes room for its successor"


def test_a_result_that_the_file_system_shows_late_is_waited_for(settings: Settings, cluster: Cluster) -> None:
    jobs.start(settings, "job", ARGV, ONE)
    cluster.end(only(cluster), "Complete", "CompletionsReached")
    assert jobs.poll(settings, "job") == "running"
    files.leave_result(files.folder(settings, "job"), 0)
    assert jobs.poll(settings, "job") == "done"
    cluster.jobs.clear()
    assert jobs.poll(settings, "job") == "done", "after Kubernetes has forgotten the Job"
    (files.folder(settings, "job") / "result.json").unlink()
    assert jobs.poll(settings, "job") == "lost"


def test_stop_deletes_and_waits_until_it_is_gone(settings: Settings, cluster: Cluster) -> None:
    jobs.start(settings, "job", ARGV, ONE)
    cluster.reads_until_gone = 3
    jobs.stop(settings, "job")
    assert cluster.jobs == {} and cluster.log[-1] == "DELETE Foreground"
    jobs.start(settings, "job", ARGV, ONE)
    cluster.reads_until_gone = 10_000
    with pytest.raises(Unavailable, match="does not go away"):
        kubernetes.stop(settings, "job", ONE.model_copy(update={"stop_seconds": 0.2}))


def test_a_refusal_is_bad_input_and_silence_is_not_a_lost_job(
    settings: Settings, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs.start(settings, "job", ARGV, ONE)
    for cluster.refuse_reads in (401, 403, 500):
        with pytest.raises(Unavailable, match=str(cluster.refuse_reads)):
            jobs.poll(settings, "job")
    with pytest.raises(BadInput, match="no way to the cluster"):
        kubernetes.poll(settings, "job", ONE.model_copy(update={"context": "elsewhere"}))
    config = Path(os.environ["KUBECONFIG"])
    config.write_text(re.sub(r":\d+", ":9", config.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(Unavailable):
        jobs.poll(settings, "job")


STEP = """\
import pathlib, sys
from pipelines.compute import launch
sys.exit(launch.ranks(launch.within(), 2, sys.argv[1:], pathlib.Path(sys.argv[2], "stop")))
"""
RANK = """\
import os, pathlib, sys, time, torch
ranks, wait = pathlib.Path(sys.argv[1]), sys.argv[2] == "wait"
torch.distributed.init_process_group("gloo")
total = torch.tensor([float(os.environ["RANK"]) + 1])
torch.distributed.all_reduce(total)
(ranks / os.environ["RANK"]).write_text(f"pod {os.environ['JOB_COMPLETION_INDEX']} sum {int(total)}")
while wait and not (ranks / "stop").exists():
    time.sleep(0.1)
torch.distributed.barrier()
torch.distributed.destroy_process_group()
if wait:
    (ranks / f"saved-{os.environ['RANK']}").touch()
    sys.exit(75)
"""


def start_ranks(settings: Settings, cluster: Cluster, tmp_path: Path, mode: str) -> Path:
    """The pods' commands run for real, as processes: the first runs the step, the second joins the ranks it starts."""
    cluster.kubelet = True
    ranks, script = tmp_path / "ranks", tmp_path / "rank.py"
    ranks.mkdir()
    script.write_text(RANK, encoding="utf-8")
    jobs.start(settings, "job", ["-c", STEP, str(script), str(ranks), mode], ONE.model_copy(update={"nodes": 2, "stop_seconds": 60}))
    return ranks


def wait_while(true: Callable[[], bool], settings: Settings) -> None:
    deadline = time.monotonic() + 120
    while true():
        assert time.monotonic() < deadline, files.log_tail(settings, "job")
        time.sleep(0.1)


@pytest.mark.services
def test_the_pods_of_a_job_meet_and_its_result_is_found(settings: Settings, cluster: Cluster, tmp_path: Path) -> None:
    ranks = start_ranks(settings, cluster, tmp_path, "go")
    wait_while(lambda: jobs.poll(settings, "job") in jobs.ALIVE, settings)
    assert jobs.result(settings, "job")["rc"] == 0, files.log_tail(settings, "job")
    assert {(ranks / rank).read_text() for rank in "01"} == {"pod 0 sum 3", "pod 1 sum 3"}


@pytest.mark.services
def test_a_pod_that_is_evicted_lets_every_rank_save(settings: Settings, cluster: Cluster, tmp_path: Path) -> None:
    ranks = start_ranks(settings, cluster, tmp_path, "wait")
    wait_while(lambda: not all((ranks / rank).exists() for rank in "01"), settings)
    second = cluster.running[only(cluster)][1]
    second.terminate()
    wait_while(lambda: second.poll() is None, settings)
    assert second.returncode == 128 + signal.SIGTERM
    assert all((ranks / f"saved-{rank}").exists() for rank in "01"), files.log_tail(settings, "job")
