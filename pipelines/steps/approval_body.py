"""What an approver reads in Airflow before answering: verdict, figures with their intervals, notes, cost, and where the report is.

Markdown of figures and of the names under which they are configured; no text of any record. Whatever is not ours is escaped, so that a
name or a reason is shown as it is written and can be neither a link nor a picture nor HTML.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any
from urllib.parse import quote

from pipelines.config import Settings
from pipelines.evaluation.cases import GOLDENS
from pipelines.manifest import find
from pipelines.registry import candidates
from pipelines.state.database import reading
from pipelines.state.models import Candidate, DatasetVersion, Plan

NONE = "none"
_PUNCTUATION = re.compile(r"([!-/:-@\[-`{-~])")
_ADDRESS = re.compile(r"(?i)(://|www\.|@)")


def plain(text: object) -> str:
    """The text on one line, shown as it is where Markdown or HTML would read something into it. An address is cut: it must be no link."""
    line = _ADDRESS.sub(r"\1 ", " ".join(str(text).split()))
    # One character at a time: an entity must not have its own `&` and `;` escaped.
    return "".join(escape(char) if char in "<>&\"'" else _PUNCTUATION.sub(r"\\\1", char) for char in line)


def markdown(settings: Settings, candidate: Candidate, shown: Mapping[str, Any], why_not: str = "") -> str:
    """`shown` is what `gate.require_pass` gave; `why_not`, why the domain's policy did not approve. What is missing is left out."""
    against = str(shown.get("against") or "nothing")
    parts = [
        f"Candidate **{plain(candidate.id)}** against **{plain(against)}**: **{plain(shown.get('verdict') or 'pass')}**",
        _list("", shown.get("reasons")),
        _table(shown.get("metrics"), against),
        _list("Notes", shown.get("notes")),
        *_made(settings, candidate),
        f"Not approved by the domain's policy: {plain(why_not)}." if why_not else "",
        f"[Gate report](/release-board/report/{quote(candidate.id)})",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _list(title: str, lines: object) -> str:
    found = [f"* {plain(line)}" for line in lines] if isinstance(lines, list | tuple) else []
    return "\n".join([*([f"{title}:", ""] if title and found else []), *found])


def _table(metrics: object, against: str) -> str:
    """A row per metric that votes, by suite."""
    rows = [_row(name, entry) for name, entry in metrics.items()] if isinstance(metrics, Mapping) else []
    if not rows:
        return ""
    head = ["suite", "metric", "value", "floor", f"loss against {plain(against)}", "at most", "allowed"]
    return "\n".join(_cells(cells) for cells in (head, ["---"] * len(head), *sorted(rows, key=lambda row: (row[0] != GOLDENS, row[0]))))


def _row(name: object, entry: object) -> list[str]:
    suite, _, metric = str(name).rpartition("/")
    # A report of before intervals were kept says a number alone.
    told = entry if isinstance(entry, Mapping) else {"value": entry}
    loss = told.get("loss")
    lost = loss if isinstance(loss, Mapping) else {"value": loss, "upper": told.get("upper")}
    value = _figure(told.get("value"))
    if told.get("low") is not None and told.get("high") is not None:
        value += f" [{_figure(told['low'])}, {_figure(told['high'])}]"
    others = (told.get("floor"), lost.get("value"), lost.get("upper"), told.get("margin"))
    # The column's head names the live release; forgetting is measured against another.
    compared = f"{plain(metric)} against {plain(told['against'])}" if told.get("against") else plain(metric)
    return [plain(suite or GOLDENS), compared, value, *(map(_figure, others))]


def _figure(value: object) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:.3f}"
    return NONE if value is None else plain(value)


def _cells(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _made(settings: Settings, candidate: Candidate) -> Iterable[str]:
    """What it is made from, what changed, and what that and the gate cost."""
    report = candidates.report_of(settings, candidate.id)
    with reading(settings) as session:
        plan, version = session.get(Plan, candidate.version_id), session.get(DatasetVersion, candidate.version_id)
    told = [f"Data: {plain(candidate.version_id)}, {version.documents if version else NONE} documents"]
    if plan is not None:
        changes = plan.signals.get("documents")
        if isinstance(changes, Mapping) and changes:
            told.append(", ".join(f"{plain(count)} {plain(kind)}" for kind, count in changes.items()))
        by = f" (by {plain(plan.overridden_by)}, in place of {plain(plan.decided)})" if plan.overridden_by else ""
        told.append(f"plan: {plain(plan.kind)}{by}")
    told.append(f"prompt: {plain(candidate.prompt)}")
    yield "; ".join(told) + "."
    cost = [f"training {_money(plan.cost)}"] if plan is not None and plan.cost else []
    manifest = find(settings, report.step_hash) if report is not None else None
    if manifest is not None:
        counts = ", ".join(f"{count:g} {plain(name)}" for name, count in manifest.counts.items())
        cost.append(f"gate {manifest.seconds:.0f} s" + (f" ({counts})" if counts else ""))
    if cost:
        yield f"Cost: {'; '.join(cost)}."


def _money(cost: Mapping[str, Any]) -> str:
    money, basis = cost.get("money"), cost.get("basis")
    if isinstance(money, int | float):
        return f"{'about ' if basis == 'estimated' else ''}{money:.2f} {plain(cost.get('currency') or '')}".rstrip()
    return plain(cost.get("why") or NONE)
