"""Figures that are measured beside the traffic log, and how far each measuring came.

A figure is entered in the transaction that moves the mark of whoever measured it, so that a task that is cleared, or killed and run again,
enters nothing twice. Two figures of one measure, source, moment, release and request become one: the mean of both, by their answers.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from pipelines.config import Settings
from pipelines.state.database import reading, transaction
from pipelines.state.models import MonitorMark, Observation, now

Source = Literal["probe", "judge", "text", "drift", "drill"]
PROBE_KEY = "probe"
"""Name of the key that probes ask with: what it asked is no caller's traffic."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One value, the mean of `n` answers. `detail` holds figures and ids, never text; `weight` in it stands for `n` in a mean."""

    at: datetime
    measure: str
    source: Source
    value: float
    n: int = 1
    release: str | None = None
    request_id: str | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)


def add(session: Session, domain: str, figures: Sequence[Figure]) -> int:
    """Enter figures in the caller's transaction; returns how many rows are new. One that is there already takes the other in."""
    new = 0
    for one in figures:
        query = select(Observation).where(
            Observation.domain == domain,
            Observation.measure == one.measure,
            Observation.at == one.at,
            Observation.source == one.source,
            Observation.release == one.release,
            Observation.request_id == one.request_id,
        )
        row = session.scalar(query.limit(1))
        if row is not None and one.request_id is None:
            row.value = (row.value * row.n + one.value * one.n) / (row.n + one.n)
            row.n += one.n
            row.detail = {**row.detail, **one.detail}
        elif row is None:
            new += 1
            session.add(
                Observation(
                    domain=domain,
                    at=one.at,
                    measure=one.measure,
                    source=one.source,
                    release=one.release,
                    request_id=one.request_id,
                    value=one.value,
                    n=one.n,
                    detail=dict(one.detail),
                )
            )
            session.flush()
    return new


def read(
    settings: Settings, domain: str, measures: Collection[str], since: datetime, until: datetime, *, release: str | None = None
) -> list[Observation]:
    """Figures of these measures from `since` until before `until`, oldest first, detached."""
    query = select(Observation).where(
        Observation.domain == domain, Observation.measure.in_(sorted(measures)), Observation.at >= since, Observation.at < until
    )
    if release is not None:
        query = query.where(Observation.release == release)
    with reading(settings) as session:
        return list(session.scalars(query.order_by(Observation.at, Observation.id)))


def mean(rows: Sequence[Observation]) -> tuple[float | None, int]:
    """(weighted mean, answers that it rests on); None of nothing.

    An answer that was drawn with probability p counts 1/p times (`detail.weight`), so that a sample that prefers some is still a fair one:
    the ratio form of D. G. Horvitz and D. J. Thompson, "A Generalization of Sampling Without Replacement From a Finite Universe", JASA 47,
    1952, after J. Hájek, 1971.
    """
    weights = [float(row.detail.get("weight", row.n)) for row in rows]
    total = sum(weights)
    if not total:
        return None, 0
    return sum(row.value * weight for row, weight in zip(rows, weights, strict=True)) / total, sum(row.n for row in rows)


def prune(settings: Settings, domain: str, before: datetime) -> int:
    """Delete the figures of before that moment; returns how many there were."""
    with transaction(settings) as session:
        gone = session.execute(delete(Observation).where(Observation.domain == domain, Observation.at < before))
        return int(getattr(gone, "rowcount", 0))


def state(settings: Settings, domain: str, name: str) -> dict[str, Any]:
    """What the mark of that name holds; empty where there is none yet."""
    with reading(settings) as session:
        row = session.get(MonitorMark, (domain, name))
        return dict(row.state) if row is not None else {}


@contextmanager
def marked(settings: Settings, domain: str, name: str) -> Iterator[tuple[Session, dict[str, Any]]]:
    """A transaction with the mark's state, locked, to be changed in place; it is kept at the end, or nothing is."""
    with transaction(settings) as session:
        row = session.get(MonitorMark, (domain, name), with_for_update=True)
        if row is None:
            row = MonitorMark(domain=domain, name=name, state={})
            session.add(row)
        held = dict(row.state)
        yield session, held
        row.state, row.at = held, now()
