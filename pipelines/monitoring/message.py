"""What a message about an incident says: plain text, made when it is sent, so that it tells the latest. Nothing that was asked is in it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pipelines.state.models import Incident

LINES = 12
"""So many signals are told, and the last so many of the timeline."""


def title(row: Incident, event: str) -> str:
    """One line, for a telephone: `[page] regulatory-i12: tokens`."""
    drill = "drill: " if row.drill else ""
    kind = event.partition("-")[0]
    mark = {"closed": "over", "repeated": f"{row.severity}, again", "again": f"{row.severity}, again"}.get(kind, row.severity)
    return f"[{drill}{mark}] {row.id}: {row.title}"


def body(row: Incident, event: str, now: datetime) -> str:
    """What is seen, what changed last, what was done, what to do."""
    parts = [_head(row, event, now), _signals(row), _cause(row), _done(row), _todo(row)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(row: Incident, event: str, now: datetime) -> str:
    minutes = ((row.closed_at or now) - row.opened_at).total_seconds() / 60
    kind = event.partition("-")[0]
    lasted = (
        f"It lasted {minutes:.0f} min." if row.state == "closed" else f"Open since {row.opened_at:%Y-%m-%d %H:%M} UTC ({minutes:.0f} min)."
    )
    why = {
        "opened": f"Something is wrong with the answers of {row.domain}.",
        "escalated": f"It is a {row.severity} now.",
        "repeated": "Nobody has acknowledged it yet.",
        "again": "The first message may not have arrived, and nobody has acknowledged it.",
        "acted": "Something was done about it, or could not be.",
        "closed": "It is over.",
    }.get(kind, "")
    drill = "This is a drill: the fault was planted on purpose. " if row.drill else ""
    return f"{drill}{why} {lasted}"


def _signals(row: Incident) -> str:
    lines = []
    found = sorted(row.signals.values(), key=lambda one: (one["over"] is not None, one["since"]))
    for one in found[:LINES]:
        state = "over" if one["over"] else "since " + one["since"][11:16] + " UTC"
        lines.append(f"- {one['rule']} of {one['group']} ({one['severity']}, {state}): {one['why']}")
        if one["requests"] and not one["over"]:
            lines.append(f"  requests that show it: {', '.join(one['requests'][:3])}")
    more = f"\n- and {len(found) - LINES} more" if len(found) > LINES else ""
    return "Seen:\n" + "\n".join(lines) + more


def _cause(row: Incident) -> str:
    changes = row.cause.get("changes", [])[:3]
    if not changes:
        return "Nothing is known to have changed before it." if row.cause else ""
    return "What changed last, the likeliest first:\n" + "\n".join(f"- {one['says']}" for one in changes)


def _done(row: Incident) -> str:
    events: list[dict[str, Any]] = [*row.timeline.get("events", [])]
    lines = [f"- {one['at'][11:16]} {one['what']} ({one['by']})" for one in events[-LINES:]]
    return "What happened:\n" + "\n".join(lines) if lines else ""


def _todo(row: Incident) -> str:
    if row.state == "closed":
        return f"Runbook: {row.runbook}"
    # A page is told again until somebody has it; a ticket is not.
    acknowledge = f"`ratchet alerts ack {row.id}` says that you have it; " if row.state == "open" else ""
    return f"Runbook: {row.runbook}\n{acknowledge}`ratchet alerts show {row.id}` has all of it."
