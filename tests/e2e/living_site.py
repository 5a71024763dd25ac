"""A site of its own for the story: real services on free ports, watched from outside, and struck while it works."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import psutil
from free_ports import free_ports
from receivers import hook

from pipelines.config import PROJECT, Ports, Settings, load_settings
from pipelines.errors import RatchetError
from pipelines.registry import views
from pipelines.site.airflow_api import AirflowClient


class Site:
    """var/ and configs/ under tmp, free ports; `strangers` are the other hosts it talked to, `incidents` what was done to it, `pager`
    what was told to whoever is paged."""

    def __init__(self, folder: Path) -> None:
        configs = os.environ.get("RATCHET_CONFIGS") or shutil.copytree(PROJECT / "configs", folder / "configs")
        self._receivers = ExitStack()
        self.pager = self._receivers.enter_context(hook())
        self.environ = {
            **os.environ,
            "RATCHET_VAR": str(folder / "var"),
            "RATCHET_CONFIGS": str(configs),
            "RATCHET_ALERT_URLS": self.pager.url(),
        }
        for name, port in zip(Ports.model_fields, free_ports(len(Ports.model_fields)), strict=True):
            self.environ[f"RATCHET_PORT_{name.upper()}"] = str(port)
        self.settings: Settings = load_settings(self.environ)
        self.strangers: set[str] = set()
        self.incidents: list[str] = []
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

    def admin(self) -> AirflowClient:
        return AirflowClient.of(self.settings, "admin")

    def watch(self) -> None:
        """Until stopped: note every connection to another host, and strike once at each of three moments."""
        while not self._stop.wait(0.4):
            for process in mine(self.settings):
                with suppress(psutil.Error, RatchetError):
                    self.strangers |= {c.raddr.ip for c in process.net_connections("inet") if c.raddr and not local(c.raddr.ip)}
                    self._strike(process, process.environ().get("RATCHET_JOB", ""), process.cmdline())

    def _strike(self, process: psutil.Process, job: str, words: list[str]) -> None:
        if "pipelines.training.worker" in words and checkpointed(words):
            if "/regulatory.finetune/" in job and "training killed" not in self.incidents:
                process.send_signal(signal.SIGKILL)
                self.incidents.append("training killed")
            if "/clinical.finetune/" in job and "deferred training cleared" not in self.incidents:
                run_id = views.plans(self.settings, "clinical")[0]["run"]
                self.admin().clear("clinical.finetune", run_id, "train", downstream=False)
                self.incidents.append("deferred training cleared")
        if "/clinical.finetune/" in job and "/index/" in job and "triggerer killed" not in self.incidents:
            for other in mine(self.settings):
                if "triggerer" in other.cmdline() and other.ppid() == supervisor(self.settings):
                    other.send_signal(signal.SIGKILL)
                    self.incidents.append("triggerer killed")

    def stop_watching(self) -> None:
        self._stop.set()
        self._receivers.close()

    def finished(self, dag: str, run_id: str, seconds: float = 120) -> str:
        admin = self.admin()
        deadline = time.monotonic() + seconds
        while (state := admin.run_state(dag, run_id)) not in ("success", "failed"):
            assert time.monotonic() < deadline, (
                f"{dag} {run_id} is {state}: {[(t['task_id'], t['state']) for t in admin.tasks(dag, run_id)]}"
            )
            time.sleep(0.5)
        return state


def mine(settings: Settings) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get("RATCHET_VAR") == str(settings.var):
                yield process


def supervisor(settings: Settings) -> int:
    return int((settings.var / "run" / "site.pid").read_text())


def checkpointed(words: list[str]) -> bool:
    """Whether the training of this command line has a whole checkpoint."""
    folder = Path(words[words.index("--job") + 1]).parent
    return any(re.fullmatch(r"checkpoint-\d+", path.name) for path in folder.glob("*"))


def local(address: str) -> bool:
    return address.removeprefix("::ffff:").startswith("127.") or address == "::1"


def worked(admin: AirflowClient, dag: str) -> list[str]:
    """Runs that had something to do."""
    return [
        run["dag_run_id"]
        for run in admin.runs(dag)
        if not all(task["state"] == "skipped" for task in admin.tasks(dag, run["dag_run_id"]) if task["task_id"] != "claim")
    ]
