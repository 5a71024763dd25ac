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

from pipelines.compute import child
from pipelines.compute.files import write
from pipelines.errors import BadInput, Unavailable


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


def ranks(nodes: Nodes, total: int, module: list[str]) -> int:
    """Run `-m MODULE ARG...` as `total` ranks over all nodes; returns 0, or the exit code of the rank that failed first.

    BadInput when the ranks do not divide among the nodes.
    """
    if total % nodes.count:
        raise BadInput(
            f"{total} ranks do not divide among {nodes.count} nodes", where="nodes of the compute profile", todo="make them agree"
        )
    command = [*_agent(nodes), "--ranks", str(total // nodes.count), "--", *module]
    env = _network(dict(os.environ))
    if nodes.scheduler == "slurm":
        each = ["srun", "--export=ALL", f"--nodes={nodes.count}", f"--ntasks={nodes.count}", "--ntasks-per-node=1", "--kill-on-bad-exit=1"]
        each += ["--mpi=none", *(f"--cpus-per-task={cpus}" for cpus in filter(None, [os.environ.get("SLURM_CPUS_PER_TASK")]))]
        command = [*each, *command]
    else:
        write(_order(nodes.id), {"nodes": asdict(nodes), "ranks": total // nodes.count, "module": module})
        env["RATCHET_NODE"] = "0"
    _failure(nodes.id).unlink(missing_ok=True)
    running = subprocess.Popen(command, env=env, preexec_fn=child.die_with_parent, stdin=subprocess.DEVNULL)
    previous = signal.signal(signal.SIGTERM, lambda *_: running.terminate())
    try:
        code = running.wait()
    finally:
        signal.signal(signal.SIGTERM, previous)
    return int(_failure(nodes.id).read_text(encoding="utf-8")) if code and _failure(nodes.id).exists() else code


def agent(nodes: Nodes, node: int, address: str, per_node: int, module: list[str]) -> int:
    """Be torchrun's agent on one node. The exit code is that of the rank that failed first: 2 is bad input wherever it is found."""
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main

    sys.argv[0] = "torchrun"
    meeting = [
        f"--nnodes={nodes.count}",
        f"--nproc-per-node={per_node}",
        "--rdzv-backend=c10d",
        f"--rdzv-endpoint={nodes.head}:{nodes.port}",
    ]
    meeting += [f"--rdzv-id={nodes.id}", f"--rdzv-conf=is_host={int(node == 0)}", f"--local-addr={address}", "--max-restarts=0"]
    try:
        main([*meeting, *module])
    except ChildFailedError as error:
        code: int = max(error.get_first_failure()[1].exitcode, 1)  # a signal is negative
        # The first to fail writes it down: the scheduler kills the other agents, and would answer with their 137.
        with suppress(FileExistsError), _failure(nodes.id).open("x", encoding="utf-8") as file:
            file.write(str(code))
        return code
    return 0


def follow(place: Path, submission: str) -> int:
    """The other pods of an indexed Job: join whatever the first one starts, until the job's result is there."""
    import time

    done: set[float] = set()
    order = _order(submission, place)
    while not (place / "result.json").exists():
        if order.exists() and (at := order.stat().st_mtime) not in done:
            done.add(at)
            wanted = json.loads(order.read_text(encoding="utf-8"))
            command = [*_agent(Nodes(**wanted["nodes"])), "--ranks", str(wanted["ranks"]), "--", *wanted["module"]]
            env = _network(os.environ | {"RATCHET_JOB": str(place)})
            subprocess.run(command, env=env, preexec_fn=child.die_with_parent)
        time.sleep(1)
    return 0


def _order(submission: str, place: Path | None = None) -> Path:
    return (place or Path(os.environ["RATCHET_JOB"])) / f"launch-{submission}.json"


def _failure(submission: str) -> Path:
    return Path(os.environ["RATCHET_JOB"]) / f"failed-{submission}"


def _agent(nodes: Nodes) -> list[str]:
    given = [f"--{key}={value}" for key, value in asdict(nodes).items()]
    return [sys.executable, "-m", "pipelines.compute.launch", *given]


def _network(env: dict[str, str]) -> dict[str, str]:
    """Training on one host talks over loopback; between nodes over the profile's interface, or whichever the libraries choose."""
    for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
        env.pop(name, None)
        if interface := env.get("RATCHET_NETWORK_INTERFACE"):
            env[name] = interface
    return env


def _slurm_address(node: str) -> str:
    """Slurm's address of a node: its name need not resolve."""
    done = subprocess.run(["scontrol", "show", "node", node, "--oneliner"], capture_output=True, text=True, timeout=60)
    found = re.search(r"\bNodeAddr=(\S+)", done.stdout)
    if found is None:
        raise Unavailable(f"Slurm does not say where node {node} is", where="scontrol show node", todo=done.stderr.strip())
    return found.group(1)


def main(argv: list[str]) -> int:
    """Entry of an agent, and with `--follow JOB_FOLDER` of a pod that waits for one."""
    if argv[:1] == ["--follow"]:
        return follow(Path(argv[1]), os.environ["RATCHET_SUBMISSION"])
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
