"""What callers said, on its way to a better release: harvested for review, delivered once accepted, followed until it is mended."""

from __future__ import annotations

import json
from typing import Any

from pipelines.config import Settings, load_domain
from pipelines.corpus import corrections
from pipelines.registry import candidates
from pipelines.state.models import now


def harvest(settings: Settings, domain_name: str) -> dict[str, Any]:
    """Put what looks wrong, and a few that look well, into the review queue; let go of what is past its retention."""
    from pipelines.feedback import harvest as room

    return dict(room.harvest(settings, load_domain(domain_name, settings), now()))


def deliver(settings: Settings, domain_name: str) -> dict[str, Any]:
    """Seal what was accepted into the landing zone, where it is found as any arrival."""
    from pipelines.feedback import corrections as accepted

    return accepted.deliver(settings, load_domain(domain_name, settings))


def settle(settings: Settings, domain_name: str, candidate_id: str) -> dict[str, int]:
    """Write down which complaints a release answers, by its gate report; the same again changes nothing."""
    from pipelines.feedback import corrections as accepted

    right = answered(settings, candidate_id)
    return accepted.outcomes(settings, domain_name, candidate_id, right) if right else {}


def answered(settings: Settings, candidate_id: str) -> dict[str, bool]:
    """Key of each correction that the candidate's gate asked -> whether it was answered as people said. Empty without a report."""
    from pipelines.evaluation import report as reports

    report = candidates.report_of(settings, candidate_id)
    path = settings.artifacts / report.path / reports.DATA if report is not None else None
    if path is None or not path.is_file() or "candidate" not in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        return {}
    rows = [row for row in reports.read_rows(path) if corrections.is_one(row.case)]
    return {row.case: _right(row.scores) for row in rows if row.error is None}


def _right(scores: dict[str, float | None]) -> bool:
    """An answer is right where it is the expected one; a question that nothing answers, where the model abstained."""
    wanted = "answer_correct" if "answer_correct" in scores else "abstained"
    return scores.get(wanted) == 1.0
