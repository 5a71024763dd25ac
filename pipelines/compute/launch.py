"""Lets training use every node of the job it runs in: torchrun's agent on each, meeting at the first over c10d.

`within()` says whether this process runs in such a job; `ranks` starts them. Under Slurm the agents are started by srun; in an indexed
Job of Kubernetes the other pods wait for what the first one writes down (`follow`).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Event
from typing import Any

from pipelines.compute import child
from pipelines.compute.files import RESULT
from pipelines.errors import BadInput, Unavailable
from pipelines.writing import write_json

SHUTDOWN_SECONDS = 5
"""Between SIGTERM and SIGKILL for the peers of a rank that failed: they wait in a collective, and most hear neither."""

PATIENT = ["--signals-to-handle=SIGHUP", f"--shutdown-timeout={SHUTDOWN_SECONDS}"]
"""Of every torchrun agent of ours: it would answer SIGTERM by killing its ranks, which are to save first."""


@dataclass(frozen=True, slots=True)
class Nodes:
    """The nodes of a job."""

    count: int
    scheduler: str
    id: str
    """Of this submission: no agent of an earlier one may join."""
    head: str
    """Address of the first node."""
    port: int


def within() -> Nodes | None:
    """The nodes of the job around this process, or None where it has but one."""
    count, port = int(os.environ.get("RATCHET_NODES", "1")), int(os.environ.get("RATCHET_RENDEZVOUS_PORT", "29400"))
    if count < 2 or "RANK" in os.environ:
        return None
    if job := os.environ.get("SLURM_JOB_ID"):
        return Nodes(count, "slurm", job, _slurm_address(os.environ["SLURMD_NODENAME"]), port)
    if head := os.environ.get("RATCHET_HEAD"):
        return Nodes(count, "kubernetes", os.environ["RATCHET_SUBMISSION"], head, port)
    return None


def ranks(nodes: Nodes, total: int, module: list[str], stop: Path) -> int:
    """Run `-m MODULE ARG...` as `total` ranks over all nodes; returns 0, or the exit code of the rank that failed first.

    The ranks end by themselves where they find the file `stop`: srun and the agents would answer a signal by killing them. BadInput
    when the ranks do not divide among the nodes.
    """
    if total % nodes.count:
        raise BadInput(
            f"{total} ranks do not divide among {nodes.count} nodes", where="nodes of the compute profile", todo="make them agree"
        )
    command = [*_agent(nodes), "--ranks", str(total // nodes.count), "--", *module]
    env = _network(dict(os.environ))
    _failure(nodes.id).unlink(missing_ok=True)
    if nodes.scheduler == "slurm":
        each = ["srun", "--export=ALL", f"--nodes={nodes.count}", f"--ntasks={nodes.count}", "--ntasks-per-node=1", "--kill-on-bad-exit=1"]
        each += ["--mpi=none", *(f"--cpus-per-task={cpus}" for cpus in filter(None, [os.environ.get("SLURM_CPUS_PER_TASK")]))]
        command = [*each, *command]
    else:
        write_json(_order(nodes.id), {"nodes": asdict(nodes), "ranks": total // nodes.count, "module": module, "stop": str(stop)})
    code = subprocess.run(command, env=env, preexec_fn=child.die_with_parent, stdin=subprocess.DEVNULL).returncode
    return int(_failure(nodes.id).read_text(encoding="utf-8")) if code and _failure(nodes.id).exists() else code


def agent(nodes: Nodes, node: int, address: str, per_node: int, module: list[str]) -> int:
    """Be torchrun's agent on one node. The exit code is that of the rank that failed first: 2 is bad input wherever it is found."""
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main

    sys.argv[0] = "torchrun"
    signal.signal(signal.SIGTERM, lambda *_: None)  # not SIG_IGN, which the ranks would inherit
    meeting = [
        f"--nnodes={nodes.count}",
        f"--nproc-per-node={per_node}",
        "--rdzv-backend=c10d",
        f"--rdzv-endpoint={nodes.head}:{nodes.port}",
    ]
    meeting += [f"--rdzv-id={nodes.id}", f"--rdzv-conf=is_host={int(node == 0)}", f"--local-addr={address}", "--max-restarts=0"]
    try:
        main([*meeting, *PATIENT, *module])
    except ChildFailedError as error:
        code: int = max(error.get_first_failure()[1].exitcode, 1)  # a signal is negative
        # The first to fail writes it down: the scheduler kills the other agents, and would answer with their 137.
        with suppress(FileExistsError), _failure(nodes.id).open("x", encoding="utf-8") as file:
            file.write(str(code))
        return code
    return 0


def follow(place: Path, submission: str) -> int:
    """The other pods of an indexed Job: join whatever the first one starts, until the job's result is there.

    SIGTERM, to the whole Job or to this pod alone, asks all ranks to save; the pod ends when its own have.
    """
    done: set[float] = set()
    order, stopped = _order(submission, place), Event()

    def stop(*_: Any) -> None:
        stopped.set()
        if order.exists():
            Path(json.loads(order.read_text(encoding="utf-8"))["stop"]).touch()

    signal.signal(signal.SIGTERM, stop)
    while not stopped.is_set() and not (place / RESULT).exists():
        if order.exists() and (at := order.stat().st_mtime) not in done:
            done.add(at)
            wanted = json.loads(order.read_text(encoding="utf-8"))
            command = [*_agent(Nodes(**wanted["nodes"])), "--ranks", str(wanted["ranks"]), "--", *wanted["module"]]
            env = _network(os.environ | {"RATCHET_JOB": str(place)})
            subprocess.run(command, env=env, preexec_fn=child.die_with_parent)
        stopped.wait(1)
    return child.STOPPED if stopped.is_set() else 0


def _order(submission: str, place: Path | None = None) -> Path:
    return (place or Path(os.environ["RATCHET_JOB"])) / f"launch-{submission}.json"


def _failure(submission: str) -> Path:
    return Path(os.environ["RATCHET_JOB"]) / f"failed-{submission}"


def _agent(nodes: Nodes) -> list[str]:
    given = [f"--{key}={value}" for key, value in asdict(nodes).items()]
    return [sys.executable, "-m", "pipelines.compute.launch", *given]


def _network(env: dict[str, str]) -> dict[str, str]:
    """Between nodes the libraries use the profile's interface; where it names none, what the node's environment says, or they choose."""
    interface = env.get("RATCHET_NETWORK_INTERFACE")
    return env | ({"GLOO_SOCKET_IFNAME": interface, "NCCL_SOCKET_IFNAME": interface} if interface else {})


def _slurm_address(node: str) -> str:
    """Slurm's address of a node: its name need not resolve."""
    done = subprocess.run(["scontrol", "show", "node", node, "--oneliner"], capture_output=True, text=True, timeout=60)
    found = re.search(r"\bNodeAddr=(\S+)", done.stdout)
    if found is None:
        raise Unavailable(f"Slurm does not say where node {node} is", where="scontrol show node", todo=done.stderr.strip())
    return found.group(1)


def main(argv: list[str]) -> int:
    """Entry of an agent."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.compute.launch", description=__doc__)
    for name, kind in (("count", int), ("scheduler", str), ("id", str), ("head", str), ("port", int), ("ranks", int)):
        parser.add_argument(f"--{name}", type=kind, required=True)
    parser.add_argument("module", nargs="+")
    given = parser.parse_args(argv)
    nodes = Nodes(given.count, given.scheduler, given.id, given.head, given.port)
    if nodes.scheduler == "slurm":
        node, address = int(os.environ["SLURM_NODEID"]), _slurm_address(os.environ["SLURMD_NODENAME"])
    else:
        node, address = int(os.environ["JOB_COMPLETION_INDEX"]), os.environ["RATCHET_ADDRESS"]
    return agent(nodes, node, address, given.ranks, given.module)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
