"""Jobs on a real Slurm of two nodes: submitted once whatever dies, found again, cancelled, explained, resumed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from free_ports import free_port

from pipelines.compute import files, jobs, slurm
from pipelines.compute import slurm_commands as commands
from pipelines.compute_config import Slurm
from pipelines.config import PROJECT, Settings
from pipelines.errors import BadInput, Unavailable

pytestmark = [pytest.mark.services, pytest.mark.usefixtures("slurm_conf")]

ONE = Slurm(kind="slurm", partition="gpu", cpus_per_node=1, time_limit_minutes=5, result_grace_seconds=1, stop_seconds=20)
TWO = ONE.model_copy(update={"nodes": 2, "network_interface": "lo", "rendezvous_port": free_port()})
SLEEP = ["-c", "import time; print('started', flush=True); time.sleep(120)"]


def wait(settings: Settings, job: str, *states: str, seconds: float = 30) -> str:
    return until(
        lambda: (seen := jobs.poll(settings, job)) in states and seen, seconds, lambda: f"{jobs.note(settings, job)}\n{log(settings, job)}"
    )


def until(true: Callable[[], Any], seconds: float = 20, else_say: Callable[[], str] = str) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < deadline, else_say()
        time.sleep(0.1)
    return found


def log(settings: Settings, job: str) -> str:
    return files.log_tail(settings, job)


def ids(settings: Settings, job: str) -> list[str]:
    return [known.id for known in commands.look(slurm.job_name(settings, job))]


def test_submit_poll_result_and_quoting(settings: Settings) -> None:
    hostile = 'it\'s $(touch /tmp/pwned) "q"; exit 3 # %j'
    write = "pathlib.Path(os.environ['RATCHET_JOB'], 'output.json').write_text(json.dumps(sys.argv[1:]))"
    jobs.start(settings, "d.finetune/run/train/-1/g1", ["-c", f"import json, os, pathlib, sys; {write}; print('hello')", hostile], ONE)
    wait(settings, "d.finetune/run/train/-1/g1", "done")
    assert jobs.result(settings, "d.finetune/run/train/-1/g1") == {"rc": 0, "output": [hostile], "error": None}
    assert "hello" in log(settings, "d.finetune/run/train/-1/g1")
    slurm.start(settings, "d.finetune/run/train/-1/g1", SLEEP, ONE)  # not `jobs.start`, which would see it done and be content
    assert len(ids(settings, "d.finetune/run/train/-1/g1")) == 1, "a finished job was submitted again"


def test_a_failed_step_is_done_with_its_code_and_line(settings: Settings) -> None:
    jobs.start(settings, "job", ["-m", "pipelines", "step", "nonsense", "--domain", "regulatory", "--arg", "version=x"], ONE)
    wait(settings, "job", "done")
    done = jobs.result(settings, "job")
    assert done["rc"] == 2 and "there is no step 'nonsense'" in done["error"]


def test_no_secret_goes_along(settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RATCHET_DATABASE_URL", "postgresql://u:hunter2@db/x")
    secret = settings.model_copy(update={"database_url": "postgresql://u:hunter2@db/x"})
    node = tmp_path / "node.env"
    node.write_text("RATCHET_FROM_THE_NODE=yes\n", encoding="utf-8")
    profile = ONE.model_copy(update={"environment_file": str(node)})
    jobs.start(secret, "job", ["-c", "import os; print(sorted(os.environ.items()))"], profile)
    wait(secret, "job", "done")
    assert "hunter2" not in log(secret, "job") + files.folder(secret, "job").joinpath(slurm.SCRIPT).read_text(encoding="utf-8")
    assert "('RATCHET_FROM_THE_NODE', 'yes')" in log(secret, "job")


def test_a_submission_whose_answer_was_lost_is_found_again(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    submit = commands.submit

    def lost(*args: Any) -> str:
        submit(*args)
        raise Unavailable("socket timed out")

    monkeypatch.setattr(commands, "submit", lost)
    jobs.start(settings, "job", SLEEP, ONE)
    monkeypatch.setattr(commands, "submit", submit)
    assert jobs.poll(settings, "job") in jobs.ALIVE
    jobs.start(settings, "job", SLEEP, ONE)
    assert len(ids(settings, "job")) == 1


def test_a_caller_killed_between_sbatch_and_its_answer_submits_no_second_job(settings: Settings, tmp_path: Path) -> None:
    """The orphaned sbatch is slow: it submits a second after its caller was killed, and a retry must not be quicker."""
    real = subprocess.run(["which", "sbatch"], capture_output=True, text=True, check=True).stdout.strip()
    slow = tmp_path / "bin" / "sbatch"
    slow.parent.mkdir()
    slow.write_text(f'#!/bin/sh\ntouch {tmp_path}/called\nsleep 1.5\nexec {real} "$@"\n', encoding="utf-8")
    slow.chmod(0o755)
    code = f"""
from pipelines.compute import jobs
from pipelines.compute_config import Slurm
from pipelines.config import load_settings
jobs.start(load_settings(), "job", {SLEEP!r}, Slurm.model_validate({ONE.model_dump()!r}))
"""
    env = {**os.environ, "PATH": f"{slow.parent}:{os.environ['PATH']}", "RATCHET_VAR": str(settings.var)}
    caller = subprocess.Popen([sys.executable, "-c", code], cwd=PROJECT, env=env)
    until(lambda: (tmp_path / "called").exists())
    caller.send_signal(signal.SIGKILL)
    caller.wait()
    assert ids(settings, "job") == []
    assert jobs.poll(settings, "job") == "queued"
    slurm.start(settings, "job", SLEEP, ONE)  # not `jobs.start`, which would see it queued and be content
    assert len(ids(settings, "job")) == 1
    wait(settings, "job", "running")


def test_two_jobs_of_one_name_never_run_together(settings: Settings, tmp_path: Path) -> None:
    """Should a controller ever take one submission twice: the later one waits, finds the result, and does nothing."""
    mark = f"open({str(tmp_path / 'ran')!r}, 'a').write('x')"
    argv = ["-c", f"import time; {mark}; time.sleep(1)"]
    jobs.start(settings, "job", argv, ONE)
    with slurm._submitting(files.folder(settings, "job")) as lock:
        commands.submit(slurm.submission(settings, "job", ONE), lock)
    assert len(ids(settings, "job")) == 2
    until(lambda: not [known for known in commands.look(slurm.job_name(settings, "job")) if known.alive])
    assert jobs.poll(settings, "job") == "done"
    assert (tmp_path / "ran").read_text() == "x"


def test_stop_tells_waits_and_leaves_no_result(settings: Settings) -> None:
    jobs.start(settings, "job", SLEEP, ONE)
    wait(settings, "job", "running")
    until(lambda: "started" in log(settings, "job"))
    jobs.stop(settings, "job")
    assert jobs.poll(settings, "job") == "lost"
    assert jobs.note(settings, "job").endswith(", told to end")
    jobs.start(settings, "job", ["-c", "print('again')"], ONE)
    wait(settings, "job", "done")
    assert len(ids(settings, "job")) == 2


def test_a_step_that_does_not_end_when_it_is_told_is_cancelled(settings: Settings) -> None:
    deaf = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEP[1]}"
    jobs.start(settings, "job", ["-c", deaf], ONE.model_copy(update={"stop_seconds": 1}))
    until(lambda: "started" in log(settings, "job"))
    jobs.stop(settings, "job")
    assert jobs.poll(settings, "job") == "lost"
    assert "CANCELLED" in jobs.note(settings, "job")


def test_a_queued_job_says_for_what_it_waits_and_since_when_and_can_be_stopped(settings: Settings) -> None:
    jobs.start(settings, "holder", SLEEP, TWO)
    wait(settings, "holder", "running")
    jobs.start(settings, "job", SLEEP, ONE)
    note = until(lambda: "(Resources)" in (said := jobs.note(settings, "job")) and said)
    assert jobs.poll(settings, "job") == "queued"
    assert "PENDING (Resources), submitted 20" in note
    jobs.stop(settings, "job")
    assert jobs.poll(settings, "job") == "lost"


def test_a_job_whose_node_goes_down_is_lost_and_starts_again(settings: Settings) -> None:
    jobs.start(settings, "job", SLEEP, TWO)
    wait(settings, "job", "running")
    until(lambda: "started" in log(settings, "job"))
    subprocess.run(["scontrol", "update", "nodename=n2", "state=down", "reason=test"], check=True)
    wait(settings, "job", "lost")
    assert "NODE_FAIL" in jobs.note(settings, "job")
    jobs.start(settings, "job", ["-c", "print('resumed')"], ONE)
    wait(settings, "job", "done")
    assert jobs.result(settings, "job")["rc"] == 0


def test_what_slurm_refuses_is_bad_input_and_a_silent_controller_is_not_a_lost_job(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, slurm_conf: Path, tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match="partition"):
        jobs.start(settings, "job", SLEEP, ONE.model_copy(update={"partition": "nowhere"}))
    with pytest.raises(BadInput, match="feature"):
        jobs.start(settings, "job", SLEEP, ONE.model_copy(update={"constraint": "a100"}))
    jobs.start(settings, "job", ["-c", "1"], ONE)
    wait(settings, "job", "done")
    deaf = tmp_path / "slurm.conf"
    text = slurm_conf.read_text(encoding="utf-8")
    deaf.write_text(
        text.replace("SlurmctldPort=", "SlurmctldPort=1").replace("KillWait=3", "KillWait=3\nMessageTimeout=2"), encoding="utf-8"
    )
    monkeypatch.setenv("SLURM_CONF", str(deaf))
    with pytest.raises(Unavailable):
        jobs.poll(settings, "job")
