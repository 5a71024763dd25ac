"""The whole story on real Airflow, MLflow, Iceberg, LanceDB and Triton, once; then everything that must hold afterwards."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipelines.config import PROJECT, Ports, Settings, load_settings
from pipelines.registry import views
from pipelines.site.airflow_api import AirflowClient
from pipelines.state.database import reading
from pipelines.state.models import Approval, Artifact

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1500)]

QUESTION = "What is the exempt consumer lease threshold in 2014?"


class Site:
    """A site of its own: var/ under tmp, free ports, watched for connections to other hosts."""

    def __init__(self, folder: Path) -> None:
        self.environ = {**os.environ, "RATCHET_VAR": str(folder / "var")}
        for name, port in zip(Ports.model_fields, free_ports(len(Ports.model_fields)), strict=True):
            self.environ[f"RATCHET_PORT_{name.upper()}"] = str(port)
        self.settings: Settings = load_settings(self.environ)
        self.strangers: set[str] = set()
        self.killed: list[int] = []
        self.output = ""
        self._stop = threading.Event()

    def run(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "pipelines", *words], cwd=PROJECT, env=self.environ, capture_output=True, text=True, timeout=1200
        )
        if check:
            assert done.returncode == 0, f"{words}: {done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done

    def json(self, *words: str) -> Any:
        return json.loads(self.run(*words, "--json").stdout)

    def watch(self) -> None:
        """Until stopped: note every connection to another host, and kill -9 the first training process once it has a checkpoint."""
        while not self._stop.wait(0.4):
            for process in mine(self.settings):
                try:
                    self.strangers |= {c.raddr.ip for c in process.net_connections("inet") if c.raddr and not local(c.raddr.ip)}
                    if not self.killed and "pipelines.training.worker" in process.cmdline() and checkpointed(self.settings):
                        process.send_signal(signal.SIGKILL)
                        self.killed.append(process.pid)
                except psutil.Error:
                    continue

    def stop_watching(self) -> None:
        self._stop.set()


def mine(settings: Settings) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        try:
            if process.environ().get("RATCHET_VAR") == str(settings.var):
                yield process
        except psutil.Error:
            continue


def checkpointed(settings: Settings) -> bool:
    return any(re.fullmatch(r"checkpoint-\d+", path.name) for path in (settings.var / "work").glob("*/*"))


def local(address: str) -> bool:
    return address.removeprefix("::ffff:").startswith("127.") or address == "::1"


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site(tmp_path_factory.mktemp("site"))
    watcher = threading.Thread(target=made.watch, daemon=True)
    watcher.start()
    try:
        made.output = made.run("demo").stdout
        yield made
    finally:
        made.stop_watching()
        watcher.join()
        made.run("down", check=False)


def finished(site: Site, dag: str, run_id: str, seconds: float = 120) -> str:
    admin = AirflowClient.of(site.settings, "admin")
    deadline = time.monotonic() + seconds
    while (state := admin.run_state(dag, run_id)) not in ("success", "failed"):
        assert time.monotonic() < deadline, f"{dag} {run_id} is {state}"
        time.sleep(0.5)
    return state


def test_the_answers_follow_the_law(site: Site) -> None:
    summary = json.loads((site.settings.var / "demo" / "summary.json").read_text())
    before, after, as_of = (answer for _, _, answer in summary["answers"][:3])
    assert before.split(" [")[0].startswith("$")
    assert before != after
    assert as_of == before
    assert [release for _, release, _ in summary["answers"]] == ["regulatory/r1", "regulatory/r2", "regulatory/r2", "clinical/r1"]


def test_every_arrival_is_accounted_for(site: Site) -> None:
    rows = site.json("arrivals")
    assert sorted((row["domain"], row["state"]) for row in rows) == [("clinical", "accepted")] + [("regulatory", "accepted")] * 3 + [
        ("regulatory", "refused")
    ]
    (refused,) = (row for row in rows if row["state"] == "refused")
    assert "wrong checksum" in refused["reason"]
    assert [row["version"] for row in site.json("datasets", "list", "regulatory")] == [f"ConsumerLeasing_v1.{n}" for n in (2, 1, 0)]


def test_the_amendment_was_planned_as_an_index_and_kept_the_adapter(site: Site) -> None:
    plans = {row["version"]: row["kind"] for row in site.json("plan", "regulatory")}
    assert plans == {"ConsumerLeasing_v1.0": "adapter", "ConsumerLeasing_v1.1": "index", "ConsumerLeasing_v1.2": "index"}
    adapters = {row["candidate"]: row["adapter"] for row in site.json("candidates", "regulatory")}
    assert adapters["regulatory/r1"] == adapters["regulatory/r2"]


def test_the_bad_scan_was_refused_and_the_live_release_stands(site: Site) -> None:
    states = {row["candidate"]: (row["verdict"], row["state"]) for row in site.json("candidates", "regulatory")}
    assert states == {"regulatory/r1": ("pass", "retired"), "regulatory/r2": ("pass", "live"), "regulatory/r3": ("fail", "refused")}
    assert [row["release"] for row in site.json("live", "regulatory")] == ["regulatory/r2"]


def test_the_training_that_was_killed_went_on_from_its_checkpoint(site: Site) -> None:
    assert site.killed, "the training process was never seen"
    with reading(site.settings) as session:
        paths = [row.path for row in session.query(Artifact).filter(Artifact.kind == "adapter").order_by(Artifact.created_at)]
    facts = [json.loads((site.settings.artifacts / path / "facts.json").read_text()) for path in paths]
    assert facts[0]["resumed_at"], "the first adapter was trained in one go"
    assert len(paths) == 2


def test_the_approval_is_a_persons(site: Site) -> None:
    with reading(site.settings) as session:
        approvals = {row.candidate_id: row.actor for row in session.query(Approval)}
    assert approvals == {"regulatory/r1": "approver", "regulatory/r2": "approver", "clinical/r1": "approver"}


def test_no_planted_identifier_is_in_anything_the_run_wrote(site: Site) -> None:
    from pipelines.masking.leaks import find

    planted = json.loads((site.settings.var / "samples" / "planted.json").read_text())
    assert len(planted) > 100
    assert find(site.settings.landing_zone, planted), "the search itself must find them where they are"
    assert find(site.settings.var, planted, skip=(site.settings.landing_zone, site.settings.var / "samples")) == {}


def test_nothing_reached_another_host(site: Site) -> None:
    assert site.strangers == set()


def test_the_openai_client_works(site: Site) -> None:
    import openai

    key = site.run("key", "a developer", "regulatory").stdout.strip()
    with openai.OpenAI(base_url=f"{site.settings.url('gateway')}/v1", api_key=key) as client:
        reply = client.chat.completions.create(model="regulatory", messages=[{"role": "user", "content": QUESTION}])
        assert (reply.choices[0].message.content or "").startswith("$")
        with pytest.raises(openai.PermissionDeniedError):
            client.chat.completions.create(model="clinical", messages=[{"role": "user", "content": "How long?"}])


def test_mlflow_holds_the_adapters(site: Site) -> None:
    import httpx

    site.run("doctor", check=False)
    url = f"{site.settings.url('mlflow')}/api/2.0/mlflow/registered-models/search"
    names = {model["name"] for model in httpx.get(url, timeout=20, trust_env=False).json()["registered_models"]}
    assert names == {"regulatory-adapter", "clinical-adapter"}


def test_clearing_every_task_of_every_run_changes_nothing(site: Site) -> None:
    admin = AirflowClient.of(site.settings, "admin")

    def state() -> Any:
        rows = {
            "arrivals": views.arrivals(site.settings),
            "versions": views.versions(site.settings),
            "candidates": views.candidates(site.settings),
            "releases": views.releases(site.settings),
        }
        with reading(site.settings) as session:
            rows["approvals"] = [(row.candidate_id, row.responded_at.isoformat()) for row in session.query(Approval)]
        return rows, admin.get("/assets/events", limit=1)["total_entries"]

    ours = [(dag, site_run) for dag in ("regulatory.ingest", "regulatory.finetune") for site_run in worked(admin, dag)]
    before = state()
    for dag, run_id in ours:
        admin.clear(dag, run_id, *{task["task_id"] for task in admin.tasks(dag, run_id)})
    ends = {(dag, run_id): finished(site, dag, run_id, 240) for dag, run_id in ours}
    after = state()
    assert before == after
    assert sorted(ends.values()).count("failed") == 1, "only the run of the refused delivery is red"


def worked(admin: AirflowClient, dag: str) -> list[str]:
    """Runs that had something to do."""
    return [
        run["dag_run_id"]
        for run in admin.runs(dag)
        if not all(task["state"] == "skipped" for task in admin.tasks(dag, run["dag_run_id"]) if task["task_id"] != "claim")
    ]


def test_the_release_board_shows_what_is_live(site: Site, tmp_path: Path) -> None:
    import httpx

    url = f"{site.settings.url('airflow')}/release-board/"
    assert httpx.get(url, trust_env=False, timeout=20).status_code in (401, 403)
    viewer = AirflowClient.of(site.settings, "viewer")
    page = viewer._http.get("/release-board/").text
    for shown in ("regulatory/r2", "clinical/r1", "ConsumerLeasing_v1.1", "wrong checksum"):
        assert shown in page


def test_rollback_and_history_work_with_airflow_stopped(site: Site) -> None:
    site.run("down")
    assert all(row["state"] == "down" for row in site.json("status"))
    assert not [process for process in mine(site.settings) if process.pid != os.getpid()]
    assert site.json("rollback", "regulatory", "--reason", "testing")[0]["live"] == "regulatory/r1"
    today = time.strftime("%Y-%m-%d", time.gmtime())
    assert [row["release"] for row in site.json("live", "regulatory", "--on", today)] == ["regulatory/r1", "regulatory/r2", "regulatory/r1"]
    assert site.json("audit", "verify")[0]["whole"] is True
