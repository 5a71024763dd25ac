"""Masked questions and answers that are kept so that people can review them, for `feedback.keep_days`: `var/samples/<domain>/`.

The same segments as the traffic log's, a line per answer with its request's id; the text is `sealed.close`d. Written after the answer has
gone out: what a crash takes of it costs a review, never an answer.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import Field

from pipelines.config import DomainConfig, Settings
from pipelines.errors import NotFound
from pipelines.strict import Strict
from pipelines.traffic import sealed, segments
from pipelines.traffic.log import read as _read


class Shown(Strict):
    """A passage that the model was shown."""

    key: str
    content: str
    """Hash of the document version that it is of."""
    paragraph: str
    title: str
    text: str


class Sample(Strict):
    """One answer as it was given, masked."""

    at: datetime
    request_id: str
    question: str
    answer: str = Field(description="what the caller was told, before their own words were put back")
    span: str | None = Field(None, description="the answer alone, without its citation; none where there was none")
    as_of: str
    passages: tuple[Shown, ...] = ()
    cited: str | None = None
    release: str | None = None
    tenant: str | None = None
    key: str | None = None
    conversation: str | None = None
    confidence: float | None = None
    abstained: bool = False
    reason: str | None = None
    cache: str | None = None


OPEN = ("at", "request_id", "release", "tenant", "key", "conversation", "confidence", "abstained", "reason", "cache")
"""What of a line can be read without a key."""


def may_keep(domain: DomainConfig, store: bool | None) -> bool:
    """Whether an answer may be kept: by the domain's `feedback`, and by the request's `store`."""
    rule = domain.feedback
    if store is False or rule.keep == "none" or (rule.consent == "opt_in" and store is not True):
        return False
    return rule.keep == "sealed" or domain.privacy.profile == "public"


def line(settings: Settings, domain: DomainConfig, sample: Sample) -> dict[str, Any]:
    """What the log of samples gets."""
    # By hand: it is done for every answer, and pydantic's own way took 11 us instead of 6.
    values = {**sample.__dict__, "at": sample.at.isoformat()}
    text = {name: value for name, value in values.items() if name not in OPEN}
    text["passages"] = [passage.__dict__ for passage in sample.passages]
    stored = sealed.close(settings, domain, text, sample.at.astimezone(UTC).date().isoformat())
    return {**{name: values[name] for name in OPEN}, "sealed": base64.b64encode(stored).decode()}


def read(settings: Settings, domain: str, since: datetime | None = None, until: datetime | None = None) -> Iterator[Sample]:
    """Kept answers in the order of their time; those past their retention are left out."""
    for found in _read(settings, domain, since, until, kind="samples"):
        with suppress(NotFound):
            yield _sample(settings, domain, found)


def find(settings: Settings, domain: str, request_ids: Iterable[str]) -> dict[str, Sample]:
    """The kept answers of these requests, newest segments first; those that are not there are left out."""
    wanted = {one for one in request_ids if one}
    found: dict[str, Sample] = {}
    folder = segments.folder_of(settings, domain, "samples")
    for name in reversed(segments.names(folder)):
        if not wanted:
            break
        if (path := segments.place(folder, name)) is None:
            continue
        for record in segments.holding(path, sorted(wanted)):
            wanted.discard(record["request_id"])
            with suppress(NotFound):
                found[record["request_id"]] = _sample(settings, domain, record)
    return found


def forget(settings: Settings, domain: str, keep_days: int) -> int:
    """Delete the segments of days past their retention, and destroy those days' keys; returns the number of segments."""
    first = datetime.now(UTC) - timedelta(days=keep_days)
    gone = 0
    for path in segments.folder_of(settings, domain, "samples").glob("*.jsonl"):
        if segments.began(path.name).date() < first.date() and not segments.is_open(path):
            path.unlink()
            gone += 1
    sealed.forget(settings, domain, first.date().isoformat())
    return gone


def _sample(settings: Settings, domain: str, record: dict[str, Any]) -> Sample:
    text = sealed.read(settings, domain, base64.b64decode(record["sealed"]))
    return Sample.model_validate({**{name: record.get(name) for name in OPEN}, **text})
