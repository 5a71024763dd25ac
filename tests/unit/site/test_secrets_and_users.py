"""Secrets are drawn once and closed to others; rights follow the domain files."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from pipelines.config import PROJECT, Settings, load_domain
from pipelines.errors import BadInput, ConfigError
from pipelines.site import secrets, users
from pipelines.site.airflow_env import airflow_env
from pipelines.site.pools import pools


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_secrets_are_drawn_once_and_readable_by_the_owner_only(settings: Settings) -> None:
    first, fresh = secrets.ensure(settings, ("admin", "viewer"))
    assert set(fresh) == {"admin", "viewer"}
    again, fresh_again = secrets.ensure(settings, ("admin", "viewer", "maria"))
    assert set(fresh_again) == {"maria"}
    assert again.fernet_key == first.fernet_key and again.passwords["admin"] == first.passwords["admin"]
    assert mode(settings.secrets) == 0o700
    assert {mode(path) for path in settings.secrets.glob("*.json")} == {0o600}
    assert first.passwords["admin"] not in repr(first)


def test_secrets_that_others_may_read_are_refused(settings: Settings) -> None:
    secrets.ensure(settings)
    (settings.secrets / "users.json").chmod(0o644)
    with pytest.raises(BadInput, match="readable by others"):
        secrets.password(settings, "admin")


def test_the_airflow_environment_names_its_own_port_and_stays_silent(settings: Settings) -> None:
    env = airflow_env(settings)
    assert env["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"] == f"{settings.url('airflow')}/execution/"
    assert env["AIRFLOW__API__HOST"] == "127.0.0.1"
    assert env["DO_NOT_TRACK"] == "1" and env["RATCHET_VAR"] == str(settings.var)
    assert "[usage_data_collection]\n# Nothing leaves this host.\nenabled = False" in (PROJECT / "airflow.cfg").read_text()


@pytest.fixture
def law(settings: Settings, tmp_path: Path) -> Settings:
    folder = tmp_path / "configs" / "domains"
    folder.mkdir(parents=True)
    (folder / "law.yaml").write_text(
        "domain: law\ndescription: d\nowner: o\ndataset: Law\nsources: {formats: [jsonl]}\ncontract: {expectations: []}\n"
        "privacy: {profile: public}\ntask: {}\ngate: {goldens: g.jsonl, floors: {}}\nroles: {stewards: [maria], approvers: [ann, bob]}\n",
        encoding="utf-8",
    )
    (folder / "bad.yaml").write_text("domain: bad\n", encoding="utf-8")
    return settings.model_copy(update={"configs": folder.parent})


def test_people_named_in_a_domain_file_get_its_roles(law: Settings) -> None:
    people = users.members(law)
    assert people["ann"] == people["bob"] == ["law.approver"] and people["maria"] == ["law.steward"]
    assert people["admin"] == ["Admin"] and people[secrets.SERVICE_USER] == ["Service"]


def test_an_approver_may_answer_but_not_run_and_a_steward_the_reverse(law: Settings) -> None:
    rights = users.roles(law)
    assert ("can_edit", "HITL Detail") in rights["law.approver"] and ("can_create", "DAG Runs") not in rights["law.approver"]
    assert ("can_edit", "Task Instances") not in rights["law.approver"]
    assert ("can_create", "DAG Runs") in rights["law.steward"] and ("can_edit", "HITL Detail") not in rights["law.steward"]
    assert not [right for right in rights["Service"] if right[0] not in ("can_read", "menu_access") and right[1] != "My Password"]
    assert "bad.steward" in rights  # its DAGs must parse as soon as the file is mended


def test_no_account_is_an_error_and_never_an_empty_list(law: Settings) -> None:
    domain = load_domain("law", law)
    with pytest.raises(ConfigError, match=r"roles\.approvers"):
        users.assigned_users(law, domain)
    users.ids_file(law).parent.mkdir(parents=True)
    secrets.write(users.ids_file(law), {"bob": "4", "admin": "1"})
    assert users.assigned_users(law, domain) == [{"id": "4", "name": "bob"}]


def test_the_gpu_pool_is_as_large_as_the_profiles_that_domains_name(law: Settings) -> None:
    assert pools(law, users.domains(law))["gpu"]["slots"] == 0
    folder = law.configs / "compute"
    folder.mkdir()
    (folder / "big.yaml").write_text("{kind: slurm, gpus_per_node: 8, jobs_at_once: 2}", encoding="utf-8")
    (folder / "unused.yaml").write_text("{kind: slurm, gpus_per_node: 8}", encoding="utf-8")
    path = law.configs / "domains" / "law.yaml"
    path.write_text(path.read_text(encoding="utf-8") + "compute: {train: big, index: big}\n", encoding="utf-8")
    assert pools(law, users.domains(law))["gpu"]["slots"] == 16
