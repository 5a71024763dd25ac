"""torchrun over the two nodes of a real Slurm job."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_slurm import TWO, log, wait

from pipelines.compute import files, jobs, launch
from pipelines.config import Settings

RANK = """\
import os, sys, torch
torch.distributed.init_process_group("gloo")
total = torch.tensor([float(os.environ["RANK"]) + 1])
torch.distributed.all_reduce(total)
print("rank", os.environ["RANK"], "on", os.environ["SLURMD_NODENAME"], "sum", int(total), flush=True)
torch.distributed.destroy_process_group()
sys.exit(FAIL if os.environ["RANK"] == "1" else 0)
"""
STEP = """\
import pathlib, sys
from pipelines.compute import launch
sys.exit(launch.ranks(launch.within(), 2, [sys.argv[1]], pathlib.Path("/nowhere")))
"""


@pytest.mark.services
@pytest.mark.usefixtures("slurm_conf")
def test_ranks_on_two_nodes_reduce_together_and_a_failed_rank_gives_its_code(settings: Settings, tmp_path: Path) -> None:
    for job, code in (("well", 0), ("ill", 2)):
        script = tmp_path / f"{job}.py"
        script.write_text(RANK.replace("FAIL", str(code)), encoding="utf-8")
        jobs.start(settings, job, ["-c", STEP, str(script)], TWO)
        wait(settings, job, "done", seconds=60)
        whole = files.log_from(settings, job, 0)[0]
        lines = sorted(line for line in whole.splitlines() if line.startswith("rank"))
        # Ranks are given in the order of meeting.
        assert [line.split()[1] for line in lines] == ["0", "1"] and {line.split()[3] for line in lines} == {"n1", "n2"}, whole
        assert all(line.endswith("sum 3") for line in lines), whole
        assert jobs.result(settings, job)["rc"] == code, log(settings, job)


def test_the_profile_names_the_interface_or_what_the_node_says_stands() -> None:
    node = {"NCCL_SOCKET_IFNAME": "ib0", "PATH": "/bin"}
    assert launch._network(node) == node
    named = launch._network(node | {"RATCHET_NETWORK_INTERFACE": "eth1"})
    assert (named["GLOO_SOCKET_IFNAME"], named["NCCL_SOCKET_IFNAME"]) == ("eth1", "eth1")
