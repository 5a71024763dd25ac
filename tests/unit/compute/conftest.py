"""A real Slurm for the tests of this folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import slurm_cluster


@pytest.fixture(scope="session")
def _cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with slurm_cluster.cluster(tmp_path_factory.mktemp("slurm")) as conf:
        yield conf


@pytest.fixture
def slurm_conf(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Path:
    """SLURM_CONF names a running two-node cluster with nothing on it. Skips where Slurm is not installed, but not in CI as root."""
    reason = slurm_cluster.absent()
    if reason and not (os.environ.get("CI") and os.getuid() == 0):
        pytest.skip(reason)
    conf: Path = request.getfixturevalue("_cluster")
    monkeypatch.setenv("SLURM_CONF", str(conf))
    slurm_cluster.empty()
    return conf
