"""The release board: per domain what is live, what arrived and what became of it. Reads the control database, changes nothing.

Plugin routes are of Airflow's own origin, where the user's token is, and public unless they ask for a user: so every route here depends on
one, everything is escaped, and the content policy forbids scripts altogether. The monitoring and review pages are mounted beside it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import monitor_page
import review_page
from fastapi import Depends, FastAPI, HTTPException
from fastapi.responses import HTMLResponse
from pages import PAGES, MayRead, Reader, guarded, page
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from pipelines.config import Settings, domain_names, load_domain, load_settings
from pipelines.errors import ConfigError, Unavailable
from pipelines.monitoring import page_events
from pipelines.registry import views
from pipelines.state.database import reading
from pipelines.state.models import Approval, Arrival, Candidate, DatasetVersion, GateReport, Plan, Pointer, ReviewItem
from pipelines.steps import quarantine

LATEST = 20


def domains_for(settings: Settings, may_read: MayRead) -> list[dict[str, Any]]:
    """One dict per domain the user may see, ready for the template; a broken domain file gives its error instead."""
    found = []
    for name in domain_names(settings):
        if not may_read(f"{name}.release"):
            continue
        with reading(settings) as session:
            shown = _domain(session, name)
        kinds = {row.id: [kind for kind in views.REPORTS if views.report(settings, row, kind)] for row in shown["arrivals"]}
        shown |= {"kinds": kinds, "held": quarantine.held(settings, name, limit=LATEST), "waiting": quarantine.waiting(settings, name)}
        shown["to_review"] = sum(page_events.review_waits(settings, name).values())
        try:
            shown["description"] = load_domain(name, settings).description
        except ConfigError as error:
            shown["fault"] = str(error)
        found.append(shown)
    return found


def _domain(session: Session, name: str) -> dict[str, Any]:
    pointer = session.get(Pointer, name)
    live = session.get(Candidate, pointer.live_id) if pointer and pointer.live_id else None
    candidates = session.scalars(select(Candidate).where(Candidate.domain == name).order_by(Candidate.number.desc()).limit(LATEST)).all()
    ids = [candidate.id for candidate in candidates]
    mended = select(ReviewItem.mended_by, func.count()).where(ReviewItem.mended_by.in_(ids)).group_by(ReviewItem.mended_by)
    return {
        "name": name,
        "pointer": pointer,
        "live": live,
        "approval": session.get(Approval, live.id) if live else None,
        "candidates": candidates,
        "reports": {r.candidate_id: r for r in session.scalars(select(GateReport).where(GateReport.candidate_id.in_(ids)))},
        "mended": {release: count for release, count in session.execute(mended)},
        "arrivals": session.scalars(select(Arrival).where(Arrival.domain == name).order_by(Arrival.received_at.desc()).limit(LATEST)).all(),
        "versions": session.execute(
            select(DatasetVersion, Plan)
            .outerjoin(Plan, Plan.version_id == DatasetVersion.id)
            .where(DatasetVersion.domain == name)
            .order_by(DatasetVersion.major.desc(), DatasetVersion.minor.desc())
            .limit(LATEST)
        ).all(),
    }


def render(settings: Settings, may_read: MayRead) -> HTMLResponse:
    """The page."""
    try:
        domains, fault = domains_for(settings, may_read), None
    except Unavailable as error:
        domains, fault = [], str(error)
    return page("release_board.html", domains=domains, fault=fault, mlflow=settings.url("mlflow"))


def report_file(settings: Settings, domain: str, number: str) -> Path:
    """The HTML of a candidate's gate report; 404 for anything that is not a file of the artifact store."""
    with reading(settings) as session:
        row = session.get(GateReport, f"{domain}/{number}")
    if row is None:
        raise HTTPException(404, "there is no gate report for this candidate")
    root = settings.artifacts.resolve()
    folder = (root / row.path).resolve()
    pages = sorted(path for path in folder.glob("*.html") if path.resolve().is_relative_to(root)) if folder.is_relative_to(root) else []
    if not pages:
        raise HTTPException(404, "the gate report is not in the artifact store")
    return pages[0]


def arrival_report(settings: Settings, domain: str, arrival_id: str, kind: str) -> str:
    """The page of an arrival's contract or masking report; 404 where there is none."""
    with reading(settings) as session:
        row = session.get(Arrival, arrival_id)
    path = views.report(settings, row, kind) if row is not None and row.domain == domain and kind in views.REPORTS else None
    if row is None or path is None:
        raise HTTPException(404, "there is no such report of this arrival")
    text = path.read_text(encoding="utf-8")
    return text if path.suffix == ".html" else PAGES.get_template("masking_report.html").render(arrival=row, told=json.loads(text))


def _apart(text: str) -> HTMLResponse:
    """`sandbox`: a report is a file; whatever got into it must not act as the reader."""
    headers = guarded("'unsafe-inline'")
    headers["Content-Security-Policy"] += "; sandbox allow-popups allow-top-navigation-by-user-activation"
    return HTMLResponse(text, headers=headers)


def make_app() -> FastAPI:
    """The app Airflow mounts under /release-board."""
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.models.resource_details import DagDetails
    from airflow.api_fastapi.core_api.security import GetUserDep, get_user

    # On the app, so that no later route can forget it; no schema pages, which FastAPI would serve to anyone.
    app = FastAPI(title="Release board", dependencies=[Depends(get_user)], docs_url=None, redoc_url=None, openapi_url=None)

    def readable(user: Any) -> MayRead:
        return lambda dag_id: bool(get_auth_manager().is_authorized_dag(method="GET", details=DagDetails(id=dag_id), user=user))

    def board(user: GetUserDep) -> HTMLResponse:
        return render(load_settings(), readable(user))

    def report(domain: str, number: str, user: GetUserDep) -> HTMLResponse:
        if not readable(user)(f"{domain}.release"):
            raise HTTPException(403, "you may not read this domain")
        return _apart(report_file(load_settings(), domain, number).read_text(encoding="utf-8"))

    def delivered(domain: str, arrival: str, kind: str, user: GetUserDep) -> HTMLResponse:
        if not readable(user)(f"{domain}.release"):
            raise HTTPException(403, "you may not read this domain")
        return _apart(arrival_report(load_settings(), domain, arrival, kind))

    def reader(user: GetUserDep) -> Reader:
        roles = {str(getattr(role, "name", role)).lower() for role in getattr(user, "roles", ())}
        return Reader(user.get_name(), readable(user), admin="admin" in roles)

    # Annotations are looked up by FastAPI in this function's names, which strings of `from __future__` would hide.
    for function in (board, report, delivered, reader):
        function.__annotations__["user"] = GetUserDep
    app.get("/", response_class=HTMLResponse)(board)
    app.get("/report/{domain}/{number}", response_class=HTMLResponse)(report)
    app.get("/arrival/{domain}/{arrival}/{kind}", response_class=HTMLResponse)(delivered)
    for more in (monitor_page, review_page):
        more.mount(app, Annotated[Reader, Depends(reader)], lambda: load_settings())
    return app
