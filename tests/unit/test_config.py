import shutil
from pathlib import Path

import pytest
import yaml

from pipelines.config import PROJECT, domain_names, load_domain, load_settings
from pipelines.errors import ConfigError, NotFound


def site(tmp_path: Path) -> dict[str, str]:
    shutil.copytree(PROJECT / "configs", tmp_path / "configs")
    return {"RATCHET_CONFIGS": str(tmp_path / "configs"), "RATCHET_VAR": str(tmp_path / "var")}


def edit(tmp_path: Path, name: str, change: dict[str, object]) -> None:
    path = tmp_path / "configs" / "domains" / f"{name}.yaml"
    values = yaml.safe_load(path.read_text())
    for key, value in change.items():
        *parents, last = key.split(".")
        place = values
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    path.write_text(yaml.safe_dump(values))


def test_every_shipped_domain_loads() -> None:
    settings = load_settings({})
    assert domain_names(settings) == ["clinical", "regulatory"]
    assert [load_domain(name, settings).dataset for name in domain_names(settings)] == ["MedNotes", "ConsumerLeasing"]


def test_a_misspelt_key_is_named_with_its_file_and_the_nearest_right_one(tmp_path: Path) -> None:
    environ = site(tmp_path)
    edit(tmp_path, "regulatory", {"rollout.canary_requets": 0.2})
    with pytest.raises(ConfigError) as caught:
        load_domain("regulatory", load_settings(environ))
    assert "unknown key 'rollout.canary_requets' did you mean 'canary_requests'?" in str(caught.value)
    assert "regulatory.yaml" in str(caught.value)


def test_a_broken_domain_leaves_the_other_alone(tmp_path: Path) -> None:
    environ = site(tmp_path)
    (tmp_path / "configs" / "domains" / "clinical.yaml").write_text("domain: [clinical\n")
    settings = load_settings(environ)
    with pytest.raises(ConfigError, match="not readable as YAML"):
        load_domain("clinical", settings)
    assert load_domain("regulatory", settings).domain == "regulatory"


def test_an_empty_list_of_approvers_is_refused_because_airflow_would_let_anyone_approve(tmp_path: Path) -> None:
    environ = site(tmp_path)
    edit(tmp_path, "regulatory", {"roles.approvers": []})
    with pytest.raises(ConfigError, match=r"roles\.approvers is empty"):
        load_domain("regulatory", load_settings(environ))


def test_a_pattern_for_file_names_has_known_groups(tmp_path: Path) -> None:
    environ = site(tmp_path)
    for pattern, said in (("(?P<name>.*)", "there is no group 'name'"), ("(", "not a regular expression")):
        edit(tmp_path, "clinical", {"sources.file_name": pattern})
        with pytest.raises(ConfigError, match=said):
            load_domain("clinical", load_settings(environ))


def test_limits_of_the_intake_are_read_and_a_misspelt_one_is_named(tmp_path: Path) -> None:
    environ = site(tmp_path)
    edit(tmp_path, "clinical", {"sources.limits": {"seconds": 5}})
    assert load_domain("clinical", load_settings(environ)).sources.limits.seconds == 5
    edit(tmp_path, "clinical", {"sources.limits": {"second": 5}})
    with pytest.raises(ConfigError, match="did you mean 'seconds'"):
        load_domain("clinical", load_settings(environ))


def test_an_unknown_domain_says_which_there_are() -> None:
    with pytest.raises(NotFound, match="did you mean 'regulatory'"):
        load_domain("regulatroy", load_settings({}))


def test_ports_and_var_come_from_the_environment(tmp_path: Path) -> None:
    settings = load_settings({"RATCHET_VAR": str(tmp_path), "RATCHET_PORT_AIRFLOW": "9999"})
    assert settings.url("airflow") == "http://127.0.0.1:9999"
    assert settings.database == f"sqlite:///{tmp_path}/state/ratchet.db"
    with pytest.raises(ConfigError, match=r"ports\.airflow"):
        load_settings({"RATCHET_PORT_AIRFLOW": "99999"})
