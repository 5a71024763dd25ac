"""Single masked requests, for who looks behind a plot: the list of a window's, and one of them with its text where that was kept."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pipelines.config import DomainConfig, Settings
from pipelines.errors import BadInput, NotFound
from pipelines.governance import audit
from pipelines.monitor_config import By
from pipelines.monitoring import history, windows
from pipelines.monitoring.page_data import MAX_HOURS
from pipelines.monitoring.source import text as quoted
from pipelines.state.database import reading, transaction
from pipelines.state.models import FeedbackRow, Observation, ReviewItem
from pipelines.traffic import log, samples, segments

LISTED = 200
"""Requests on one page of the list."""
_FIELDS = (
    "at", "request_id", "release", "canary", "tenant", "status", "latency_ms", "tokens_in", "tokens_out", "confidence", "abstained",
    "reason", "cited", "cache", "route", "stored", "guards",
)  # fmt: skip
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Listed:
    """Some of the requests of a time, newest first, and how many there are in it."""

    rows: list[Row]
    count: int


def listed(
    settings: Settings, domain: DomainConfig, begin: datetime, end: datetime, *, by: By = "all", group: str = "all", skip: int = 0
) -> Listed:
    """Requests that came from `begin` until before `end`, of one group or all, without those that only a shadow answered.

    BadInput where the end is not after the begin, more than 31 days lie between, or `skip` is below nought.
    """
    if not begin < end <= begin + timedelta(hours=MAX_HOURS) or skip < 0:
        raise BadInput("that is no time to look at", where="from, to", todo=f"give a beginning, and an end at most {MAX_HOURS} hours later")
    records = f"{windows.records_sql(windows.group_sql(by, domain.monitors), begin, end)} WHERE grp = {quoted(group)}"
    fields = ", ".join(f'"{name}"' for name in _FIELDS)
    with closing(history.history(settings, domain.domain, begin, end)) as source:
        count = source.arrow(f"SELECT count(*) AS n FROM {records}").to_pylist()[0]["n"]  # noqa: S608
        order = f'ORDER BY "at" DESC, request_id LIMIT {LISTED} OFFSET {int(skip)}'
        rows = source.arrow(f"SELECT {fields} FROM {records} {order}").to_pylist()  # noqa: S608
    return Listed(rows, int(count))


def record(settings: Settings, domain: DomainConfig, request_id: str) -> Row:
    """The record of a request, every field but the question. NotFound where this host's log does not have it any more."""
    found = log.find(settings, domain.domain, request_id)
    if found is None:
        raise NotFound(f"there is no request {request_id!r}", where=domain.domain, todo="the log keeps seven days on this host")
    return {name: found.get(name) for name in segments.Record.model_fields if name != "question_masked"}


def beside(settings: Settings, domain: str, request_id: str) -> dict[str, list[Any]]:
    """What was measured of a request, what callers said of it, and the review items that it came to."""
    with reading(settings) as session:
        said = session.query(FeedbackRow).filter(FeedbackRow.domain == domain, FeedbackRow.request_id == request_id).all()
        items = [row.item_id for row in said if row.item_id]
        return {
            "figures": session.query(Observation).filter(Observation.domain == domain, Observation.request_id == request_id).all(),
            "said": list(said),
            "items": session.query(ReviewItem).filter(ReviewItem.id.in_(items)).all(),
        }


def text(settings: Settings, domain: DomainConfig, request_id: str, reader: str) -> samples.Sample | None:
    """The masked question, answer and passages, where they were kept. The reading is audited before anything is read."""
    with transaction(settings) as session:
        audit.record(session, actor=reader, action="answer.read", subject=f"{domain.domain}/{request_id}"[:200])
    return samples.find(settings, domain.domain, [request_id]).get(request_id)
