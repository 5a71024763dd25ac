"""A rollout between its row, the pointer and the traffic log; no gateway is needed for any of it."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from traffic_lines import record, write

from pipelines.config import PROJECT, Settings
from pipelines.errors import Conflict
from pipelines.manifest import sha256
from pipelines.registry import artifacts, candidates, pointer, views
from pipelines.rollout_config import Rollout, Stage
from pipelines.serving import rollout
from pipelines.serving.canary.records import GRACE, Following
from pipelines.serving.canary.weighing import Decision
from pipelines.state.database import migrate, reading, transaction
from pipelines.state.models import Approval, DatasetVersion, RolloutRow, now

LIVE, MINE = "d/r1", "d/r2"
POLICY = Rollout(shadow=Stage(share=0.2, minutes=5), steps=(Stage(share=0.1, minutes=10), Stage(share=0.5, minutes=10)))
DOMAIN = {
    "domain": "d", "description": "d", "owner": "someone", "dataset": "Set", "sources": {"formats": ["jsonl"]},
    "contract": {"expectations": []}, "privacy": {"profile": "public"}, "task": {}, "gate": {"goldens": "g.jsonl", "floors": {}},
    "roles": {"approvers": ["approver"]},
}  # fmt: skip


@pytest.fixture
def place(tmp_path: Path) -> Settings:
    """A site with a live release d/r1 and an approved candidate d/r2."""
    (tmp_path / "configs" / "domains").mkdir(parents=True)
    (tmp_path / "configs" / "domains" / "d.yaml").write_text(json.dumps(DOMAIN))
    settings = Settings(var=tmp_path / "var", configs=tmp_path / "configs")
    migrate(settings)
    for number in (1, 2):
        candidate(settings, number)
    pointer.set_canary(settings, LIVE, 0.1)
    pointer.promote(settings, LIVE)
    return settings


def candidate(settings: Settings, number: int) -> str:
    version, step_hash = f"Set_v1.{number}", sha256(number)
    artifacts.make(settings, "index", step_hash, lambda out: (out / "x").write_text("x"))
    index = artifacts.enter(settings, "index", "d", step_hash, {})
    with transaction(settings) as session:
        session.add(
            DatasetVersion(
                id=version, domain="d", major=1, minor=number, snapshot_id="1", arrival_id=f"a{number}", known_on="2012-01-01", documents=1,
                changed={}, content="",
            )
        )  # fmt: skip
    name = candidates.assemble(
        settings, domain="d", version_id=version, base="b", base_sha256="0", adapter_id=None, index_id=index, prompt="p/v1",
        prompt_sha256="0", policy={}, step_hash=step_hash,
    )  # fmt: skip
    with transaction(settings) as session:
        for state in ("gated", "approved"):
            candidates.move(session, name, state)
        session.add(Approval(candidate_id=name, decision="approved", actor="approver", responded_at=now(), source="test"))
    return name


def served(settings: Settings, n: int = 200, **mine: Any) -> None:
    """As much traffic of both, a moment ago; the candidate's differs by `mine`."""
    lines = [one for k in range(n) for one in (record(LIVE, k), record(MINE, k, canary=True, **mine))]
    write(settings, "d", now(), lines)


def begun(settings: Settings, policy: Rollout = POLICY, stage: int = 1) -> rollout.Watch:
    rollout.begin(settings, policy, MINE)
    for number in range(stage + 1):
        rollout.enter(settings, MINE, number)
    return rollout.Watch(settings, MINE)


def later(**much: float) -> Any:
    return now() + timedelta(**much) + GRACE


def at(settings: Settings) -> tuple[str | None, str | None, float, float]:
    found = pointer.current(settings, "d")
    assert found is not None
    return found.live_id, found.canary_id, found.canary_share, found.shadow_share


def test_a_shadow_answers_nobody_then_the_share_rises_by_steps(place: Settings) -> None:
    rollout.begin(place, POLICY, MINE)
    assert at(place) == (LIVE, MINE, 0.0, 0.0), "nobody is answered by it before the first stage"
    for number, shares in enumerate([(0.0, 0.2), (0.1, 0.0), (0.5, 0.0)]):
        rollout.enter(place, MINE, number)
        rollout.enter(place, MINE, number)
        assert at(place) == (LIVE, MINE, *shares)
    row = rollout.get(place, MINE)
    assert row is not None and row.stage == 2 and [one["shadow"] for one in row.facts["stages"]] == [True, False, False]


def test_a_bad_canary_is_taken_back_with_its_reason(place: Settings) -> None:
    watch = begun(place)
    assert watch.look().what == "go on"
    served(place, status=503)
    decision = watch.look(later(seconds=5))
    assert decision.what == "revert" and decision.reason.startswith("errors: ")
    assert rollout.keep(place, MINE, watch.seen(), decision) is True
    assert rollout.keep(place, MINE, watch.seen(), decision) is False
    assert at(place) == (LIVE, None, 0.0, 0.0)
    row = candidates.get(place, MINE)
    assert (row.state, row.reason) == ("reverted", decision.reason)
    told = [one for one in views.audit_events(place, MINE, 50) if one["action"] == "rollout.reverted"]
    assert len(told) == 1 and told[0]["allowed"] is False and told[0]["detail"]["seen"]["tests"]["errors"]["candidate"][0] > 0
    with pytest.raises(Conflict, match="its rollout ended: reverted, errors: "):
        rollout.begin(place, POLICY, MINE)
    with pytest.raises(Conflict, match="was reverted"):
        watch.look()


def test_an_equal_canary_passes_its_stages(place: Settings) -> None:
    watch = begun(place)
    served(place)
    assert [watch.look(later(minutes=minutes)).what for minutes in (1, 11)] == ["go on", "next stage"]
    rollout.enter(place, MINE, 2)
    decision = watch.look(later(minutes=11))
    assert decision.what == "pass"
    rollout.keep(place, MINE, watch.seen(), decision)
    row = rollout.get(place, MINE)
    assert row is not None and row.state == "passed" and at(place)[1] == MINE, "promotion is the step's"


def test_a_killed_task_goes_on_where_it_was(place: Settings) -> None:
    first = begun(place)
    served(place, abstained=True, n=6)
    first.look(later(seconds=5))
    rollout.keep(place, MINE, first.seen())
    again = rollout.Watch(place, MINE)
    row = rollout.begin(place, Rollout(), MINE)
    assert row.stage == 1 and rollout.policy_of(row).steps == POLICY.steps, "it goes by what the file said when it began"
    again.look(later(seconds=5))
    assert again.seen() == first.seen() and first.seen()["tests"]["withheld"]["candidate"] == [6, 6]


def test_a_rollback_meanwhile_ends_the_rollout(place: Settings) -> None:
    third = candidate(place, 3)
    pointer.set_canary(place, MINE, 0.1)
    pointer.promote(place, MINE)
    rollout.begin(place, POLICY, third)
    rollout.enter(place, third, 0)
    pointer.rollback(place, "d", actor="os:x", reason="wrong")
    why = "d/r2 was live when it began, and d/r1 is now"
    assert rollout.Watch(place, third).look() == Decision("withdraw", why)
    assert rollout.watch_once(place) == [f"d/r3 was withdrawn: {why}"]
    assert candidates.get(place, third).state == "refused"


def test_a_canary_that_somebody_ended_is_withdrawn(place: Settings) -> None:
    watch = begun(place)
    pointer.end_canary(place, MINE)
    assert watch.look() == Decision("withdraw", "it was taken out of the canary")


def test_two_rollouts_of_one_domain_do_not_run_at_once(place: Settings) -> None:
    begun(place)
    with pytest.raises(Conflict, match="d/r2 is in canary"):
        rollout.begin(place, POLICY, candidate(place, 3))


def test_the_first_release_of_a_domain_is_compared_with_nothing(place: Settings) -> None:
    (only,) = rollout.places(POLICY, None)
    assert not only.shadow and (only.stage.minutes, only.stage.requests) == (0, 0)


# --- beside Airflow ---------------------------------------------------------------------------------------------------


def test_a_gateway_takes_a_bad_canary_back_while_no_step_runs(place: Settings) -> None:
    assert rollout.watch_once(place) == []
    begun(place)
    served(place, abstained=True)
    assert rollout.watch_once(place) == [], "too young to be sure of their order"
    with transaction(place) as session:  # as if all this had been a while ago
        row = session.get_one(RolloutRow, MINE)
        row.facts = row.facts | {"stages": [one | {"began": (now() - timedelta(minutes=9)).isoformat()} for one in row.facts["stages"]]}
    rollout._WATCHES.clear()
    write(place, "d", now() - timedelta(minutes=5), [record(MINE, k + 900, canary=True, status=500) for k in range(200)])
    write(place, "d", now() - timedelta(minutes=5), [record(LIVE, k + 900) for k in range(200)])
    (line,) = rollout.watch_once(place)
    assert line.startswith("d/r2 was taken back: ") and at(place) == (LIVE, None, 0.0, 0.0)
    assert rollout.watch_once(place) == []


def test_a_gateway_neither_promotes_nor_moves_a_stage(place: Settings) -> None:
    begun(place, Rollout(), stage=0)
    assert rollout.watch_once(place) == []
    row = rollout.get(place, MINE)
    assert row is not None and row.state == "running" and at(place)[0] == LIVE


def test_of_several_processes_one_watches(place: Settings) -> None:
    begun(place)
    assert rollout.watch_once(place) == [] and place.var in rollout._HELD
    code = (
        "from pathlib import Path; from pipelines.config import Settings; from pipelines.serving import rollout;"
        f"s = Settings(var=Path({str(place.var)!r}), configs=Path({str(place.configs)!r}));"
        "print(rollout.watch_once(s), s.var in rollout._HELD)"
    )
    other = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert other.stdout.split() == ["[]", "False"]
    rollout.keep(place, MINE, {}, Decision("withdraw", "enough"))
    rollout.watch_once(place)
    assert place.var not in rollout._HELD, "it is let go of when nothing runs"


# --- the log ----------------------------------------------------------------------------------------------------------


def test_records_come_in_the_order_of_their_times_whatever_file_they_are_in(place: Settings) -> None:
    since = now().replace(microsecond=0)
    log = Following(place, "d", since)
    assert log.new(since) == []
    write(place, "d", since + timedelta(seconds=3), [record("b")])
    other = place.var / "traffic" / "d" / f"{since:%Y-%m-%dT%H}-2-def-1.jsonl"
    other.write_text(json.dumps({"at": (since + timedelta(seconds=2)).isoformat(), **record("a")}) + "\n")
    write(place, "d", since - timedelta(seconds=1), [record("before")])
    assert [one["release"] for _, one in log.new(since + timedelta(seconds=3))] == ["a"]
    assert [one["release"] for _, one in log.new(since + timedelta(seconds=9))] == ["b"]


def test_a_line_half_written_waits_and_a_broken_one_is_left_out(place: Settings) -> None:
    since = now().replace(microsecond=0)
    log = Following(place, "d", since)
    path = write(place, "d", since, [record("a")], end="")
    assert log.new(since + timedelta(seconds=9)) == []
    with path.open("a") as file:
        file.write('\nno json\n[1]\n{"at": "yesterday"}\n{"release": "x"}\n')
    write(place, "d", since, [record("b")])
    assert [one["release"] for _, one in log.new(since + timedelta(seconds=9))] == ["a", "b"]
    assert log.new(since + timedelta(seconds=9)) == []


def test_live_s_own_figures_are_those_from_before(place: Settings) -> None:
    write(place, "d", now() - timedelta(minutes=30), [record(LIVE, k) for k in range(300)])
    row = rollout.begin(place, POLICY, MINE)
    assert row.facts["lines"]["latency"] == 144.0 and row.facts["known"]["errors"] == [0, 300]
    with reading(place) as session:
        assert "question" not in json.dumps(session.get_one(RolloutRow, MINE).facts)
