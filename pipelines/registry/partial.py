"""A rollback of one part: what is live with an adapter, prompt or index of an earlier release, under the next number, live at once.

A bad adapter must not bring repealed law back: `--only adapter` keeps the live index. Needs the control database and the artifact store
alone. What such a release is worth, and why its report does not say `pass`: docs/adr/0010-a-part-is-taken-back-without-a-gate.md.
"""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import Any, Literal, get_args

from sqlalchemy import select
from sqlalchemy.orm import Session

from pipelines.config import DomainConfig, Settings, load_domain
from pipelines.errors import BadInput, Conflict
from pipelines.manifest import sha256
from pipelines.registry import artifacts, candidates, parts, pointer
from pipelines.state.database import reading, transaction
from pipelines.state.models import Approval, Artifact, Candidate, GateReport, Pointer, Tenure, now
from pipelines.writing import write_text

Part = Literal["adapter", "prompt", "index"]
SOURCE = "rollback --only"
"""What its approval says in place of Airflow's record."""
VERDICT = "assembled"
"""What its report says in place of `pass`: nobody judged the whole."""


def rollback(
    settings: Settings, domain: str, *, actor: str, reason: str, to: int | None = None, only: Part | None = None, run: str = ""
) -> str:
    """Go back to the release before, or number `to`: whole, or `only` one part of it. Returns the id of what is live then.

    Where a release of exactly these parts was live before and ended well, that one is live again. The actor stands as approver of a new
    one. With `run` it is done once for that run.

    BadInput for a part that is live already, or a release that never was; Conflict when the parts do not fit together, one is barred, one
    of the two releases was not gated and approved, or this very combination was refused or taken back before. Then nothing has changed.
    """
    if only is None:
        return pointer.rollback(settings, domain, actor=actor, reason=reason, to=to, run=run)
    if only not in get_args(Part):
        raise BadInput(f"there is no part {only!r}", todo=f"name one of {', '.join(get_args(Part))}")
    config = load_domain(domain, settings)
    # The report is written before the transaction, whose lock everybody waits for; what it rests on is looked at again inside.
    with reading(settings) as session:
        if run and (done := pointer.rolled_back(session, domain, run)) is not None:
            return done
        live, source, made = _planned(session, settings, config, to, only)
        measured = _measured(session, settings, live, source, only)
    path = _report(settings, live, source, made, only, reason, measured)
    with transaction(settings) as session:
        at = pointer.live_pointer(session, domain)
        if run and (done := pointer.rolled_back(session, domain, run)) is not None:
            return done
        again, _, made = _planned(session, settings, config, to, only)
        if again.id != live.id:
            raise Conflict(f"{live.id} was live a moment ago, and {again.id} is now", todo="look again, then repeat it")
        more = {"only": only, "part of": source.id} | ({"run": run} if run else {})
        if (same := _same(session, made)) is not None:
            pointer.go_back(session, at, same.id, actor, reason, more)
            return same.id
        made.state, made.announced_at = "approved", now()
        name = candidates.enter(session, made, actor=actor, live=live.id, only=only, part_of=source.id, reason=reason)
        session.add(Approval(candidate_id=name, decision="approved", actor=actor, responded_at=now(), source=SOURCE))
        session.add(
            GateReport(
                candidate_id=name,
                verdict=VERDICT,
                reasons=_words(live, source, only, measured),
                metrics=measured,
                against=live.id,
                path=path,
                step_hash=made.step_hash,
            )
        )
        session.flush()
        pointer.go_back(session, at, name, actor, reason, more)
        return name


def _planned(
    session: Session, settings: Settings, domain: DomainConfig, to: int | None, only: Part
) -> tuple[Candidate, Candidate, Candidate]:
    """(what is live, where the part comes from, what they make); the last is not entered anywhere yet."""
    at: Pointer = pointer.live_pointer(session, domain.domain)
    live = session.get_one(Candidate, str(at.live_id))
    name = f"{domain.domain}/r{to}" if to is not None else pointer.before(session, live)
    if name is None:
        raise Conflict(f"{live.id} is the first release of {domain.domain}", todo="there is nothing before it")
    if name == live.id:
        raise BadInput(f"{name} is live already", todo="name an earlier release with --to")
    source = pointer.require_served(session, name)
    made = _made(live, source, only)
    if _identity(made) == _identity(live):
        raise BadInput(f"{live.id} and {source.id} have the same {only}", todo="name another release with --to, or another part")
    for one in (live, source):
        _require_gated(session, one)
    candidates.require_unbarred(session, made)
    _require_fit(session, settings, domain, live, source, made, only)
    _require_untried(session, made)
    return live, source, made


def _made(live: Candidate, source: Candidate, only: Part) -> Candidate:
    index, prompt, adapter = (source if only == part else live for part in ("index", "prompt", "adapter"))
    step_hash = sha256({"step": SOURCE, "live": live.step_hash, "only": only, "of": source.step_hash, "id": live.id})
    return Candidate(
        id="the release made of these parts",
        domain=live.domain,
        version_id=index.version_id,
        base=live.base,
        base_sha256=live.base_sha256,
        adapter_id=adapter.adapter_id,
        index_id=index.index_id,
        prompt=prompt.prompt,
        prompt_sha256=prompt.prompt_sha256,
        policy=dict(live.policy),
        step_hash=step_hash,
    )


def _identity(row: Candidate) -> tuple[str, str, str, str, str]:
    return row.adapter_id or "", row.index_id, row.prompt_sha256, row.base_sha256, json.dumps(row.policy, sort_keys=True)


def _require_gated(session: Session, row: Candidate) -> None:
    report, approval = session.get(GateReport, row.id), session.get(Approval, row.id)
    if report is None or report.verdict not in ("pass", VERDICT) or approval is None or approval.decision != "approved":
        missing = "an approval" if report is not None and report.verdict in ("pass", VERDICT) else "a gate report that passed"
        raise Conflict(f"{row.id} has not {missing}, so its parts may not be put together anew", todo="roll back as a whole")


def _require_fit(
    session: Session, settings: Settings, domain: DomainConfig, live: Candidate, source: Candidate, made: Candidate, only: Part
) -> None:
    """An adapter answers on its own base, asked as it was taught, under a prompt that it was trained on or that says it fits."""
    whole = "roll back as a whole"
    if only == "index" or made.adapter_id is None:
        return
    if only == "adapter" and source.base_sha256 != live.base_sha256:
        raise Conflict(f"the adapter of {source.id} is of another base model than {live.id}", todo=whole)
    if only == "adapter" and parts.in_turns(source.policy) != parts.in_turns(live.policy):
        raise Conflict(f"the adapter of {source.id} is asked with another chat template than {live.id}", todo=whole)
    facts = session.get_one(Artifact, made.adapter_id).facts
    trained_on = str(facts["prompt"]) if facts.get("prompt") else None
    under = domain.model_copy(update={"task": domain.task.model_copy(update={"prompt": made.prompt})})
    of_its_own = any(one.adapter_id == made.adapter_id and one.prompt_sha256 == made.prompt_sha256 for one in (live, source))
    if not (of_its_own or trained_on == made.prompt or (trained_on and parts.prompt_fits(settings, under, trained_on))):
        taught = f"was trained on {trained_on}" if trained_on else "does not say which prompt it was trained on"
        raise Conflict(
            f"{made.adapter_id} {taught}, and {made.prompt} does not say that it fits",
            where=f"configs/prompts/{made.prompt}.yaml",
            todo=f"write `compatible_with` there, or {whole}",
        )


def _alike(session: Session, made: Candidate) -> list[Candidate]:
    rows = session.scalars(
        select(Candidate)
        .where(Candidate.domain == made.domain, Candidate.index_id == made.index_id, Candidate.prompt_sha256 == made.prompt_sha256)
        .order_by(Candidate.number.desc())
    )
    return [row for row in rows if _identity(row) == _identity(made)]


def _require_untried(session: Session, made: Candidate) -> None:
    """What was measured as a whole and found wanting is not assembled again by another way."""
    for row in _alike(session, made):
        if row.state == "reverted":
            raise Conflict(
                f"{row.id} has exactly these parts and was taken back: {row.reason}",
                todo=f"if you mean it: --to {row.number} without --only",
            )
        report = session.get(GateReport, row.id)
        if report is not None and report.verdict == "fail":
            raise Conflict(
                f"{row.id} has exactly these parts, and the gate failed it: {'; '.join(report.reasons)}", todo="take another part back"
            )


def _same(session: Session, made: Candidate) -> Candidate | None:
    for row in _alike(session, made):
        served = session.scalar(select(Tenure.id).where(Tenure.candidate_id == row.id).limit(1)) is not None
        if row.state == "retired" and served:
            return row
    return None


# --- its report -------------------------------------------------------------------------------------------------------

# As evaluation/report.py and evaluation/matrix.py write them: the registry stands below evaluation.
_DATA, _PAGE = "report.json", "report.html"


def _measured(session: Session, settings: Settings, live: Candidate, source: Candidate, only: Part) -> dict[str, Any]:
    """Means of this very combination, where the gate of what is live has asked it; empty where not. They decided nothing, so none votes."""
    report = session.get(GateReport, live.id)
    if report is None or report.verdict != "pass" or report.against != source.id:
        return {}
    file = settings.artifacts / report.path / _DATA
    try:
        table = json.loads(file.read_text(encoding="utf-8"))["matrix"]
        row: dict[str, Any] = next((one for one in table if one["cell"] == f"candidate, live {only}"), {})
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    figures = {name: value for name, value in row.items() if name not in ("cell", "n") and isinstance(value, int | float)}
    return {name: {"value": value, "n": row["n"], "votes": False, "outcome": "measured in part"} for name, value in figures.items()}


def _words(live: Candidate, source: Candidate, only: Part, measured: dict[str, Any]) -> list[str]:
    made = f"{live.id} with the {only} of {source.id}: every part passed a gate and was live, the whole was approved by who took it back"
    if measured:
        return [made, f"the gate of {live.id} asked this combination its goldens, not its suites; no verdict was drawn from it"]
    return [made, "not measured as a whole"]


def _report(
    settings: Settings, live: Candidate, source: Candidate, made: Candidate, only: Part, reason: str, measured: dict[str, Any]
) -> str:
    words = _words(live, source, only, measured)
    facts = {
        "live before": live.id, "part taken back": only, "of": source.id, "reason": reason, "version": made.version_id,
        "base": made.base, "adapter": made.adapter_id or "", "index": made.index_id, "prompt": made.prompt,
    }  # fmt: skip

    def build(out: Path) -> None:
        told = {
            "facts": facts,
            "verdict": {"verdict": VERDICT, "reasons": words, "notes": [], "metrics": measured},
            "cells": {},
            "matrix": [],
        }
        write_text(out / _DATA, json.dumps(told, ensure_ascii=False, indent=1))
        lines = "".join(f"<li>{html.escape(word)}" for word in words)
        rows = [*facts.items(), *((name, f"{one['value']:.3f} of {one['n']} goldens") for name, one in measured.items())]
        table = "".join(f"<tr><th>{html.escape(name)}<td>{html.escape(str(value))}" for name, value in rows)
        title = f"{made.domain}: {only} taken back"
        write_text(
            out / _PAGE,
            f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
            f"<h1>{html.escape(title)}</h1><p><b>{VERDICT}</b>, not judged by a gate<ul>{lines}</ul><table>{table}</table></html>\n",
        )

    step_hash = sha256([made.step_hash, reason, measured])
    return artifacts.make(settings, "gate_report", step_hash, build).relative_to(settings.artifacts).as_posix()
