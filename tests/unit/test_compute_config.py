"""Compute profiles: the shipped ones load, a fault is named with its file and key, and no step's address depends on where it runs."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import get_args

import pytest

from pipelines.compute_config import Kubernetes, Local, Slurm, StepName
from pipelines.config import PROJECT, Settings, load_domain, load_profile, load_settings, profile_of
from pipelines.errors import ConfigError
from pipelines.steps.run import STEPS


@pytest.fixture
def site(tmp_path: Path) -> Settings:
    shutil.copytree(PROJECT / "configs", tmp_path / "configs")
    return load_settings({"RATCHET_CONFIGS": str(tmp_path / "configs"), "RATCHET_VAR": str(tmp_path / "var")})


def compute(site: Settings, line: str) -> None:
    path = site.configs / "domains" / "regulatory.yaml"
    path.write_text(f"{path.read_text(encoding='utf-8')}compute: {line}\n", encoding="utf-8")


def test_the_shipped_profiles_load() -> None:
    settings = load_settings({})
    kinds = [type(load_profile(name, settings)) for name in ("local", "slurm", "kubernetes")]
    assert kinds == [Local, Slurm, Kubernetes]


def test_a_site_without_profiles_runs_everything_here(site: Settings) -> None:
    shutil.rmtree(site.configs / "compute")
    domain = load_domain("regulatory", site)
    assert profile_of(domain, "train", site) == Local()


def test_the_domain_says_which_step_runs_where_and_only_training_spreads(site: Settings) -> None:
    before = load_domain("regulatory", site).model_dump()
    compute(site, "{train: slurm, index: slurm}")
    domain = load_domain("regulatory", site)
    assert [profile_of(domain, step, site).gpus for step in ("train", "index", "assemble")] == [2, 1, 0]
    assert domain.model_dump() == before, "where a step runs must not change what its output is addressed by"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{train: slrum}", r"slrum\.yaml: there is no compute profile 'slrum' \(did you mean 'slurm'\?.*known profiles"),
        ("{gate: slurm}", r"regulatory\.yaml: compute\.gate"),
        ("{trian: slurm}", r"regulatory\.yaml: compute\.trian"),
    ],
)
def test_a_wrong_step_or_profile_is_named(site: Settings, line: str, said: str) -> None:
    compute(site, line)
    with pytest.raises(ConfigError, match=said) as caught:
        load_domain("regulatory", site)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        ("slurm", "partition:", "partitoin:", r"slurm\.yaml: unknown key 'partitoin' did you mean 'partition'"),
        ("slurm", "kind: slurm", "kind: slrum", r"there is no kind of compute 'slrum' \(did you mean 'slurm'"),
        ("slurm", "partition: gpu", "partition: 'gpu; rm -rf /'", r"partition"),
        ("kubernetes", "@sha256:", ":latest-", r"image: name the image by digest"),
        ("local", "gpus_here: 0", "price_per_gpu_hour: -1", r"price_per_gpu_hour"),
    ],
)
def test_a_broken_profile_is_named(site: Settings, name: str, old: str, new: str, said: str) -> None:
    path = site.configs / "compute" / f"{name}.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    with pytest.raises(ConfigError, match=said):
        load_profile(name, site)


def test_the_steps_a_domain_may_send_away_exist() -> None:
    assert set(get_args(StepName)) < set(STEPS)
