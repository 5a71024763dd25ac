"""The release step's loop between row, pointer and traffic log: no question of our own is asked here, so no gateway is needed."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from live import approve, make_live
from releasing import edit, own_configs
from traffic_lines import record, write

from pipelines.config import Settings, load_domain
from pipelines.errors import Conflict, Unavailable
from pipelines.manifest import sha256
from pipelines.registry import artifacts, candidates, pointer
from pipelines.serving import rollout
from pipelines.state.database import transaction
from pipelines.state.models import Arrival, DatasetVersion, RolloutRow, now
from pipelines.steps import release

DOMAIN = "regulatory"
R1, R2, R3 = (f"{DOMAIN}/r{number}" for number in (1, 2, 3))
QUICK: dict[str, Any] = {"canary_requests": 0, "steps": [{"share": 0.1, "minutes": 0}]}
WAITS = QUICK | {"steps": [{"share": 0.1, "minutes": 0, "requests": 40}, {"share": 0.5, "minutes": 0}]}


def add(site: Settings, number: int) -> str:
    """A candidate that nobody has approved yet."""
    with transaction(site) as session:
        session.add(
            Arrival(
                id=f"a{number}",
                domain=DOMAIN,
                folder=f"f{number}",
                seal="s",
                uploader="steward",
                source="t",
                effective="2012-01-01",
                files=1,
            )
        )
        session.flush()
        session.add(
            DatasetVersion(
                id=f"Law_v1.{number}", domain=DOMAIN, major=1, minor=number, snapshot_id="1", arrival_id=f"a{number}",
                known_on="2012-01-01", documents=1, changed={}, content="",
            )
        )  # fmt: skip
    step_hash = sha256(number)
    artifacts.make(site, "index", step_hash, lambda out: (out / "x").write_text("x"))
    index = artifacts.enter(site, "index", DOMAIN, step_hash, {})
    return candidates.assemble(
        site, domain=DOMAIN, version_id=f"Law_v1.{number}", base="b", base_sha256="0", adapter_id=None, index_id=index, prompt="p/v1",
        prompt_sha256="0", policy={}, step_hash=step_hash,
    )  # fmt: skip


@pytest.fixture
def site(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """r1 is live, r2 approved; the loop looks more often than it would."""
    monkeypatch.setattr(release, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(release, "KEPT_SECONDS", 0.1)
    own = own_configs(settings, regulatory={"rollout": QUICK})
    make_live(own, add(own, 1))
    approve(own, add(own, 2))
    return own


class Running:
    """The canary task in a thread, as long as it goes on."""

    def __init__(self, site: Settings) -> None:
        self.result: dict[str, Any] | None = None
        self.error: Exception | None = None
        self._thread = threading.Thread(target=self._run, args=(site,), daemon=True)
        self._thread.start()

    def _run(self, site: Settings) -> None:
        try:
            self.result = release.canary(site, DOMAIN, R2)
        except Exception as error:  # looked at by the test
            self.error = error

    def end(self) -> None:
        self._thread.join(20)
        assert not self._thread.is_alive()


def until(site: Settings, stage: int) -> None:
    for _ in range(1_000):
        row = rollout.get(site, R2)
        if row is not None and len(row.facts["stages"]) > stage:
            return
        threading.Event().wait(0.01)
    raise AssertionError("it did not get there")


def served(site: Settings, n: int, **mine: Any) -> None:
    write(site, DOMAIN, now(), [one for k in range(n) for one in (record(R1, k), record(R2, k, canary=True, **mine))])


def shares(site: Settings) -> tuple[str | None, float]:
    at = pointer.current(site, DOMAIN)
    assert at is not None
    return at.canary_id, at.canary_share


def test_without_dwell_the_canary_takes_no_time_and_a_cleared_task_does_nothing(site: Settings) -> None:
    told = release.canary(site, DOMAIN, R2)
    assert (told["stages"], told["requests"], told["failures"]) == (1, 0, 0)
    assert shares(site) == (R2, 0.1) and candidates.get(site, R2).state == "canary"
    assert release.canary(site, DOMAIN, R2)["skipped"] == f"the rollout of {R2} has passed"
    pointer.promote(site, R2)
    assert release.canary(site, DOMAIN, R2)["skipped"] == f"{R2} is live"


def test_each_step_waits_for_its_requests(site: Settings) -> None:
    edit(site, DOMAIN, rollout=WAITS)
    task = Running(site)
    until(site, 0)
    assert shares(site) == (R2, 0.1)
    served(site, 40)
    task.end()
    assert task.error is None and task.result is not None and task.result["stages"] == 2
    row = rollout.get(site, R2)
    assert row is not None and row.state == "passed" and row.facts["stages"][0]["seen"]["answered"] == 40


def test_a_canary_that_errs_is_taken_back_and_not_begun_again(site: Settings) -> None:
    edit(site, DOMAIN, rollout=WAITS)
    task = Running(site)
    until(site, 0)
    served(site, 39, status=500)
    task.end()
    assert isinstance(task.error, Conflict) and "answers of r2 failed, 0 of " in str(task.error)
    assert shares(site) == (None, 0.0) and candidates.get(site, R2).state == "reverted"
    release.withdraw(site, DOMAIN, R2, "canary failed")
    assert "failed, 0 of" in str(candidates.get(site, R2).reason), "the reason stays its own"
    with pytest.raises(Conflict, match="its rollout ended: reverted"):
        release.canary(site, DOMAIN, R2)
    with pytest.raises(Conflict, match="the rollout of regulatory/r2 is reverted"):
        release.promote(site, DOMAIN, R2)


def test_a_gateway_that_was_first_ends_the_task_with_its_reason(site: Settings) -> None:
    edit(site, DOMAIN, rollout=WAITS)
    task = Running(site)
    until(site, 0)
    rollout.keep(site, R2, {}, rollout.Decision("revert", "errors: 9 of 9"))
    task.end()
    assert isinstance(task.error, Conflict) and "errors: 9 of 9" in str(task.error)


def test_a_killed_task_goes_on_in_its_step(site: Settings) -> None:
    edit(site, DOMAIN, rollout=WAITS)
    _begun(site)
    for number in (0, 1):
        rollout.enter(site, R2, number)
    told = release.canary(site, DOMAIN, R2)
    assert told["stages"] == 2 and shares(site) == (R2, 0.5)


def _begun(site: Settings) -> RolloutRow:
    return rollout.begin(site, load_domain(DOMAIN, site).rollout, R2)


def test_a_rollback_meanwhile_stops_it(site: Settings) -> None:
    edit(site, DOMAIN, rollout=WAITS)
    approve(site, add(site, 3))
    pointer.set_canary(site, R3, 0.1)
    pointer.promote(site, R3)
    task = Running(site)
    until(site, 0)
    pointer.rollback(site, DOMAIN, actor="os:x", reason="wrong")
    task.end()
    assert isinstance(task.error, Conflict) and f"{R3} was live when it began, and {R1} is now" in str(task.error)
    assert candidates.get(site, R2).state == "refused"


def test_too_little_traffic_withdraws_it_where_the_file_says_so(site: Settings) -> None:
    edit(site, DOMAIN, rollout=WAITS | {"hours": 1e-6, "too_little": "withdraw"})
    with pytest.raises(Conflict, match="0 of 40 requests seen in 1e-06 hours: withdraw"):
        release.canary(site, DOMAIN, R2)
    assert candidates.get(site, R2).state == "refused"
    edit(site, DOMAIN, rollout=WAITS | {"hours": 1e-6})
    approve(site, add(site, 3))
    assert release.canary(site, DOMAIN, R3)["reason"].endswith(": promote")


def test_a_second_candidate_waits(site: Settings) -> None:
    release.canary(site, DOMAIN, R2)
    approve(site, add(site, 3))
    with pytest.raises(Conflict, match="regulatory/r2 is in canary"):
        release.canary(site, DOMAIN, R3)


def test_nothing_is_promoted_that_was_not_rolled_out(site: Settings) -> None:
    with pytest.raises(Conflict, match="was not rolled out"):
        release.promote(site, DOMAIN, R2)
    rollout.enter(site, _begun(site).candidate_id, 0)
    with pytest.raises(Conflict, match="the rollout of regulatory/r2 is running"):
        release.promote(site, DOMAIN, R2)


def test_withdrawing_a_rollout_ends_it(site: Settings) -> None:
    rollout.enter(site, _begun(site).candidate_id, 0)
    release.withdraw(site, DOMAIN, R2, "canary failed in run x")
    row = rollout.get(site, R2)
    assert row is not None and (row.state, row.reason) == ("withdrawn", "canary failed in run x")
    assert candidates.get(site, R2).state == "refused" and shares(site) == (None, 0.0)


def test_without_a_gateway_our_own_questions_are_not_answered_and_nobody_else_s_are_sent(site: Settings) -> None:
    edit(site, DOMAIN, rollout={"canary_requests": 1})
    with pytest.MonkeyPatch.context() as patch:
        from pipelines.serving.caller import Caller

        waited = Caller.wait_for
        patch.setattr(Caller, "wait_for", lambda self, name, seconds: waited(self, name, 0.2))
        with pytest.raises(Unavailable, match="the gateway does not answer with regulatory/r2"):
            release.canary(site, DOMAIN, R2)
    assert shares(site) == (R2, 0.0)
