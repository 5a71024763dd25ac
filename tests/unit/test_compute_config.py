"""Compute profiles: the shipped ones load, a fault is named with its file and key, and no step's address depends on where it runs."""

from __future__ import annotations

import shutil
from configparser import ConfigParser
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

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


def recipe(site: Settings, **values: Any) -> None:
    path = site.configs / "domains" / "regulatory.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text(encoding="utf-8")) | {"recipe": values}), encoding="utf-8")


def test_the_shipped_profiles_load_and_airflow_waits_for_their_jobs_to_end() -> None:
    settings, airflow = load_settings({}), ConfigParser(interpolation=None)
    airflow.read(PROJECT / "airflow.cfg", encoding="utf-8")
    profiles = [load_profile(name, settings) for name in ("local", "slurm", "kubernetes")]
    assert [type(profile) for profile in profiles] == [Local, Slurm, Kubernetes]
    assert max(profile.ending_seconds for profile in profiles) < airflow.getint("triggerer", "on_kill_timeout")


@pytest.mark.parametrize(("nodes", "ranks"), [(2, 1), (2, 3), (4, 2)])
def test_nodes_without_an_even_share_of_the_ranks_are_refused(site: Settings, nodes: int, ranks: int) -> None:
    (site.configs / "compute" / "more.yaml").write_text(f"{{kind: slurm, nodes: {nodes}}}", encoding="utf-8")
    recipe(site, ranks=ranks, batch_sequences=ranks)
    compute(site, "{train: more}")
    said = rf"regulatory\.yaml: compute\.train: more has {nodes} nodes.* {ranks} ranks .*set recipe\.ranks to {nodes} or"
    with pytest.raises(ConfigError, match=said):
        load_domain("regulatory", site)


def test_a_site_without_profiles_runs_everything_here(site: Settings) -> None:
    shutil.rmtree(site.configs / "compute")
    domain = load_domain("regulatory", site)
    assert profile_of(domain, "train", site) == Local()


def test_the_domain_says_which_step_runs_where_and_only_training_spreads(site: Settings) -> None:
    (site.configs / "compute" / "two.yaml").write_text("{kind: slurm, nodes: 2, gpus_per_node: 1}", encoding="utf-8")
    recipe(site, ranks=2)
    before = load_domain("regulatory", site).model_dump()
    compute(site, "{train: two, index: two}")
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
        ("slurm", "time_limit_minutes: 720", "time_limit_minutes: 2", r"signal_seconds \(120\) leaves nothing of time_limit_minutes"),
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
