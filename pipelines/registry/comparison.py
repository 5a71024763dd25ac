"""Two candidates, adapters or trainings side by side: what went in, how training went, what it cost, what the gate said."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from pipelines.config import Settings
from pipelines.errors import NotFound
from pipelines.state.database import reading
from pipelines.state.models import Artifact, Candidate, DatasetVersion, GateReport, ManifestRow

Row = dict[str, Any]
PARTS = ("parts", "data", "recipe", "training", "cost")
_LAST = 10
"""Steps whose mean is a curve's end: one step's loss is noise."""


def compare(settings: Settings, a: str, b: str) -> Row:
    """`{"a": side, "b": side, "documents": {...}}`; a side is {id, parts, data, recipe, training, cost, gate}. Reads only.

    An id: a candidate or release (`regulatory/r3`), an adapter (`adapter-0123...`), or a training's hash, as a manifest has it, from eight
    characters on. NotFound names the nearest ones.
    """
    with reading(settings) as session:
        one, other = (_side(settings, session, name) for name in (a, b))
    return {"a": one, "b": other, "documents": _documents(settings, one, other)}


def lines(found: Row) -> Iterator[tuple[str, str, Any, Any, str]]:
    """(part, name, of a, of b, mark) for a table; marked where they differ."""
    one, other = found["a"], found["b"]
    for part in PARTS:
        for name in one[part] | other[part]:
            yield _line(part, name, one[part].get(name), other[part].get(name))
    for name in one["gate"]["metrics"] | other["gate"]["metrics"]:
        yield _line("gate", name, *(_interval(side["gate"]["metrics"].get(name)) for side in (one, other)))
    yield _line("gate", "verdict", one["gate"]["verdict"], other["gate"]["verdict"])
    for name, count in found["documents"].items():
        yield "documents", f"{name} from the first to the second", "", count, ""


def _line(part: str, name: str, one: Any, other: Any) -> tuple[str, str, Any, Any, str]:
    return part, name, one, other, "" if one == other else "differs"


def _interval(metric: Row | None) -> str | None:
    """`0.938 [0.811, 0.994]`"""
    if metric is None or metric.get("value") is None:
        return None
    low, high = metric.get("low"), metric.get("high")
    return f"{metric['value']:.3f}" + (f" [{low:.3f}, {high:.3f}]" if low is not None and high is not None else "")


def _side(settings: Settings, session: Session, name: str) -> Row:
    candidate = session.get(Candidate, name)
    adapter = session.get(Artifact, candidate.adapter_id) if candidate is not None and candidate.adapter_id else None
    if candidate is None:
        adapter = _adapter(session, name)
        if adapter is None:
            near = difflib.get_close_matches(name, _known(session), n=3, cutoff=0.4)
            hint = f"the nearest: {', '.join(near)}" if near else "`ratchet candidates` lists what there is"
            raise NotFound(f"there is no candidate, adapter or training {name!r}", todo=hint)
    facts = dict(adapter.facts) if adapter is not None else {}
    version_id = candidate.version_id if candidate is not None else str(facts.get("version"))
    told = _told(settings, adapter)
    side: Row = {
        "id": name,
        "parts": {
            "base": candidate.base if candidate is not None else facts.get("base"),
            "adapter": adapter.id if adapter is not None else None,
            "prompt": candidate.prompt if candidate is not None else facts.get("prompt"),
            "index": candidate.index_id if candidate is not None else None,
        },
        "data": _data(session, version_id, adapter, facts),
        "recipe": told.get("recipe", {}),
        "training": _training(told),
        "cost": {key: value for key, value in (facts.get("cost") or {}).items() if value not in (None, "")},
        "gate": {"verdict": None, "metrics": {}},
    }
    report = session.get(GateReport, candidate.id) if candidate is not None else None
    if report is not None:
        side["gate"] = {"verdict": report.verdict, "metrics": report.metrics}
    return side


def _adapter(session: Session, name: str) -> Artifact | None:
    """By its id, or by its training's hash or the beginning of it."""
    row = session.get(Artifact, name)
    if row is None and len(name) >= 8:
        found = session.scalars(
            select(Artifact).where(Artifact.kind == "adapter", Artifact.step_hash.startswith(name, autoescape=True))
        ).all()
        row = found[0] if len(found) == 1 else None
    return row if row is not None and row.kind == "adapter" else None


def _known(session: Session) -> list[str]:
    adapters = session.scalars(select(Artifact.id).where(Artifact.kind == "adapter"))
    return [*session.scalars(select(Candidate.id)), *adapters]


def _data(session: Session, version_id: str, adapter: Artifact | None, facts: Row) -> Row:
    version = session.get(DatasetVersion, version_id)
    learned = session.get(DatasetVersion, str(facts.get("version")))
    packed = session.get(Artifact, str(facts.get("training_set")))
    found = {"version": version_id, "documents": version.documents if version is not None else None}
    if adapter is not None:
        found |= {"learned_from": facts.get("version"), "documents_learned_from": learned.documents if learned is not None else None}
        found |= {"examples": facts.get("examples"), "training_set": packed.id if packed is not None else None}
    return found


def _told(settings: Settings, adapter: Artifact | None) -> Row:
    """The adapter's own facts.json; of an adapter whose folder is gone, what its manifest kept."""
    if adapter is None:
        return {}
    path = settings.artifacts / adapter.path / "facts.json"
    if path.is_file():
        told: Row = json.loads(path.read_text(encoding="utf-8"))
        return told
    with reading(settings) as session:
        manifest = session.get(ManifestRow, adapter.step_hash)
    return dict(adapter.facts) | {"recipe": manifest.body["config"].get("recipe", {}) if manifest is not None else {}}


def _training(told: Row) -> Row:
    """The ends of the curves, speed, time and memory."""
    history = [row for row in told.get("history", []) if "loss" in row]
    found: Row = {name: told[name] for name in ("steps", "ranks", "threads", "seconds", "peak_mb", "trained_parameters") if name in told}
    if history:
        speeds = sorted(row["tokens_per_second"] for row in history if "tokens_per_second" in row)
        found |= {
            "first_loss": _mean([row["loss"] for row in history[:_LAST]]),
            "final_loss": _mean([row["loss"] for row in history[-_LAST:]]),
            "median_tokens_per_second": speeds[len(speeds) // 2] if speeds else None,
        }
    return found


def _mean(values: list[float]) -> float:
    return round(sum(values) / len(values), 6)


def _documents(settings: Settings, one: Row, other: Row) -> Row:
    """Changes from the first version to the second, where both are of one domain."""
    from collections import Counter

    from pipelines.corpus import warehouse

    names = [side["data"]["version"] for side in (one, other)]
    with reading(settings) as session:
        versions = [session.get(DatasetVersion, name) for name in names]
    first, second = versions
    if first is None or second is None or first.domain != second.domain or first.id == second.id:
        return {}
    counts = Counter(change.kind for change in warehouse.diff(settings, first.domain, first.id, second.id))
    return dict(sorted(counts.items()))
