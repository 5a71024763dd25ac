"""Who is asked and what they read, answers, no answer, and the domain's policy, up to the pointer. No release is trained or served here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from live import make_live
from releasing import edit, own_configs

from pipelines.config import Settings, load_domain
from pipelines.errors import BadInput, Conflict, GateRefused, NotAllowed, NotFound
from pipelines.governance import audit
from pipelines.registry import artifacts, candidates, pointer, rights, views
from pipelines.state.database import reading, transaction
from pipelines.state.models import Approval, Arrival, Candidate, DatasetVersion, GateReport, Plan, now
from pipelines.steps import approval, approval_body

pytestmark = pytest.mark.slow

DOMAIN = "regulatory"
AT = "2026-01-02T03:04:05+00:00"
POLICY = {"auto_approve": {"max_changed_share": 0.02, "max_loss": 0.02}}
ROLES = {"stewards": ["steward"], "approvers": ["approver", "deputy"]}


def metric(value: float, upper: float | None = 0.01, **more: Any) -> dict[str, Any]:
    """An entry of a gate report."""
    told = {
        "value": value, "low": value - 0.05, "high": value + 0.04, "n": 200, "missing": 0, "floor": 0.9, "margin": 0.05, "votes": True,
        "live": {"value": value}, "loss": {"value": 0.0, "low": -0.01, "high": 0.01, "upper": upper, "p_worse": 0.5}, "outcome": "pass",
    }  # fmt: skip
    return told | more


def add(site: Settings, minor: int, uploader: str = "steward", index: str = "index", adapter: str | None = None) -> str:
    """A version of the domain and the candidate that a plan `index` makes of it, not judged yet."""
    name = f"Law_v1.{minor}"
    against = pointer.current(site, DOMAIN)
    with transaction(site) as session:
        session.add(
            Arrival(
                id=f"a{minor}", domain=DOMAIN, folder=f"f{minor}", seal="s", uploader=uploader, source="t", effective="2012-01-01", files=1
            )
        )
        session.flush()
        parent = f"Law_v1.{minor - 1}" if minor else None
        session.add(
            DatasetVersion(
                id=name, domain=DOMAIN, major=1, minor=minor, snapshot_id="1", arrival_id=f"a{minor}", known_on="2012-01-01",
                documents=100, changed={}, content=f"c{minor}", parent_id=parent,
            )
        )  # fmt: skip
        session.flush()
        signals = {"against": against.live_id if against else None, "documents": {"amended": 1}, "new_retrieval": False}
        cost = {"basis": "metered", "money": 1.25, "currency": "EUR"}
        session.add(Plan(version_id=name, domain=DOMAIN, kind="index", reason="r", cost=cost, signals=signals))
    step_hash = f"{minor:016x}{index}".ljust(64, "0")
    artifacts.make(site, "index", step_hash, lambda out: (out / "x").write_text("x"))
    part = artifacts.enter(site, "index", DOMAIN, step_hash, {"version": name})
    return candidates.assemble(
        site, domain=DOMAIN, version_id=name, base="b", base_sha256="0", adapter_id=adapter, index_id=part,
        prompt="grounded_extraction/v1", prompt_sha256="p", policy={"passages": 1}, step_hash=step_hash,
    )  # fmt: skip


def judge(site: Settings, candidate: str, state: str = "gated", **changes: Any) -> None:
    """A report that passes, with the live release compared; `changes` replace its columns."""
    at = pointer.current(site, DOMAIN)
    told = {
        "verdict": "pass", "reasons": ["every margin holds"], "metrics": {"exact": metric(0.95), "safety/leaks": metric(1.0)},
        "against": at.live_id if at else None, "path": "gate_report/x", "step_hash": "5" * 64,
    }  # fmt: skip
    with transaction(site) as session:
        session.merge(GateReport(candidate_id=candidate, created_at=now(), **(told | changes)))
        if state == "gated":
            candidates.move(session, candidate, "gated")


@pytest.fixture
def site(settings: Settings) -> Settings:
    """r1 is live; r2, with another index, has passed its gate."""
    own = own_configs(settings, regulatory={"roles": ROLES})
    make_live(own, add(own, 0))
    judge(own, add(own, 1))
    return own


R1, R2 = f"{DOMAIN}/r1", f"{DOMAIN}/r2"


def answer(site: Settings, who: str, option: str = "Approve", candidate: str = R2) -> None:
    approval.authorise(site, DOMAIN, candidate, responded_by=who, option=option, responded_at=AT, source="regulatory.release/run/approve")


def given(site: Settings, candidate: str = R2) -> Approval | None:
    with reading(site) as session:
        return session.get(Approval, candidate)


def state(site: Settings, candidate: str = R2) -> str:
    return candidates.get(site, candidate).state


def events(site: Settings, action: str = "candidate.approval") -> list[dict[str, Any]]:
    with reading(site) as session:
        assert audit.verify(session)[1] == []
    return [one for one in views.audit_events(site, R2, 100) if one["action"] == action]


# --- the question -----------------------------------------------------------------------------------------------------


def test_the_approver_reads_verdict_intervals_losses_cost_and_where_the_report_is(site: Settings) -> None:
    asked = approval.question(site, DOMAIN, R2, "no policy")
    assert asked.approvers == ["approver", "deputy"]
    assert "Candidate **regulatory/r2** against **regulatory/r1**: **pass**".replace("/", r"\/") in asked.body
    assert "| goldens | exact | 0.950 [0.900, 0.990] | 0.900 | 0.000 | 0.010 | 0.050 |" in asked.body
    assert "| safety | leaks | 1.000 " in asked.body
    assert "* every margin holds" in asked.body
    assert r"100 documents; 1 amended; plan: index; prompt: grounded\_extraction\/v1." in asked.body
    assert "Cost: training 1.25 EUR." in asked.body
    assert "[Gate report](/release-board/report/regulatory/r2)" in asked.body
    assert "policy" not in asked.body, "the domain has none"


def test_why_the_policy_did_not_approve_is_told_where_there_is_one(site: Settings) -> None:
    edit(site, DOMAIN, rollout=POLICY)
    assert "Not approved by the domain's policy: 9\\.0\\% changed." in approval.question(site, DOMAIN, R2, "9.0% changed").body


def test_what_is_not_ours_is_neither_markdown_nor_html(site: Settings) -> None:
    hostile = "<img src=x onerror=alert(1)> [click](https://evil.example) ![](http://e.example/p.png) **b** | x\n# big `c` www.evil.example"
    judge(site, R2, state="", reasons=[hostile], metrics={hostile: metric(0.9)})
    body = approval.question(site, DOMAIN, R2).body
    for raw in ("<img", "[click](", "![](", "**b**", "\n# ", "`c`", "https://e", "//evil", "www.evil"):
        assert raw not in body, raw
    (line,) = (line for line in body.splitlines() if line.startswith("* "))
    assert line.startswith(r"* &lt;img src\=x onerror\=alert\(1\)&gt; \[click\]")
    (row,) = (line for line in body.splitlines() if "0.900 [" in line)
    assert row.replace(r"\|", "").count("|") == 8, "a name adds no cell"


@pytest.mark.parametrize("metrics", [{"exact": 0.5}, {"exact": {"value": None}}, {}, {"exact": {"value": 0.5, "loss": 0.1, "upper": None}}])
def test_an_old_report_is_shown_with_what_it_has(site: Settings, metrics: dict[str, Any]) -> None:
    shown = {"candidate": R2, "metrics": metrics}
    body = approval_body.markdown(site, candidates.get(site, R2), shown)
    assert "against **nothing**" in body and "Gate report" in body
    assert ("| goldens | exact |" in body) == bool(metrics)


def test_who_may_approve_is_looked_up_when_it_is_asked(site: Settings) -> None:
    edit(site, DOMAIN, roles=ROLES | {"approvers": ["newcomer"]})
    assert approval.question(site, DOMAIN, R2).approvers == ["newcomer"]


def test_who_delivered_is_not_asked_and_nobody_left_is_said(site: Settings) -> None:
    edit(site, DOMAIN, roles={"stewards": ["steward"], "approvers": ["steward", "deputy"]})
    assert approval.question(site, DOMAIN, R2).approvers == ["deputy"]
    edit(site, DOMAIN, roles={"stewards": ["steward"], "approvers": ["steward"]})
    with pytest.raises(NotAllowed, match=r"every approver of regulatory \(steward\) delivered data"):
        approval.question(site, DOMAIN, R2)


def test_what_the_gate_does_not_pass_is_not_asked(site: Settings) -> None:
    judge(site, R2, state="", verdict="inconclusive", reasons=["a judge that timed out"])
    with pytest.raises(GateRefused, match="gate inconclusive: a judge that timed out"):
        approval.question(site, DOMAIN, R2)
    with pytest.raises(GateRefused, match="no gate report"):
        approval.question(site, DOMAIN, add(site, 2))


# --- an answer, and none ----------------------------------------------------------------------------------------------


def test_an_approval_is_recorded_once(site: Settings) -> None:
    answer(site, "approver")
    answer(site, "deputy")
    found = given(site)
    assert found is not None and (found.actor, found.decision, found.responded_at.isoformat()) == ("approver", "approved", AT)
    assert state(site) == "approved" and [(one["actor"], one["allowed"]) for one in events(site)] == [("approver", True)]


@pytest.mark.parametrize(
    ("who", "option", "why", "then"),
    [
        ("stranger", "Approve", "'stranger' is not an approver of regulatory", "gated"),
        ("stranger", "Reject", "'stranger' is not an approver of regulatory", "gated"),
        ("", "Approve", "'' is not an approver", "gated"),
        ("approver", "Reject", "approver answered 'Reject'", "refused"),
        ("approver", "approve", "approver answered 'approve'", "refused"),
    ],
)
def test_what_is_no_approval(site: Settings, who: str, option: str, why: str, then: str) -> None:
    with pytest.raises(NotAllowed, match=why):
        answer(site, who, option)
    assert (state(site), given(site)) == (then, None)
    assert [(one["actor"], one["allowed"]) for one in events(site)] == [(who or "nobody", False)]
    assert pointer.current(site, DOMAIN).live_id == R1  # type: ignore[union-attr]


def test_who_delivered_may_not_approve(site: Settings) -> None:
    edit(site, DOMAIN, roles=ROLES | {"approvers": ["steward", "deputy"]})
    with pytest.raises(NotAllowed, match="'steward' delivered the data and may not approve it"):
        answer(site, "steward")
    assert (state(site), given(site)) == ("gated", None)


def test_an_approver_of_another_domain_has_no_say(site: Settings) -> None:
    with pytest.raises(BadInput, match="is of regulatory, not of clinical"):
        approval.authorise(site, "clinical", R2, responded_by="approver", option="Approve", responded_at=AT, source="s")
    with pytest.raises(NotFound):
        answer(site, "approver", candidate=f"{DOMAIN}/r9")
    assert given(site) is None


def test_an_approval_that_does_not_stand_is_replaced_by_somebody_elses(site: Settings) -> None:
    answer(site, "approver")
    edit(site, DOMAIN, roles=ROLES | {"approvers": ["deputy"]})
    answer(site, "deputy")
    assert given(site).actor == "deputy" and state(site) == "approved"  # type: ignore[union-attr]


def test_a_rejection_counts_until_the_candidate_is_in_service(site: Settings) -> None:
    answer(site, "approver")
    with pytest.raises(NotAllowed, match="deputy answered 'Reject'"):
        answer(site, "deputy", "Reject")
    assert state(site) == "refused"
    with pytest.raises(Conflict):
        pointer.set_canary(site, R2, 0.1)
    answer(site, "deputy", "Reject", candidate=R1)
    assert (state(site, R1), given(site, R1).actor) == ("live", "approver")  # type: ignore[union-attr]


def test_nobody_answered(site: Settings) -> None:
    for _ in range(2):
        assert approval.expired(site, R2, hours=0.5, source="regulatory.release/run/approve") == "nobody answered in 0.5 hours"
    found = candidates.get(site, R2)
    assert (found.state, found.reason) == ("refused", "nobody answered in 0.5 hours")
    assert [(one["actor"], one["allowed"], one["detail"]["refusal"]) for one in events(site)] == [("nobody", False, found.reason)]
    with pytest.raises(Conflict, match="was refused: nobody answered"):
        approval.question(site, DOMAIN, R2)
    with pytest.raises(Conflict):
        answer(site, "approver")


def test_nobody_answering_takes_no_approval_back(site: Settings) -> None:
    answer(site, "approver")
    for name in (R1, R2):
        approval.expired(site, name, hours=72, source="s")
    assert (state(site, R1), state(site)) == ("live", "approved")


# --- asked again before anything is served ----------------------------------------------------------------------------


def leave(site: Settings) -> None:
    edit(site, DOMAIN, roles=ROLES | {"approvers": ["deputy"]})


def deliver_it(site: Settings) -> None:
    """Going back to r1 makes what came with r2 new again, and that was the approver's."""
    pointer.rollback(site, DOMAIN, actor="os:warden", reason="wrong")


@pytest.mark.parametrize("lost", [leave, deliver_it])
@pytest.mark.parametrize("before", ["canary", "promote"])
def test_a_right_that_was_lost_stops_the_release(settings: Settings, lost: Callable[[Settings], None], before: str) -> None:
    site = own_configs(settings, regulatory={"roles": ROLES})
    for minor, uploader in enumerate(("steward", "approver")):
        name = add(site, minor, uploader)
        with transaction(site) as session:
            for step in ("gated", "approved"):
                candidates.move(session, name, step)
            session.add(Approval(candidate_id=name, decision="approved", actor="deputy", responded_at=now(), source="d/r/approve"))
        pointer.set_canary(site, name, 0.1)
        pointer.promote(site, name)
    third = add(site, 2)
    judge(site, third)
    answer(site, "approver", candidate=third)
    if before == "promote":
        pointer.set_canary(site, third, 0.1)
    lost(site)
    live = pointer.current(site, DOMAIN).live_id  # type: ignore[union-attr]
    words = "is not an approver of regulatory" if lost is leave else "delivered the data"
    with pytest.raises((NotAllowed, Conflict), match=f"approver approved it on 2026-01-02, but 'approver' {words}"):
        if before == "promote" and state(site, third) == "canary":
            pointer.promote(site, third)
        else:
            pointer.set_canary(site, third, 0.1)
    assert pointer.current(site, DOMAIN).live_id == live  # type: ignore[union-attr]
    (event,) = (one for one in views.audit_events(site, third, 20) if one["action"] == "candidate.publish")
    assert not event["allowed"] and words in event["detail"]["refusal"]


# --- the domain's policy ----------------------------------------------------------------------------------------------


@pytest.fixture
def lenient(site: Settings) -> Settings:
    """The same with a policy that lets r2 pass."""
    edit(site, DOMAIN, rollout=POLICY)
    return site


def test_the_policy_approves_a_small_index_and_keeps_its_figures(lenient: Settings) -> None:
    for _ in range(2):
        assert approval.auto(lenient, DOMAIN, R2) is None
    found = given(lenient)
    assert found is not None and (found.actor, found.source) == ("domain policy", "rollout.auto_approve")
    (event,) = events(lenient)
    assert event["actor"] == "domain policy" and event["allowed"]
    assert event["detail"]["losses"] == {"exact": 0.01, "safety/leaks": 0.01}
    assert (event["detail"]["changed_share"], event["detail"]["max_changed_share"]) == (0.01, 0.02)
    assert (event["detail"]["against"], event["detail"]["report"], event["detail"]["max_loss"]) == (R1, "5" * 64, 0.02)
    assert approval.by_policy(lenient, DOMAIN, R2)
    pointer.set_canary(lenient, R2, 0.1)
    assert pointer.promote(lenient, R2, actor=found.actor)
    assert views.live(lenient, DOMAIN)[0]["approved_by"] == "domain policy"
    assert approval.auto(lenient, DOMAIN, R2) is None and approval.by_policy(lenient, DOMAIN, R2), "a cleared run asks nobody either"


def of_plan(**changes: Any) -> Callable[[Settings], None]:
    def change(site: Settings) -> None:
        with transaction(site) as session:
            row = session.get_one(Plan, "Law_v1.1")
            for name, value in changes.items():
                setattr(row, name, value)

    return change


def of_signals(**changes: Any) -> Callable[[Settings], None]:
    return of_plan(signals={"against": R1, "documents": {"amended": 1}, "new_retrieval": False} | changes)


def of_report(**changes: Any) -> Callable[[Settings], None]:
    return lambda site: judge(site, R2, state="", **changes)


def of_candidate(**changes: Any) -> Callable[[Settings], None]:
    def change(site: Settings) -> None:
        with transaction(site) as session:
            for name, value in changes.items():
                setattr(session.get_one(Candidate, R2), name, value)

    return change


def gone(model: Any, key: str) -> Callable[[Settings], None]:
    def change(site: Settings) -> None:
        with transaction(site) as session:
            session.delete(session.get_one(model, key))

    return change


def empty_version(site: Settings) -> None:
    with transaction(site) as session:
        session.get_one(DatasetVersion, "Law_v1.1").documents = 0


REFUSALS: list[tuple[Callable[[Settings], None], str]] = [
    (lambda site: edit(site, DOMAIN, rollout={}), "the file of regulatory has no rollout.auto_approve"),
    (of_plan(kind="adapter"), "its plan is 'adapter', not 'index'"),
    (of_plan(kind="prompt"), "its plan is 'prompt', not 'index'"),
    (of_plan(decided="adapter", overridden_by="os:carer"), "os:carer overrode its plan"),
    (of_plan(decided="adapter"), "a person overrode its plan"),
    (of_plan(signals={}), "`retrieval` changed"),
    (of_signals(new_retrieval=True), "`retrieval` changed"),
    (of_signals(against="regulatory/r0"), "it was planned against regulatory/r0 and compared with regulatory/r1"),
    (gone(Plan, "Law_v1.1"), "its plan, or its gate report, is missing"),
    (gone(GateReport, R2), "its plan, or its gate report, is missing"),
    (of_report(verdict="inconclusive"), "the gate said inconclusive"),
    (of_report(verdict="fail"), "the gate said fail"),
    (of_report(against=None), "it was compared with no live release"),
    (of_report(against="regulatory/r0"), "compared with regulatory/r0, and regulatory/r1 is live"),
    (of_candidate(prompt_sha256="q"), "not only the index is new: prompt"),
    (of_candidate(base_sha256="1", policy={"passages": 2}), "not only the index is new: base, policy"),
    (of_signals(documents={"amended": 2, "added": 1}), "3.0% of the documents changed, more than max_changed_share (2.0%)"),
    (of_signals(documents=None), "the share of changed documents is not known"),
    (of_signals(documents={"amended": -1}), "the share of changed documents is not known"),
    (of_signals(documents={"amended": "1"}), "the share of changed documents is not known"),
    (empty_version, "the share of changed documents is not known"),
    (of_report(metrics={"exact": metric(0.9), "a": metric(0.9, upper=0.021)}), "a may have lost 0.021, more than max_loss (0.020)"),
    (of_report(metrics={"exact": metric(0.9, upper=None)}), "there is no upper end of the loss of exact"),
    (of_report(metrics={"exact": metric(0.9, upper=float("nan"))}), "there is no upper end of the loss of exact"),
    (of_report(metrics={"exact": metric(0.9, loss=None)}), "there is no upper end of the loss of exact"),
    (of_report(metrics={"exact": {"value": 0.9, "live": {"value": 0.9}}}), "there is no upper end of the loss of exact"),
    (of_report(metrics={"exact": 0.9}), "there is no upper end of the loss of exact"),
    (of_report(metrics={"tone": metric(0.9, votes=False)}), "no metric votes"),
    (of_report(metrics={}), "no metric votes"),
    (of_candidate(state="assembled"), "it is assembled"),
    (of_candidate(state="refused"), "it is refused"),
    (lambda site: answer(site, "approver"), "approver approved it before"),
]


@pytest.mark.parametrize(("change", "why"), REFUSALS, ids=[why for _, why in REFUSALS])
def test_the_policy_does_not_approve(lenient: Settings, change: Callable[[Settings], None], why: str) -> None:
    change(lenient)
    before = given(lenient)
    said = approval.auto(lenient, DOMAIN, R2)
    assert said is not None and why in said
    after = given(lenient)
    assert (after and after.actor) == (before and before.actor) and not approval.by_policy(lenient, DOMAIN, R2)
    assert not [one for one in events(lenient) if one["actor"] == "domain policy" and one["allowed"]]


def test_a_metric_without_a_vote_may_have_lost(lenient: Settings) -> None:
    judge(lenient, R2, state="", metrics={"exact": metric(0.9), "tone": metric(0.2, upper=0.9, votes=False)})
    assert approval.auto(lenient, DOMAIN, R2) is None


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda site: edit(site, DOMAIN, rollout={}), "has no rollout.auto_approve"),
        (of_report(verdict="fail"), "the gate said fail"),
        (of_report(metrics={"exact": metric(0.9, upper=0.5)}), "may have lost 0.500"),
    ],
)
def test_a_policy_that_would_not_approve_any_more_leaves_it_to_a_person(
    lenient: Settings, change: Callable[[Settings], None], why: str
) -> None:
    assert approval.auto(lenient, DOMAIN, R2) is None
    change(lenient)
    with pytest.raises(NotAllowed, match=f"the policy of regulatory does not approve it any more: .*{why}"):
        approval.by_policy(lenient, DOMAIN, R2)
    with pytest.raises(NotAllowed, match="does not approve it any more"):
        pointer.set_canary(lenient, R2, 0.1)
    assert why in (approval.auto(lenient, DOMAIN, R2) or ""), "what clearing `approve` does"
    assert given(lenient) is None
    with pytest.raises(Conflict, match="nobody approved it"):
        pointer.set_canary(lenient, R2, 0.1)
    answer(lenient, "deputy")
    assert given(lenient).actor == "deputy" and not approval.by_policy(lenient, DOMAIN, R2)  # type: ignore[union-attr]


def test_a_person_named_like_the_policy_is_a_person(lenient: Settings) -> None:
    edit(lenient, DOMAIN, roles=ROLES | {"approvers": ["domain policy"]})
    answer(lenient, "domain policy")
    edit(lenient, DOMAIN, roles=ROLES)
    with reading(lenient) as session:
        candidate, found = session.get_one(Candidate, R2), session.get_one(Approval, R2)
        assert "is not an approver" in str(rights.lost(session, load_domain(DOMAIN, lenient), candidate, found))


def test_what_is_measured_against_the_base_says_so() -> None:
    from pipelines.steps.approval_body import _row

    assert _row("retention/answer_correct", {"value": 0.9, "loss": 0.1, "against": "the base"})[:2] == [
        "retention",
        "answer\\_correct against the base",
    ]
    assert _row("grounded", {"value": 0.9, "against": ""})[:2] == ["goldens", "grounded"]
