"""The monitoring pages under /release-board/monitoring: plots over time, incidents, and single masked requests behind them.

Figures are shown to whoever may read the domain's `release` DAG; questions and answers only to its stewards, its approvers and
administrators, and every reading is audited. Plots are drawn once in half a minute, however many people look.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast, get_args
from urllib.parse import quote, urlencode

from fastapi import FastAPI, Query
from fastapi.responses import HTMLResponse
from pages import PAGES, Reader, domain_for, may_read_text, page, told

from pipelines.config import DomainConfig, Settings
from pipelines.errors import BadInput
from pipelines.feedback import figures
from pipelines.monitor_config import By
from pipelines.monitoring import charts, page_data, page_events, page_requests
from pipelines.monitoring.measures import MEASURES
from pipelines.monitoring.windows import Window
from pipelines.registry import pointer
from pipelines.state.models import now

REFRESH = 60
"""Seconds after which the page asks anew."""
_KEPT = 30.0
_HOURS = ((1, "1 h"), (6, "6 h"), (24, "24 h"), (168, "7 d"), (720, "30 d"))
ROOT = "/release-board/monitoring"


@dataclass(frozen=True)
class Drawn:
    """Plots with what stands above each: title, SVG, and per line its name and last value."""

    page: page_data.Page
    plots: list[dict[str, Any]]


@dataclass
class Kept:
    """What was drawn lately. One drawing at a time: two would only slow one another."""

    seconds: float = _KEPT
    held: dict[tuple[Any, ...], tuple[float, Drawn]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def get(self, key: tuple[Any, ...], draw: Callable[[], Drawn]) -> Drawn:
        """What is held of this key and young enough, else drawn now."""
        with self.lock:
            moment = time.monotonic()
            self.held = {name: one for name, one in self.held.items() if moment - one[0] < self.seconds}
            if key not in self.held:
                self.held[key] = (moment, draw())
            return self.held[key][1]


KEPT = Kept()


def address(domain: str, by: str, begin: datetime, end: datetime, group: str) -> str:
    """Of the list of requests of a time and group."""
    asked = {"from": _iso(begin), "to": _iso(end)} | ({"by": by, "group": group} if group != "all" else {})
    return f"{ROOT}/{quote(domain)}/requests?{urlencode(asked)}"


def draw(settings: Settings, domain: DomainConfig, hours: float, by: By, moment: datetime) -> Drawn:
    """Read, count and draw."""
    found = page_data.page(
        settings, domain, hours=hours, by=by, moment=moment, link=lambda begin, end, group: address(domain.domain, by, begin, end, group)
    )
    plots = [
        {
            "chart": one,
            "svg": charts.svg(one),
            "lines": [(line.name, charts.shown(_last(line.values), one.unit)) for line in one.lines[: charts.LINES]],
        }
        for one in found.charts
    ]
    return Drawn(found, plots)


def monitoring(settings: Settings, name: str, reader: Reader, *, hours: float = 24.0, by: str = "all", still: bool = False) -> HTMLResponse:
    """The page of a domain."""
    domain, by = domain_for(settings, name, reader), _by(by)
    page_data.span(hours, now())
    drawn = KEPT.get((settings.database, name, hours, by), lambda: draw(settings, domain, hours, by, now()))
    incidents = page_events.incidents(settings, name)
    return page(
        "monitoring.html",
        domain=domain,
        drawn=drawn,
        shown=drawn.page,
        hours=hours,
        by=by,
        bys=get_args(By),
        spans=_HOURS,
        refresh=None if still else REFRESH,
        still=still,
        live=pointer.current(settings, name),
        open=[one for one in incidents if one["state"] in page_events.OPEN],
        past=[one for one in incidents if one["state"] not in page_events.OPEN],
        undelivered=sum(len(one["failed"]) for one in incidents),
        restraints=page_events.restraints(settings, name, now()),
        silences=page_events.silences(settings, name, now()),
        waits=page_events.review_waits(settings, name),
        loop=_loop(settings, name),
        columns=_columns(drawn.page.rows),
        of_groups=_columns(drawn.page.groups),
        link=lambda begin, end, group="all": address(name, by, begin, end, group),
        me=f"{ROOT}/{quote(name)}",
    )


def requests(
    settings: Settings, name: str, reader: Reader, *, begin: str, end: str, by: str = "all", group: str = "all", skip: int = 0
) -> HTMLResponse:
    """The requests of a time."""
    domain, by = domain_for(settings, name, reader), _by(by)
    first, last = _moment(begin), _moment(end)
    found = page_requests.listed(settings, domain, first, last, by=by, group=group, skip=skip)
    asked = {"from": _iso(first), "to": _iso(last), "by": by, "group": group}
    pages = {
        "newer": f"?{urlencode(asked | {'skip': max(skip - page_requests.LISTED, 0)})}" if skip else None,
        "older": f"?{urlencode(asked | {'skip': skip + page_requests.LISTED})}" if found.count > skip + len(found.rows) else None,
    }
    return page(
        "requests.html", domain=domain, found=found, begin=first, end=last, by=by, group=group, skip=skip, pages=pages,
        me=f"{ROOT}/{quote(name)}", at=lambda row: row["at"].astimezone(UTC),
    )  # fmt: skip


def request(settings: Settings, name: str, reader: Reader, request_id: str) -> HTMLResponse:
    """One request: its record, and its text for those who may read it."""
    domain = domain_for(settings, name, reader)
    record = page_requests.record(settings, domain, request_id)
    may = may_read_text(domain, reader)
    return page(
        "request.html",
        domain=domain,
        record=record,
        request_id=request_id,
        may=may,
        text=page_requests.text(settings, domain, request_id, reader.name) if may else None,
        beside=page_requests.beside(settings, name, request_id),
        me=f"{ROOT}/{quote(name)}",
    )


def mount(app: FastAPI, who: Any, settings: Callable[[], Settings]) -> None:
    """Add the routes. `who`: the annotation whose dependency is the Reader."""

    @told
    def show(domain: str, reader: Reader, hours: float = 24.0, by: str = "all", still: bool = False) -> HTMLResponse:
        return monitoring(settings(), domain, reader, hours=hours, by=by, still=still)

    @told
    def several(
        domain: str,
        reader: Reader,
        begin: str = Query(alias="from"),
        end: str = Query(alias="to"),
        by: str = "all",
        group: str = "all",
        skip: int = 0,
    ) -> HTMLResponse:
        return requests(settings(), domain, reader, begin=begin, end=end, by=by, group=group, skip=skip)

    @told
    def one(domain: str, request_id: str, reader: Reader) -> HTMLResponse:
        return request(settings(), domain, reader, request_id)

    for function in (show, several, one):
        function.__annotations__["reader"] = who
    app.get("/monitoring/{domain}", response_class=HTMLResponse)(show)
    app.get("/monitoring/{domain}/requests", response_class=HTMLResponse)(several)
    app.get("/monitoring/{domain}/requests/{request_id:path}", response_class=HTMLResponse)(one)


def _loop(settings: Settings, domain: str) -> list[tuple[str, str]]:
    """The loop's own figures, as far as there are any."""
    told = figures.loop(settings, domain)
    hours = told["hours_to_mend"]["median"]
    found = [
        ("from complaint to mended", None if hours is None else f"{hours:.0f} h" if hours >= 2 else f"{60 * hours:.0f} min"),
        ("of accepted, mended", None if told["mended_share"] is None else charts.shown(told["mended_share"], "share")),
        ("of mended, wrong again", None if told["regressed_share"] is None else charts.shown(told["regressed_share"], "share")),
    ]
    return [(says, value) for says, value in found if value is not None]


def _columns(rows: Sequence[Window]) -> list[tuple[str, str, charts.Unit, str]]:
    """Measure, heading, unit and explanation of what a table of these windows has figures of."""
    measured = {measure for row in rows for measure, value in row.values.items() if value is not None}
    return [
        (measure, plot.title.lower() if len(plot.measures) == 1 else f"{plot.title.lower()}: {label}", plot.unit, MEASURES[measure].says)
        for plot in page_data.PLOTS
        for measure, label in plot.measures
        if measure in measured and measure != "requests"
    ]


def _by(text: str) -> By:
    if text not in get_args(By):
        raise BadInput(f"requests are not told apart by {text!r}", where="by", todo=f"ask for one of {', '.join(get_args(By))}")
    return cast(By, text)


def _moment(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise BadInput(f"{text!r} is no moment", where="from, to", todo="write it as 2026-03-01T12:00:00Z") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _iso(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _last(values: Any) -> float | None:
    return next((value for value in reversed(values) if value is not None), None)


def _figure(value: float | None, unit: charts.Unit) -> str:
    return charts.shown(value, unit)


PAGES.filters.update(figure=_figure)
