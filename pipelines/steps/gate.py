"""The gate: ask every suite of the candidate, of what is live, and of each part taken back; score, judge, and keep one report.

Live is never touched here. What cannot be measured ends `inconclusive`; what cannot be read (a part that is gone or altered, a suite that
shares a document with training, a metric that does not exist) stops the step with its reason.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from pipelines.config import DomainConfig, Settings, load_domain
from pipelines.errors import Conflict, GateRefused
from pipelines.governance import audit
from pipelines.manifest import Manifest, Outcome, run_step, sha256_file
from pipelines.registry import artifacts, candidates, pointer
from pipelines.state import outbox
from pipelines.state.database import reading, transaction
from pipelines.state.models import Candidate, DatasetVersion, GateReport, now

if TYPE_CHECKING:
    from pipelines.evaluation.cases import Asked, Row
    from pipelines.evaluation.verdict import Verdict
    from pipelines.serving.asking import Replies
    from pipelines.serving.generations import Generations

GATE_VERSION = 2


def gate(settings: Settings, domain_name: str, candidate_id: str) -> Manifest:
    """Judge a candidate on the engine that will serve it. The verdict is kept in the control database.

    The release it is compared with is fixed at the first gating. Unavailable while Triton is down; what was generated until then is kept.
    """
    from pipelines.evaluation import suites

    domain = load_domain(domain_name, settings)
    candidate = candidates.get(settings, candidate_id)
    earlier = candidates.report_of(settings, candidate_id)
    at = pointer.current(settings, domain_name)
    against = earlier.against if earlier else at.live_id if at else None
    return run_step(
        settings,
        step="gate",
        version=GATE_VERSION,
        domain=domain_name,
        config=domain.model_dump(mode="json", include={"gate"}),
        inputs={
            "candidate": candidate.step_hash,
            "id": candidate_id,
            "suites": suites.sha256(settings, domain),
            "calibration": _calibration(settings, domain),
            "against": against,
            # What could not be settled is measured anew when its task is cleared, at the price of what is not in the cache.
            "after": earlier.step_hash if earlier is not None and earlier.verdict == "inconclusive" else None,
        },
        body=lambda step_hash: _gate(settings, domain, candidate, against, step_hash),
    )


def _gate(settings: Settings, domain: DomainConfig, candidate: Candidate, against: str | None, step_hash: str) -> Outcome:
    from pipelines.evaluation import matrix, measures, metrics, report
    from pipelines.serving import asking
    from pipelines.serving.cells import cases
    from pipelines.serving.cells import cells as cells_of
    from pipelines.serving.generations import Generations, place

    metrics.require_known(_named(domain), f"configs/domains/{domain.domain}.yaml, gate")
    with reading(settings) as session:
        version = session.get_one(DatasetVersion, candidate.version_id)
    loaded = cases(settings, domain, candidate)
    live = candidates.get(settings, against) if against else None
    cells = cells_of(settings, candidate, live, domain.gate)
    generations = Generations(place(settings, domain.domain))
    began = time.monotonic()
    with ThreadPoolExecutor(1) as aside:
        ready = aside.submit(measures.prepare)
        replies = asking.ask(cells, loaded.asked, generations, _engines(settings, cells))
        ready.result()
    asked_s, began = time.monotonic() - began, time.monotonic()
    rows = {name: asking.rows(loaded.asked, found) for name, found in replies.items()}
    judged = _judge(settings, domain, loaded.asked, replies, rows)
    verdict = _verdict(
        domain,
        candidate,
        loaded.asked,
        rows,
        [*loaded.problems, *judged["problems"]],
        [*_left(loaded.stale), *loaded.notes, *judged["notes"]],
        judged["votes"],
    )
    cost = {
        **_told(generations),
        "asking_s": round(asked_s, 2),
        "scoring_s": round(time.monotonic() - began, 2),
        "judge": judged["facts"],
        "waiting": loaded.waiting,
    }
    facts = {
        "candidate": candidate.id,
        "version": version.id,
        "known on": version.known_on,
        "against": against or "",
        "adapter": candidate.adapter_id or "",
        "index": candidate.index_id,
        "prompt": candidate.prompt,
        "base": candidate.base,
    }
    shown = report.Report(
        facts=facts,
        verdict=verdict,
        cells=rows,
        matrix=matrix.table(rows),
        stale=[asdict(one) for one in loaded.stale],
        cost=cost,
        prompts=_prompts(replies),
    )
    folder = artifacts.make(settings, "gate_report", step_hash, lambda out: report.write(out, shown))
    path = folder.relative_to(settings.artifacts).as_posix()
    _keep(settings, domain, candidate, against, step_hash, verdict, path)
    counts = {"cases": len(loaded.asked), "stale": len(loaded.stale), "cells": len(cells)}
    return Outcome(
        outputs={"verdict": verdict.verdict, "reasons": list(verdict.reasons), "report": path},
        counts={**counts, "generated": generations.made, "reused": generations.reused},
    )


def _named(domain: DomainConfig, *, judged: bool = False) -> list[str]:
    """Every metric that the domain's gate sets a floor or margin for: those that the judge scores, or the others."""
    rule = domain.gate
    of_judge: set[str] = set(map(str, rule.judge.metrics)) if rule.judge else set()
    named = [*rule.floors, *rule.margins, *(name for suite in rule.suites.values() for name in (*suite.floors, *suite.margins))]
    return [name for name in named if (name in of_judge) == judged]


def _calibration(settings: Settings, domain: DomainConfig) -> str | None:
    rule = domain.gate.judge
    path = settings.configs / rule.calibration if rule is not None and rule.calibration is not None else None
    return sha256_file(path) if path is not None and path.is_file() else None


def _engines(settings: Settings, cells: Sequence[Any]) -> dict[str, Any]:
    """The engines that the cells need, loaded and proved by a real inference with each adapter."""
    from pipelines.serving.client import Engine

    found = {cell.parts.engine: Engine(settings, cell.parts.engine) for cell in cells}
    for engine in found.values():
        engine.ensure_loaded()
    probes = {(cell.parts.engine, cell.parts.adapter, cell.parts.chat, cell.adapter_sha256) for cell in cells}
    for name, adapter, chat, weights in sorted(probes):
        found[name].probe(adapter, chat, weights)
    return found


def _judge(
    settings: Settings, domain: DomainConfig, asked: Sequence[Asked], replies: dict[str, Replies], rows: dict[str, list[Row]]
) -> dict[str, Any]:
    """The judge's scores, put into the rows of candidate and live; {problems, notes, votes, facts}. A judge that may not vote can neither
    pass nor stop anything."""
    rule = domain.gate.judge
    if rule is None:
        return {"problems": [], "notes": [], "votes": {}, "facts": {}}
    from pipelines.evaluation import judge, matrix
    from pipelines.evaluation.cases import GOLDENS

    inputs = []
    for cell in (matrix.CANDIDATE, matrix.LIVE):
        for one in asked if cell in replies else ():
            reply = replies[cell].get(one.place)
            said = reply.answered if reply is not None else None
            if one.suite != GOLDENS or said is None or said.answer is None:
                continue
            contexts = tuple(passage.text for passage in said.passages)
            inputs.append((f"{cell}/{one.place}", judge.JudgedInput(one.case.question, said.answer, contexts, one.case.answer)))
    found = judge.score(rule, inputs, settings.var / "cache" / "judge")
    for cell in (matrix.CANDIDATE, matrix.LIVE):
        for row in rows.get(cell, ()):
            row.scores.update(found.scores.get(f"{cell}/{row.place}", {}))
    allowed, why = judge.may_vote(rule, settings.configs)
    votes = dict.fromkeys(map(str, rule.metrics), allowed)
    if allowed:
        return {"problems": found.problems, "notes": [], "votes": votes, "facts": found.facts}
    if wanted := sorted(set(map(str, rule.metrics)) & set(_named(domain, judged=True))):
        # Left alone they would vote, for a floor or a margin makes any metric vote.
        problem = f"the domain file sets a floor or margin for {', '.join(wanted)}, but the judge {rule.model} has no vote: {why}"
        return {"problems": [problem], "notes": [], "votes": votes, "facts": found.facts}
    notes = [f"the judge {rule.model} has no vote: {why}", *(f"the judge, without a vote: {problem}" for problem in found.problems)]
    return {"problems": [], "notes": notes, "votes": votes, "facts": found.facts}


def _verdict(
    domain: DomainConfig,
    candidate: Candidate,
    asked: Sequence[Asked],
    rows: dict[str, list[Row]],
    problems: list[str],
    notes: list[str],
    judged: dict[str, bool],
) -> Verdict:
    from pipelines.evaluation import matrix, metrics, verdict

    votes = {name: metric.votes for name, metric in metrics.METRICS.items()} | judged
    mine = rows[matrix.CANDIDATE]
    found = verdict.judge(
        mine,
        rows.get(matrix.LIVE),
        # A candidate without an adapter is the base.
        rows.get(matrix.RAG, None if candidate.adapter_id else mine),
        domain.gate,
        votes,
        problems=problems,
        pairs=metrics.pair_scores(mine, asked),
    )
    return replace(found, notes=[*found.notes, *notes])


def _left(stale: Sequence[Any]) -> list[str]:
    return [f"{one.suite} {one.case} was not asked: {one.why}" for one in stale]


def _told(generations: Generations) -> dict[str, Any]:
    return {"generated": generations.made, "reused": generations.reused, "generating_s": round(generations.seconds, 2)}


def _prompts(replies: dict[str, Replies]) -> dict[str, str]:
    """`suite/case/as of` -> what the candidate was asked with; the report shows those of the worst cases."""
    from pipelines.evaluation import matrix

    return {"/".join(place): reply.prompt for place, reply in replies[matrix.CANDIDATE].items()}


def _keep(
    settings: Settings, domain: DomainConfig, candidate: Candidate, against: str | None, step_hash: str, verdict: Verdict, path: str
) -> None:
    """Enter the report, and tell MLflow of it, in one transaction."""
    with transaction(settings) as session:
        session.merge(
            GateReport(
                candidate_id=candidate.id,
                verdict=verdict.verdict,
                reasons=list(verdict.reasons),
                metrics=verdict.metrics,
                against=against,
                path=path,
                step_hash=step_hash,
                created_at=now(),
            )
        )
        audit.record(
            session,
            actor="ratchet",
            action="candidate.judged",
            subject=candidate.id,
            allowed=verdict.verdict == "pass",
            detail={"verdict": verdict.verdict, "reasons": list(verdict.reasons), "report": step_hash},
        )
        outbox.put(
            session,
            "mlflow.gate",
            f"mlflow.gate/{candidate.id}/{step_hash[:16]}",
            {
                "domain": domain.domain,
                "candidate_id": candidate.id,
                "adapter_step_hash": artifacts.get(settings, candidate.adapter_id).step_hash if candidate.adapter_id else None,
                "path": path,
                "metrics": {name: metric["value"] for name, metric in verdict.metrics.items() if metric["value"] is not None},
                "verdict": verdict.verdict,
                "step_hash": step_hash,
            },
        )


def require_pass(settings: Settings, domain_name: str, candidate_id: str) -> dict[str, Any]:
    """What the approver is shown: figures only. Raises GateRefused unless the verdict is `pass`; `fail` refuses the candidate for good."""
    report = candidates.report_of(settings, candidate_id)
    candidate = candidates.get(settings, candidate_id)
    if report is None:
        raise GateRefused(f"{candidate_id} has no gate report", todo="clear the gate task")
    if report.verdict != "pass":
        reason = f"gate {report.verdict}: " + "; ".join(report.reasons)
        if report.verdict == "inconclusive":
            # Not refused: once there are more cases, or the judge is mended, clearing the gate task settles it.
            raise GateRefused(reason, where=candidate_id, todo="see docs/runbooks/inconclusive.md; the live release is untouched")
        if candidate.state == "assembled":
            with transaction(settings) as session:
                candidates.move(session, candidate_id, "refused", reason=reason)
        raise GateRefused(reason, where=candidate_id, todo="read the gate report; the live release is untouched")
    if candidate.state == "assembled":
        with transaction(settings) as session:
            candidates.move(session, candidate_id, "gated")
    elif candidate.state == "refused":
        raise Conflict(
            f"{candidate_id} was refused: {candidate.reason}",
            todo="a refused candidate stays refused; assemble a new one",
        )
    return {
        "domain": domain_name,
        "candidate": candidate_id,
        "report": report.path,
        "against": report.against or "nothing",
        "verdict": report.verdict,
        "reasons": report.reasons,
        "notes": _notes(settings, report.path),
        "metrics": {name: _figures(metric) for name, metric in report.metrics.items() if metric.get("votes", True)},
    }


def _notes(settings: Settings, path: str) -> list[str]:
    """What the report says beside its verdict; a report of an earlier version, or one that was erased, says nothing."""
    from pipelines.evaluation.report import DATA

    file = settings.artifacts / path / DATA
    return list(json.loads(file.read_text(encoding="utf-8"))["verdict"]["notes"]) if file.is_file() else []


def _figures(metric: dict[str, Any]) -> dict[str, Any]:
    loss = metric.get("loss") or {}
    shown = {name: metric.get(name) for name in ("value", "low", "high", "floor", "margin")}
    against = "the base" if metric.get("base") else ""
    return {**shown, "loss": loss.get("value"), "upper": loss.get("upper"), "against": against}
