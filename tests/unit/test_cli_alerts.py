"""`ratchet alerts` and `ratchet watch`, as a person types them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from pipelines import cli
from pipelines.config import PROJECT, Settings, load_domain
from pipelines.errors import BadInput, ConfigError, NotFound, Unavailable
from pipelines.monitoring import alerts, holdbacks, incidents
from pipelines.monitoring.detectors import Signal
from pipelines.state.database import transaction

NOW = datetime.now(UTC)


def run(*words: str) -> Result:
    return CliRunner().invoke(cli.app, list(words))


def told(*words: str) -> Any:
    found = run(*words, "--json")
    assert found.exit_code == 0, found.output
    return json.loads(found.stdout)


@pytest.fixture
def site(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("RATCHET_VAR", str(settings.var))
    signal = Signal("raised", "tokens", "all", NOW, 80.0, 20.0, "tokens are 80, they were 20")
    incidents.take(settings, load_domain("regulatory", settings), [signal], NOW)
    return settings


def test_an_incident_is_listed_shown_acknowledged_and_closed(site: Settings) -> None:
    (row,) = told("alerts", "list")
    assert (row["id"], row["severity"], row["told"]) == ("regulatory-i1", "page", 0)
    assert told("alerts", "list", "clinical") == [] and "regulatory-i1" in run("alerts", "list", "regulatory").stdout
    shown = run("alerts", "show", "regulatory-i1").stdout
    assert "tokens are 80, they were 20" in shown and "runbook: docs/runbooks/incident.md" in shown
    assert run("alerts", "ack", "regulatory-i1").exit_code == 0
    assert told("alerts", "show", "regulatory-i1")["acked_by"].startswith("os:")
    assert run("alerts", "close", "regulatory-i1", "--reason", "a load test").exit_code == 0
    assert told("alerts", "list") == [] and told("alerts", "list", "--closed")[0]["state"] == "closed"


def test_a_silence_is_begun_listed_and_ended(site: Settings) -> None:
    (row,) = told("alerts", "silence", "regulatory", "--why", "a load test", "--hours", "2", "--rule", "tokens")
    assert (row["id"], row["rule"]) == (1, "tokens")
    assert [one["why"] for one in told("alerts", "silences", "regulatory")] == ["a load test"]
    assert run("alerts", "unsilence", "1").exit_code == 0 and told("alerts", "silences") == []
    assert run("alerts", "silence", "regulatory").exit_code == 2, "--why is missing"
    assert isinstance(run("alerts", "silence", "regulatory", "--why", "x", "--rule", "nothing").exception, BadInput)


def test_what_is_held_back_is_listed_and_lifted(site: Settings) -> None:
    with transaction(site) as session:
        holdbacks.hold(session, "regulatory", "route_off", "small", minutes=60, by="watcher", reason="regulatory-i1: x", at=NOW)
    assert [one["subject"] for one in told("alerts", "restraints")] == ["small"]
    assert run("alerts", "lift", "1", "--reason", "mended").exit_code == 0 and told("alerts", "restraints", "regulatory") == []


def test_the_test_fails_where_nobody_would_be_told(site: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(run("alerts", "test").exception, Unavailable)
    monkeypatch.setenv("RATCHET_ALERT_URLS", "json://127.0.0.1:9/t0ps3cret")
    found = run("alerts", "test", "regulatory")
    assert found.exit_code == 1 and "it cannot be reached" in found.stdout and "t0ps3cret" not in found.output
    assert isinstance(run("alerts", "test", "nobody").exception, NotFound)


def test_what_a_rule_may_watch(site: Settings) -> None:
    names = {row["measure"] for row in told("alerts", "measures")}
    assert {"tokens_out_mean", "ungrounded_share", "topic_distance", "probe_wrong_share"} <= names


def test_names_that_stand_for_nothing(site: Settings) -> None:
    for words in (("list", "nobody"), ("show", "regulatory-i9"), ("ack", "regulatory-i9"), ("unsilence", "9"), ("silences", "nobody")):
        assert isinstance(run("alerts", *words).exception, NotFound), words


def test_one_round_by_hand(site: Settings) -> None:
    found = run("watch", "--once")
    assert found.exit_code == 0 and "regulatory: its file was read" in found.stdout


def test_a_broken_domain_file_does_not_keep_the_others_addresses_from_being_tested(
    site: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    configs = tmp_path / "configs"
    shutil.copytree(PROJECT / "configs", configs)
    path = configs / "domains" / "clinical.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"nonsense": 1}))
    own = site.model_copy(update={"configs": configs})
    assert alerts.try_all(own, None, "x") == []
    with pytest.raises(ConfigError):
        alerts.try_all(own, "clinical", "x")
