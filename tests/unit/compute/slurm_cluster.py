"""A real Slurm of two nodes on this machine: its own folder, ports, key and munge socket, everything on loopback."""

from __future__ import annotations

import getpass
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from free_ports import free_ports

NEEDED = ("slurmctld", "slurmd", "sbatch", "munged")

CONF = """\
ClusterName=ratchet
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={home}/munge.sock
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0
KillWait=3
SlurmctldPort={ctld}
SlurmctldPidFile={home}/slurmctld.pid
SlurmctldLogFile={home}/slurmctld.log
StateSaveLocation={home}/state
SlurmdPidFile={home}/%n.pid
SlurmdLogFile={home}/%n.log
SlurmdSpoolDir={home}/spool/%n
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={n1} CPUs=1 RealMemory=512 State=UNKNOWN
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={n2} CPUs=1 RealMemory=512 State=UNKNOWN
PartitionName=gpu Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP
"""


def absent() -> str:
    """Why there can be no cluster here, or nothing."""
    path = f"{os.environ.get('PATH', '')}{os.pathsep}/usr/sbin"
    missing = [name for name in NEEDED if shutil.which(name, path=path) is None]
    return f"needs {', '.join(missing)} (apt-get install slurmctld slurmd slurm-client munge)" if missing else ""


@contextmanager
def cluster(home: Path) -> Iterator[Path]:
    """Up in seconds; yields `slurm.conf`, which SLURM_CONF must name."""
    for name in ("state", "spool/n1", "spool/n2"):
        (home / name).mkdir(parents=True)
    conf = home / "slurm.conf"
    ctld, n1, n2 = free_ports(3)
    conf.write_text(CONF.format(home=home, host=socket.gethostname().split(".")[0], user=getpass.getuser(), ctld=ctld, n1=n1, n2=n2))
    key = home / "munge.key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o600)
    env = {**os.environ, "SLURM_CONF": str(conf), "PATH": f"{os.environ['PATH']}{os.pathsep}/usr/sbin"}
    munge = [f"--{name}={home}/munge.{end}" for name, end in (("socket", "sock"), ("key-file", "key"), ("pid-file", "pid"))]
    munge += [f"--log-file={home}/munge.log", f"--seed-file={home}/munge.seed", "--num-threads=2", "--force", "--foreground"]
    commands = [
        ["munged", *munge],
        ["slurmctld", "-D", "-f", str(conf)],
        *(["slurmd", "-D", "-N", n, "-f", str(conf)] for n in ("n1", "n2")),
    ]
    running: list[subprocess.Popen[bytes]] = []
    try:
        with (home / "daemons.log").open("ab") as log:
            for command in commands:
                running.append(subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True))
                if command[0] == "munged":
                    _until(lambda: (home / "munge.sock").exists(), 10, home)
        _until(lambda: _idle(env) == 2, 30, home)
        yield conf
    finally:
        with suppress(subprocess.SubprocessError):
            subprocess.run(["scancel", f"--user={os.getuid()}"], env=env, capture_output=True, timeout=10)
            _until(lambda: not _out(env, "squeue", "--noheader"), 10, home)
        for process in reversed(running):
            process.terminate()
        for process in running:
            with suppress(subprocess.TimeoutExpired):
                process.wait(10)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _idle(env: dict[str, str]) -> int:
    return len(_out(env, "sinfo", "--noheader", "--Node", "--states=idle", "--format=%N").split())


def _out(env: dict[str, str], *command: str) -> str:
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=20).stdout


def _until(true: Callable[[], bool], seconds: float, home: Path) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            logs = "\n".join(f"{path.name}: {path.read_text(errors='replace')[-800:]}" for path in sorted(home.glob("*.log")))
            raise AssertionError(f"Slurm does not come up\n{logs}")
        time.sleep(0.1)


def empty() -> None:
    """End what a test before left behind, and bring its nodes back."""
    env = dict(os.environ)
    subprocess.run(["scancel", f"--user={os.getuid()}"], env=env, capture_output=True, timeout=20)
    subprocess.run(["scontrol", "update", "nodename=n1,n2", "state=resume"], env=env, capture_output=True, timeout=20)
    _until(lambda: _idle(env) == 2, 20, Path(env["SLURM_CONF"]).parent)
