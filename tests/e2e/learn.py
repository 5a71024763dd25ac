"""`PYTHONPATH=tests:tests/unit/compute python tests/e2e/learn.py DATA OUT.json`: public data learned from Airflow, plan to candidate.

Regulation M and a day of primock57, each learned twice: on this host, and over the two nodes of a real Slurm. The training of Regulation M
is killed here after its first checkpoint, and there it loses a node; the task is cleared as an on-call engineer would. It must resume,
register once, and be done at once when it is cleared again. Measured: task start to first step, and the second clear. Triton is not
needed: `release` is paused.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
import yaml
from free_ports import free_port
from living_site import Site, mine
from rich.console import Console
from slurm_cluster import cluster

from pipelines.config import load_domain, load_settings
from pipelines.demo import public
from pipelines.demo.script import Part
from pipelines.intake import landing
from pipelines.registry import views
from pipelines.site import site as services
from pipelines.state.database import reading
from pipelines.state.models import Artifact, Candidate
from pipelines.training import progress

SERVICES = ("setup", "mlflow", "api-server", "scheduler", "dag-processor", "triggerer")
PATIENCE = 900.0
TWO_NODES = {
    "kind": "slurm", "partition": "gpu", "nodes": 2, "cpus_per_node": 1, "network_interface": "lo", "time_limit_minutes": 30,
    "rendezvous_port": free_port(), "poll_seconds": 1.0, "result_grace_seconds": 5.0, "price_per_cpu_hour": 0.04,
}  # fmt: skip
ON_TWO_NODES = {"ranks": 2, "zero": 2}


def configure(settings: Any, data: Path) -> tuple[Path, dict[str, Part]]:
    """Configs with four domains; what each is delivered."""
    own, told = public.script(settings, data)
    (own.configs / "compute" / "two_nodes.yaml").write_text(yaml.safe_dump(TWO_NODES), encoding="utf-8")
    domains = own.configs / "domains"
    for name in ("regulatory", "clinical"):
        values = yaml.safe_load((domains / f"{name}.yaml").read_text(encoding="utf-8"))
        twin = {"domain": f"{name}_slurm", "dataset": f"{values['dataset']}Slurm", "compute": {"train": "two_nodes"}}
        twin["recipe"] = values["recipe"] | ON_TWO_NODES
        (domains / f"{name}_slurm.yaml").write_text(yaml.safe_dump(values | twin, sort_keys=False), encoding="utf-8")
    return own.configs, {name: told.base if name.startswith("regulatory") else told.clinical for name in
                         ("clinical", "regulatory", "clinical_slurm", "regulatory_slurm")}  # fmt: skip


def until(what: str, true: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := true()):
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        time.sleep(0.2)
    return found


def learn(site: Site, domain: str, part: Part, strike: Callable[[Path], None] | None) -> dict[str, Any]:
    """Deliver, follow to the candidate, strike once after a checkpoint and clear; what was seen."""
    before = set((site.settings.var / "work").glob("*"))
    landing.deliver(site.settings, domain, part.files, uploader="learn", source=part.source, effective=part.effective)
    run = until(f"{domain}: a run", lambda: next((row["run"] for row in views.plans(site.settings, domain) if row["run"]), None))
    dag = f"{domain}.finetune"
    task = until(f"{domain}: train starts", lambda: _started(site, dag, run))
    work = until(f"{domain}: first step", lambda: _stepping(site, before))
    first = time.time()  # the file is written at the first step, and looked for five times a second
    found: dict[str, Any] = {"task start to first step, s": round(first - task, 1)}
    if strike is not None:
        until(f"{domain}: a checkpoint", lambda: list(work.glob("checkpoint-*")))
        strike(work)
        site.incidents.append(f"{domain} struck")
        until(f"{domain}: the try has failed", lambda: _state(site, dag, run, "train") in ("up_for_retry", "failed", "queued"))
        site.admin().clear(dag, run, "train")
        found["cleared at step"] = max(int(path.name.rpartition("-")[2]) for path in work.glob("checkpoint-*"))
    state = site.finished(dag, run, PATIENCE)
    found |= {"run": state, "again, s": cleared_again(site, dag, run)}
    with reading(site.settings) as session:
        adapters = session.query(Artifact).filter(Artifact.domain == domain, Artifact.kind == "adapter").all()
        candidates = session.query(Candidate).filter(Candidate.domain == domain).all()
    (plan,) = views.plans(site.settings, domain)
    facts = json.loads((site.settings.artifacts / adapters[0].path / "facts.json").read_text(encoding="utf-8"))
    return found | {
        "plan": plan["kind"],
        "reason": plan["reason"],
        "adapters": len(adapters),
        "candidates": [one.id for one in candidates],
        "ranks": facts["ranks"],
        "steps": len(facts["history"]),
        "resumed_at": facts["resumed_at"],
        "loss": facts["loss"],
        "examples": facts["examples"],
        "training, s": facts["seconds"],
        "cost": plan["money"],
    }


def cleared_again(site: Site, dag: str, run: str) -> float:
    """Seconds of the train task's own work after one more clear."""
    site.admin().clear(dag, run, "train", downstream=False)
    until(f"{dag}: cleared", lambda: site.admin().run_state(dag, run) not in ("success", "failed"), 60)
    site.finished(dag, run, PATIENCE)
    return float(next(one["duration"] for one in site.admin().tasks(dag, run) if one["task_id"] == "train"))


def _started(site: Site, dag: str, run: str) -> float | None:
    for one in site.admin().tasks(dag, run):
        if one["task_id"] == "train" and one["start_date"]:
            return datetime.fromisoformat(one["start_date"]).timestamp()
    return None


def _stepping(site: Site, before: set[Path]) -> Path | None:
    return next((path for path in (site.settings.var / "work").glob("*") if path not in before and progress.read(path)), None)


def _state(site: Site, dag: str, run: str, task: str) -> str | None:
    return next((one["state"] for one in site.admin().tasks(dag, run) if one["task_id"] == task), None)


def kill_the_training(site: Site) -> Callable[[Path], None]:
    """kill -9 of the step and of the training, as the kernel does when memory runs out."""

    def strike(work: Path) -> None:
        for process in mine(site.settings):
            with suppress(psutil.Error):
                words = process.cmdline()
                if str(work / "job.json") in words or ("step" in words and "train" in words):
                    process.send_signal(signal.SIGKILL)

    return strike


def lose_a_node(_: Path) -> None:
    """A node goes down under the job, and comes back."""
    subprocess.run(["scontrol", "update", "nodename=n2", "state=down", "reason=test"], check=True)
    time.sleep(5)
    subprocess.run(["scontrol", "update", "nodename=n2", "state=resume"], check=False, capture_output=True)


@contextmanager
def running(folder: Path, data: Path) -> Iterator[tuple[Site, dict[str, Part]]]:
    """A Slurm, and a site on it with everything but `release` at work."""
    with cluster(folder / "slurm") as conf:
        os.environ["SLURM_CONF"] = str(conf)
        configs, parts = configure(load_settings({**os.environ, "RATCHET_VAR": str(folder / "var")}), data)
        os.environ["RATCHET_CONFIGS"] = str(configs)
        site = Site(folder)
        services.up(site.settings, only=SERVICES)
        try:
            wanted = {f"{name}.{stage}" for name in parts for stage in ("ingest", "finetune", "release")}
            until("the DAGs", lambda: wanted <= {dag["dag_id"] for dag in site.admin().get("/dags", limit=100)["dags"]})
            for name in parts:
                site.admin().patch(f"/dags/{name}.release", {"is_paused": True})
            yield site, parts
        finally:
            services.down(site.settings)


def main(data: Path, out: Path) -> int:
    """Learn, and write what was seen. Exit 1 when something is not what it must be."""
    folder = Path(tempfile.mkdtemp(prefix="ratchet-learn-"))
    with running(folder, data) as (site, parts):
        strikes = {"regulatory": kill_the_training(site), "regulatory_slurm": lose_a_node}
        found = {name: learn(site, name, part, strikes.get(name)) for name, part in parts.items()}
        mlflow = site.settings.var / "mlflow"
        ranks = {name: load_domain(name, site.settings).recipe.ranks for name in parts}
    wrong = [
        f"{name}: {what}"
        for name, seen in found.items()
        for what, right in {
            "planned as an adapter": seen["plan"] == "adapter",
            "run green": seen["run"] == "success",
            "registered once": seen["adapters"] == 1 and len(seen["candidates"]) == 1,
            "ranks": seen["ranks"] == ranks[name],
            "resumed": (seen["resumed_at"] is not None) == (name in strikes),
        }.items()
        if not right
    ]
    out.write_text(json.dumps({"found": found, "wrong": wrong}, indent=2), encoding="utf-8")
    Console().print_json(data={"found": found, "wrong": wrong})
    if wrong:
        Console().print(f"kept for a look: {folder}, {mlflow}", highlight=False)
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
