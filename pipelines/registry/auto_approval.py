"""The domain's policy in place of a person: releases of a plan `index` that change and risk little. Whatever is missing is a refusal."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from pipelines.config import DomainConfig
from pipelines.state.models import Candidate, DatasetVersion, GateReport, Plan, Pointer

ACTOR, SOURCE = "domain policy", "rollout.auto_approve"
"""What an approval by policy says in place of a user's name and of Airflow's record. No `dag/run/task` reads like the second."""


@dataclass(frozen=True, slots=True)
class Weighed:
    """Why the policy does not approve (None: it does), and the figures that were looked at: shares of documents, losses by metric."""

    refusal: str | None
    figures: dict[str, Any]


def weigh(session: Session, domain: DomainConfig, candidate: Candidate) -> Weighed:
    """Whether the domain's file, as it is now, lets the candidate pass unasked. Reads only."""
    policy = domain.rollout.auto_approve
    if policy is None:
        return Weighed(f"the file of {domain.domain} has no {SOURCE}", {})
    plan, report = session.get(Plan, candidate.version_id), session.get(GateReport, candidate.id)
    if plan is None or report is None:
        return Weighed("its plan, or its gate report, is missing", {})
    why = _of_plan(plan) or _of_report(session, candidate, plan, report) or _of_parts(session, candidate, report)
    if why:
        return Weighed(why, {})
    changes, share = _changed(session, candidate, plan)
    losses, unknown = _losses(report.metrics)
    figures = {
        "against": report.against,
        "report": report.step_hash,
        "documents": changes,
        "changed_share": share,
        "max_changed_share": policy.max_changed_share,
        "losses": losses,
        "max_loss": policy.max_loss,
    }
    why = None
    worst = max(losses, key=lambda name: losses[name], default=None)
    if share is None:
        why = "the share of changed documents is not known"
    elif share > policy.max_changed_share:
        why = f"{share:.1%} of the documents changed, more than max_changed_share ({policy.max_changed_share:.1%})"
    elif unknown:
        why = f"there is no upper end of the loss of {', '.join(unknown)}"
    elif worst is None:
        why = "no metric votes"
    elif losses[worst] > policy.max_loss:
        why = f"{worst} may have lost {losses[worst]:.3f}, more than max_loss ({policy.max_loss:.3f})"
    return Weighed(why, figures)


def _of_plan(plan: Plan) -> str | None:
    if plan.overridden_by or plan.decided:
        return f"{plan.overridden_by or 'a person'} overrode its plan"
    if plan.kind != "index":
        return f"its plan is {plan.kind!r}, not 'index'"
    if plan.signals.get("new_retrieval") is not False:
        return "`retrieval` changed, and with it what is found for any question"
    return None


def _of_report(session: Session, candidate: Candidate, plan: Plan, report: GateReport) -> str | None:
    if report.verdict != "pass":
        return f"the gate said {report.verdict}"
    if not report.against:
        return "it was compared with no live release"
    pointer = session.get(Pointer, candidate.domain)
    live = pointer.live_id if pointer is not None else None
    if not live == report.against == plan.signals.get("against"):
        compared = f"it was planned against {plan.signals.get('against')} and compared with {report.against}"
        return f"{compared}, and {live or 'nothing'} is live"
    return None


def _of_parts(session: Session, candidate: Candidate, report: GateReport) -> str | None:
    """An index plan takes the domain's present prompt, base and policy along: they must be the live ones."""
    live = session.get(Candidate, report.against)
    if live is None:
        return f"{report.against} is gone"
    mine = {"base": candidate.base_sha256, "adapter": candidate.adapter_id, "prompt": candidate.prompt_sha256, "policy": candidate.policy}
    theirs = {"base": live.base_sha256, "adapter": live.adapter_id, "prompt": live.prompt_sha256, "policy": live.policy}
    if changed := [name for name in mine if mine[name] != theirs[name]]:
        return f"not only the index is new: {', '.join(changed)}"
    return None


def _changed(session: Session, candidate: Candidate, plan: Plan) -> tuple[dict[str, Any] | None, float | None]:
    """Documents added, amended, withdrawn, removed since what is served, and their share of the version's."""
    version, counts = session.get(DatasetVersion, candidate.version_id), plan.signals.get("documents")
    if version is None or version.documents < 1 or not isinstance(counts, Mapping):
        return None, None
    if not all(isinstance(count, int) and count >= 0 for count in counts.values()):
        return None, None
    return dict(counts), sum(counts.values()) / version.documents


def _losses(metrics: Mapping[str, Any]) -> tuple[dict[str, float], list[str]]:
    """Upper end of the loss of each metric that votes, and those that have none. One that does not say whether it votes does."""
    known: dict[str, float] = {}
    unknown = []
    for name, entry in metrics.items():
        told = entry if isinstance(entry, Mapping) else {}
        if told.get("votes") is False:
            continue
        loss = told.get("loss")
        upper = loss.get("upper") if isinstance(loss, Mapping) else None
        if isinstance(upper, int | float) and not isinstance(upper, bool) and math.isfinite(upper):
            known[name] = float(upper)
        else:
            unknown.append(name)
    return known, unknown
