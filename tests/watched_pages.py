"""A site with a day of traffic, releases, incidents and a review queue, as the board's pages show them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import traffic_lines

from pipelines.config import Settings, load_domain
from pipelines.feedback import opening
from pipelines.feedback.texts import Said, Text
from pipelines.governance import audit
from pipelines.state.database import transaction
from pipelines.state.models import (
    AlertDelivery,
    Artifact,
    AuditEvent,
    Candidate,
    DatasetVersion,
    FeedbackRow,
    GateReport,
    Incident,
    Observation,
    Pointer,
    Restraint,
    RolloutRow,
    Silence,
    Tenure,
    now,
)
from pipelines.traffic.samples import Sample, Shown, line

DOMAIN = """domain: law
description: Rules about leases.
owner: compliance
dataset: Law
sources: {formats: [regml]}
privacy: {profile: public}
task: {kind: grounded_extraction, prompt: grounded_extraction/v1}
contract: {expectations: []}
gate: {goldens: goldens/regulatory.jsonl, floors: {amount_and_citation: 0.9}}
roles: {stewards: [steward, second], approvers: [approver]}
monitors:
  cost_per_1000_tokens: 0.02
  slices: [{name: fees, key: "-2"}]
"""
PASSAGES = (
    Shown(key="13-2", content="a" * 64, paragraph="1", title="Late fees",
          text="The lessor may charge a late fee of no more than $30 for a late payment."),
    Shown(key="13-4", content="b" * 64, paragraph="2", title="Records",
          text="A lessor must keep records of each lease for 24 months after the lease ends."),
)  # fmt: skip


def configured(settings: Settings, folder: Path, text: str = DOMAIN) -> Settings:
    """The site with configs of its own: the one domain `law`."""
    configs = folder / "configs"
    (configs / "domains").mkdir(parents=True)
    (configs / "domains" / "law.yaml").write_text(text, encoding="utf-8")
    return settings.model_copy(update={"configs": configs})


def releases(settings: Settings, moment: datetime) -> None:
    """r1 was live all day, r2 for five hours until two hours ago; then r1 again."""
    long = [
        f"amount_and_citation: {0.9 - k / 100:.2f} is below the floor of 0.95 on 40 goldens, 95 % interval 0.71 to 0.93" for k in range(7)
    ]
    with transaction(settings) as session:
        session.add(DatasetVersion(id="Law_v1.0", domain="law", major=1, minor=0, snapshot_id="1", arrival_id="law-1",
                                   known_on="2014-01-01", documents=3, changed={"added": 3}, content="c"))  # fmt: skip
        session.add(Artifact(id="index-1", kind="index", domain="law", step_hash="i", path="index/1", sha256="s", facts={}))
        session.flush()
        for number, state in ((1, "live"), (2, "reverted"), (3, "refused")):
            reason = "gate fail: " + "; ".join(long) if number == 3 else None
            session.add(Candidate(id=f"law/r{number}", domain="law", number=number, version_id="Law_v1.0", base="b", base_sha256="b",
                                  index_id="index-1", prompt="p", prompt_sha256="p", policy={}, uploader="steward", state=state,
                                  reason=reason, step_hash=f"h{number}", claimed_dag="law.release",
                                  claimed_run=f"run-{number}"))  # fmt: skip
        session.flush()
        session.add(GateReport(candidate_id="law/r3", verdict="fail", reasons=long, metrics={}, path="gate_report/3", step_hash="g"))
        session.add(Pointer(domain="law", live_id="law/r1", since=moment - timedelta(hours=2)))
        for number, began, ended, reason in (
            (1, 48, 7, "first"),
            (2, 7, 2, "gated, approved, canary passed"),
            (1, 2, None, "law-i1: tokens"),
        ):
            session.add(Tenure(domain="law", candidate_id=f"law/r{number}", began_at=moment - timedelta(hours=began), actor="watcher",
                               ended_at=None if ended is None else moment - timedelta(hours=ended), reason=reason))  # fmt: skip
        at = moment - timedelta(hours=7.7)
        session.add(RolloutRow(candidate_id="law/r2", began_at=at, state="passed",
                               facts={"stages": [{"began": at.isoformat(), "share": 0.1, "shadow": False}]}))  # fmt: skip
        audit.record(session, actor="watcher", action="release.rollback", subject="law/r1", detail={"from": "law/r2"})
        session.get_one(AuditEvent, 1).at = (moment - timedelta(hours=2)).isoformat()


def traffic(settings: Settings, moment: datetime, hours: int = 24, every_minutes: int = 5, each: int = 12) -> int:
    """Requests of three tenants: r2's answers were longer and slower. Returns how many."""
    count = 0
    at = moment - timedelta(hours=hours)
    while at < moment:
        bad = moment - timedelta(hours=7) <= at < moment - timedelta(hours=2)
        busy = 4 + int(each * (1 + (at.hour - 12) / 24))
        release = "law/r2" if bad else "law/r1"
        told = []
        for k in range(busy):
            n = count + k
            told.append(traffic_lines.record(
                "q", n, release=release, tenant=("acme", "bolt", "crow")[n % 3], prompt=f"grounded_extraction/v{1 + bad}",
                tokens_out=(60 if bad else 22) + n % 7, latency_ms=(260.0 if bad else 120.0) + 9 * (n % 23), first_ms=40.0 + n % 20,
                status=500 if n % 97 == 0 else 200, sources=["13-2" if n % 2 else "13-4"], cited="13-2" if n % 2 else "13-4",
                abstained=n % 11 == 0, cache="exact" if n % 5 == 0 else None, stored=n % 4 == 0,
                reason="not_in_passage" if bad and n % 9 == 0 else None,
            ))  # fmt: skip
        _write(settings, at, told)
        count += busy
        at += timedelta(minutes=every_minutes)
    return count


def _write(settings: Settings, at: datetime, records: list[dict[str, Any]]) -> None:
    """As the gateway's own log has it: without blanks, so that one request is found in it."""
    path = settings.var / "traffic" / "law" / f"{at:%Y-%m-%dT%H}-1-abc-1.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        for k, one in enumerate(records):
            moment = (at + timedelta(milliseconds=k)).isoformat(timespec="milliseconds")
            file.write(json.dumps({"at": moment, **one}, separators=(",", ":")) + "\n")


def measured(settings: Settings, moment: datetime) -> None:
    """What probes, judges and callers said, every half hour."""
    with transaction(settings) as session:
        for k in range(48):
            at = moment - timedelta(minutes=30 * k + 5)
            bad = 4 <= k < 14
            for measure, source, value in (
                ("probe_wrong_share", "probe", 0.25 if bad else 0.0), ("inconsistent_share", "probe", 0.05),
                ("groundedness_mean", "judge", 0.71 if bad else 0.93 - k % 3 / 100),
                ("drift_questions", "drift", 0.02 + k % 5 / 200), ("drift_answers", "drift", 0.21 if bad else 0.03),
            ):  # fmt: skip
                session.add(
                    Observation(
                        domain="law", at=at, measure=measure, source=source, release="law/r2" if bad else "law/r1", value=value, n=8
                    )
                )
            session.add(FeedbackRow(id=f"fb-{k}", domain="law", request_id=f"q-{k}", release="law/r1", key="app", tenant="acme",
                                    rating=-1 if bad or k % 6 == 0 else 1, state="received", at=at))  # fmt: skip


def incidents(settings: Settings, moment: datetime) -> None:
    """One that is over, with its revert; one that is open, which could not be told to one address."""
    began, over = moment - timedelta(hours=5, minutes=40), moment - timedelta(hours=1, minutes=50)
    says = f"law/r2 went live at {moment - timedelta(hours=7):%Y-%m-%d %H:%M} UTC, 80 min before; new in it against law/r1: prompt"
    with transaction(settings) as session:
        for number, severity, state, title in ((1, "page", "closed", "tokens"), (2, "ticket", "open", "abstained")):
            opened = began if number == 1 else moment - timedelta(minutes=50)
            signal = {"rule": title, "group": "all", "severity": severity, "since": opened.isoformat(), "value": 61.0, "worst": 66.0,
                      "expected": 25.0, "why": "61 tokens an answer, 25 expected: 2.4 times as many", "requests": ["q-3000", "q-3001"],
                      "over": over.isoformat() if number == 1 else None}  # fmt: skip
            if number == 1:
                signal["acted"] = {"do": "revert", "what": "went back from law/r2 to law/r1", "ok": True}
            told = (f"opened as a {severity}: {title} of all", f"probable cause: {says}")
            mix = "the tenant crow has 61% of the requests, an hour before 33%"
            session.add(Incident(
                id=f"law-i{number}", domain="law", number=number, title=title, severity=severity, state=state,
                signals={f"{title}/all": signal}, cause={"likeliest": says, "changes": [{"says": says}, {"says": mix}]},
                timeline={"events": [{"at": opened.isoformat(), "what": what, "by": "watcher"} for what in told]},
                runbook="docs/runbooks/incident.md", opened_at=opened, closed_at=over if number == 1 else None,
            ))  # fmt: skip
        session.flush()
        session.add(AlertDelivery(incident_id="law-i1", event="opened", address="json-0a1b2c3d", state="sent", tries=1, sent_at=began))
        session.add(
            AlertDelivery(
                incident_id="law-i2", event="opened", address="slack-9f8e7d6c", state="failed", tries=8, error="503 from the service"
            )
        )
        session.add(Restraint(domain="law", kind="throttle", subject="crow", requests_per_minute=30, until=moment + timedelta(hours=1),
                              by="watcher", reason="law-i2: abstained/all", incident_id="law-i2"))  # fmt: skip
        session.add(Silence(domain="law", rule="topics", until=moment + timedelta(hours=3), by="approver", why="the yearly list is out"))


def kept(settings: Settings, moment: datetime, request_id: str = "q-3000") -> Sample:
    """One answer whose text was kept."""
    sample = Sample(at=moment, request_id=request_id, question="How high may the late fee be?", answer="$24 [13-2]", span="$24",
                    as_of="2014-01-01", passages=PASSAGES, cited="13-2", release="law/r2")  # fmt: skip
    path = settings.var / "samples" / "law" / f"{moment:%Y-%m-%dT%H}-1-abc-1.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line(settings, load_domain("law", settings), sample), separators=(",", ":")) + "\n")
    return sample


def item(settings: Settings, question: str, *, source: str = "complaint", reviewers: int | None = None, **text: Any) -> str:
    """Put an answer into the review queue; returns the item's id."""
    domain = load_domain("law", settings)
    if reviewers is not None:
        domain = domain.model_copy(update={"feedback": domain.feedback.model_copy(update={"reviewers": reviewers})})
    told = {
        "answer": "$24 [13-2]",
        "span": "$24",
        "as_of": "2014-01-01",
        "passages": PASSAGES,
        "cited": "13-2",
        "raised_by": "key:app",
    } | text
    signals = {"complaints": 2, "confidence": 0.41, "request_ids": ["q-3000"]}
    found = opening.Found(fingerprint=f"{hash(question) & 0xFFFFFFFFFFFF:064x}", source=source, text=Text(question=question, **told),
                          at=now(), release="law/r2", signals=signals)  # fmt: skip
    with transaction(settings) as session:
        return opening.enter(session, settings, domain, found, now())[0].id


def suggested(answer: str) -> dict[str, Any]:
    """Text of an item for which a caller suggested this answer."""
    return {
        "suggested": answer,
        "suggestions": (Said(text=answer, by="key:app"),),
        "comments": (Said(text="The fee was raised this year.", by="key:app"),),
    }


def whole(settings: Settings, folder: Path, text: str = DOMAIN) -> Settings:
    """All of it, until now."""
    made, moment = configured(settings, folder, text), datetime.now(UTC)
    releases(made, moment)
    traffic(made, moment)
    measured(made, moment)
    incidents(made, moment)
    kept(made, moment)
    item(made, "How high may the late fee be?", **suggested("$30"))
    item(made, "How long must records be kept?", source="low_confidence", answer="24 months [13-4]", span="24 months", cited="13-4")
    item(made, "Who pays for snow?", source="abstained", answer="The sources do not state it.", span=None, cited=None)
    return made
