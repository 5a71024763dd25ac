"""Drills: what can be planted, what the throw-away site is, and one by the real watcher and a real receiver."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from live import make_live

from pipelines.config import Settings, load_domain
from pipelines.errors import BadInput, Conflict, Unavailable
from pipelines.governance import audit
from pipelines.manifest import sha256
from pipelines.monitor_config import Burn, Monitors, Revert, Rule, Shift, Threshold
from pipelines.monitoring import drill, drill_site, observations
from pipelines.registry import artifacts, candidates, pointer
from pipelines.state.database import reading, transaction
from pipelines.state.models import AuditEvent, DatasetVersion, Incident, Pointer
from pipelines.traffic import log

BACK = Revert(do="revert")


def domain_with(settings: Settings, *rules: Rule) -> Any:
    domain = load_domain("regulatory", settings)
    return domain.model_copy(update={"monitors": Monitors(rules=rules)})


@pytest.fixture
def live(settings: Settings) -> Settings:
    """A site whose domain has a live release, on parts that nobody opens."""
    step_hash = sha256("index")
    artifacts.make(settings, "index", step_hash, lambda out: (out / "x").write_text("x"))
    index = artifacts.enter(settings, "index", "regulatory", step_hash, {})
    with transaction(settings) as session:
        session.add(
            DatasetVersion(
                id="ConsumerLeasing_v1.0", domain="regulatory", major=1, minor=0, snapshot_id="1", arrival_id="a", known_on="2014-01-01",
                documents=1, changed={}, content="",
            )
        )  # fmt: skip
    name = candidates.assemble(
        settings, domain="regulatory", version_id="ConsumerLeasing_v1.0", base="b", base_sha256="0", adapter_id=None, index_id=index,
        prompt="grounded_extraction/v1", prompt_sha256="0", policy={}, step_hash=step_hash,
    )  # fmt: skip
    make_live(settings, name)
    return settings


# --- what is planted --------------------------------------------------------------------------------------------------


def test_the_usual_rules_can_be_drilled(settings: Settings) -> None:
    rule = drill_site.rule_of(load_domain("regulatory", settings))
    assert (rule.name, rule.measure) == ("tokens", "tokens_out_mean")
    assert drill_site.fault_of(rule) == {"tokens_out": 80}


@pytest.mark.parametrize(
    ("rule", "fault"),
    [
        (Threshold(name="a", measure="tokens_out_mean", above=900, action=BACK), {"tokens_out": 1_800}),
        (Threshold(name="a", measure="ungrounded_share", above=0.1, action=BACK), {"reason": "not_in_passage"}),
        (Shift(kind="shift", name="a", measure="latency_p95", action=BACK), {"latency_ms": 400.0}),
        (Shift(kind="shift", name="a", measure="confidence_mean", direction="down", action=BACK), {"confidence": 0.1}),
        (Burn(kind="burn", name="a", measure="error_share", action=BACK), {"status": 500}),
    ],
)
def test_a_fault_is_what_the_rule_must_not_let_pass(settings: Settings, rule: Rule, fault: dict[str, Any]) -> None:
    assert drill_site.rule_of(domain_with(settings, rule)) == rule
    assert fault.items() <= drill_site.fault_of(rule).items()


@pytest.mark.parametrize(
    "rules",
    [
        (),
        (Shift(kind="shift", name="a", measure="tokens_out_mean"),),
        (Shift(kind="shift", name="a", measure="tokens_out_mean", direction="down", action=BACK),),
        (Threshold(name="a", measure="judged_mean", below=0.5, action=BACK),),
    ],
    ids=["no rule", "only told of", "downwards", "not in the log"],
)
def test_a_domain_without_a_rule_that_can_be_tried_is_told_so(settings: Settings, rules: tuple[Rule, ...]) -> None:
    with pytest.raises(BadInput, match="no rule of regulatory that reverts"):
        drill_site.rule_of(domain_with(settings, *rules))


# --- where ------------------------------------------------------------------------------------------------------------


def test_production_is_drilled_by_force_only(live: Settings) -> None:
    with pytest.raises(BadInput, match="staging"):
        drill.run(live.model_copy(update={"environment": "production"}), "regulatory")
    assert not (live.var / "drill").exists()


def test_nothing_live_is_nothing_to_drill(settings: Settings) -> None:
    with pytest.raises(Conflict, match="no live release"):
        drill.run(settings, "regulatory")


def test_the_throw_away_site_has_the_release_twice_and_the_real_one_is_as_it_was(live: Settings, tmp_path: Path) -> None:
    domain = load_domain("regulatory", live)
    rule = drill_site.rule_of(domain)
    own, good, planted = drill_site.make(live, domain, rule, tmp_path / "place", minutes=5)
    assert (good, planted) == ("regulatory/r1", "regulatory/r2")
    assert own.database != live.database and own.var != live.var
    assert [path.stem for path in (own.configs / "domains").iterdir()] == ["regulatory"]
    theirs = load_domain("regulatory", own)
    assert theirs.monitors.rules == (rule,) and theirs.gate == domain.gate and theirs.roles == domain.roles
    now = datetime.now(UTC)
    drill_site.go_live(own, "regulatory", planted, now)
    assert candidates.get(own, good).state == "retired" and candidates.get(own, planted).state == "live"
    assert pointer.rollback(own, "regulatory", actor="watcher", reason="a test") == good
    assert [one.release for one in pointer.live_on(own, "regulatory")] == [good]
    with reading(live) as session:
        assert session.get_one(Pointer, "regulatory").live_id == "regulatory/r1"
        assert session.query(Incident).count() == 0


def test_its_traffic_is_a_log_like_any_other(live: Settings, tmp_path: Path) -> None:
    domain = load_domain("regulatory", live)
    own, good, planted = drill_site.make(live, domain, drill_site.rule_of(domain), tmp_path / "place", minutes=5)
    now = datetime.now(UTC)
    count = drill_site.past(own, "regulatory", good, now)
    assert count == drill_site.PAST / timedelta(seconds=1) * drill_site.A_SECOND
    drill_site.append(own, "regulatory", count, now, planted, {"tokens_out": 80})
    *usual, last = log.read(own, "regulatory")
    assert len(usual) == count and {one["release"] for one in usual} == {good}
    assert (last["release"], last["tokens_out"], last["status"]) == (planted, 80, 200)


# --- the real thing ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.services
def test_a_planted_release_is_told_of_and_taken_back(live: Settings) -> None:
    found = drill.run(live, "regulatory", actor="tester")
    assert found["ok"] and found["release"] == "regulatory/r1" and found["planted"] == "regulatory/r2"
    assert found["revert_s"] > 0 and found["alert_s"] > 0
    now = datetime.now(UTC) + timedelta(minutes=1)
    rows = observations.read(live, "regulatory", {"drill_alert_seconds", "drill_revert_seconds"}, now - timedelta(hours=1), now)
    assert {row.measure: row.value for row in rows} == {"drill_alert_seconds": found["alert_s"], "drill_revert_seconds": found["revert_s"]}
    with reading(live) as session:
        (event,) = session.query(AuditEvent).filter(AuditEvent.action == "drill.ran")
        assert (event.actor, event.subject, event.allowed) == ("tester", "regulatory", True)
        assert session.get_one(Pointer, "regulatory").live_id == "regulatory/r1"
        assert session.query(Incident).count() == 0, "the real site knows of no incident"
        assert audit.verify(session)[1] == []
    assert not (live.var / "drill" / "regulatory").exists()


@pytest.mark.slow
@pytest.mark.services
def test_a_drill_without_an_alert_fails_and_says_where_to_look(live: Settings) -> None:
    with pytest.raises(Unavailable, match="no alert and no revert within 0 s"):
        drill.run(live, "regulatory", seconds=0.0)
    with reading(live) as session:
        (event,) = session.query(AuditEvent).filter(AuditEvent.action == "drill.ran")
        assert not event.allowed
    (kept,) = (live.var / "drill" / "regulatory").iterdir()
    assert (kept / "watcher.log").is_file()
