"""Jobs on Kubernetes: objects as the API's schema wants them, one Job whatever dies, cancelled, explained, resumed. No real cluster."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from kube_api import VERSION, Cluster, serving

pytest.importorskip("kubernetes", reason="needs the packages of requirements-dev.txt")
kubernetes_validate = pytest.importorskip("kubernetes_validate", reason="needs the packages of requirements-dev.txt")

from pipelines.compute import files, jobs, kubernetes  # noqa: E402
from pipelines.compute import kubernetes_manifest as manifest  # noqa: E402
from pipelines.compute_config import Kubernetes  # noqa: E402
from pipelines.config import PROJECT, Settings  # noqa: E402
from pipelines.errors import BadInput, Unavailable  # noqa: E402

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
    with pytest.raises(BadInput, match="no way to the cluster"):
        kubernetes.poll(settings, "job", ONE.model_copy(update={"context": "elsewhere"}))
    config = Path(os.environ["KUBECONFIG"])
    config.write_text(re.sub(r":\d+", ":9", config.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(Unavailable):
        jobs.poll(settings, "job")


STEP = """\
import sys
from pipelines.compute import launch
sys.exit(launch.ranks(launch.within(), 2, [sys.argv[1]]))
"""
RANK = """\
import json, os, pathlib, torch
torch.distributed.init_process_group("gloo")
total = torch.tensor([float(os.environ["RANK"]) + 1])
torch.distributed.all_reduce(total)
pathlib.Path(os.environ["RANKS"], os.environ["RANK"]).write_text(f"pod {os.environ['JOB_COMPLETION_INDEX']} sum {int(total)}")
torch.distributed.destroy_process_group()
"""


@pytest.mark.services
def test_the_pods_of_a_job_meet_and_its_result_is_found(settings: Settings, cluster: Cluster, tmp_path: Path) -> None:
    """The pods' commands run for real, as processes: the first runs the step, the second joins the ranks it starts."""
    cluster.kubelet = True
    (tmp_path / "ranks").mkdir()
    script = tmp_path / "rank.py"
    script.write_text(f"import os; os.environ['RANKS'] = {str(tmp_path / 'ranks')!r}\n{RANK}", encoding="utf-8")
    jobs.start(settings, "job", ["-c", STEP, str(script)], ONE.model_copy(update={"nodes": 2}))
    deadline = time.monotonic() + 90
    while jobs.poll(settings, "job") in jobs.ALIVE:
        assert time.monotonic() < deadline, files.log_tail(settings, "job")
        time.sleep(0.1)
    assert jobs.result(settings, "job")["rc"] == 0, files.log_tail(settings, "job")
    assert {(tmp_path / "ranks" / rank).read_text() for rank in "01"} == {"pod 0 sum 3", "pod 1 sum 3"}
