"""What the pages under /release-board share: the templates, who reads them, the headers that keep them shut, faults in words."""

from __future__ import annotations

import functools
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader

from pipelines.config import DomainConfig, Settings, load_domain
from pipelines.errors import BadInput, Conflict, NotAllowed, NotFound, RatchetError, Unavailable
from pipelines.state.models import now

TEMPLATES = Path(__file__).parent / "templates"
PAGES = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True)
STATUS = ((NotFound, 404), (BadInput, 422), (NotAllowed, 403), (Conflict, 409), (Unavailable, 503))
"""What an error means to a browser; the first that fits."""

MayRead = Callable[[str], bool]
"""Whether the present user may read a DAG."""


@dataclass(frozen=True)
class Reader:
    """Who asks for a page: Airflow's user name, and what Airflow lets them see."""

    name: str
    may_read: MayRead
    admin: bool = False


def domain_for(settings: Settings, name: str, reader: Reader) -> DomainConfig:
    """The domain, if the reader may see it. NotAllowed otherwise, also for one that there is not: nothing is told by the difference."""
    if not reader.may_read(f"{name}.release"):
        raise NotAllowed("you may not read this domain", todo="ask for a role of it")
    return load_domain(name, settings)


def may_read_text(domain: DomainConfig, reader: Reader) -> bool:
    """Whether masked questions and answers are shown to them: the domain's stewards and approvers, and administrators."""
    return reader.admin or reader.name in (*domain.roles.stewards, *domain.roles.approvers)


def guarded(style: str, script: str | None = None, *, form: bool = False) -> dict[str, str]:
    """Headers of every page: no frame of others, nothing loaded from elsewhere; no script and no form where none is asked for."""
    scripts, forms = f" script-src {script};" if script else "", "'self'" if form else "'none'"
    return {
        "Content-Security-Policy": f"default-src 'none'; style-src {style};{scripts} img-src data:; base-uri 'none'; form-action {forms}; "
        "frame-ancestors 'self'",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "same-origin",
        "Cache-Control": "no-store",
    }


def page(template: str, *, status: int = 200, script: bool = False, form: bool = False, **values: Any) -> HTMLResponse:
    """A rendered template, with a nonce of its own for its style sheet, and for its script where it has one."""
    nonce = secrets.token_urlsafe(12)
    body = PAGES.get_template(template).render(nonce=nonce, now=now(), **values)
    return HTMLResponse(body, status, headers=guarded(f"'nonce-{nonce}'", f"'nonce-{nonce}'" if script else None, form=form))


def fault(error: RatchetError) -> HTMLResponse:
    """An error as a page of its own."""
    status = next((code for kind, code in STATUS if isinstance(error, kind)), 500)
    title = {404: "Not found", 403: "Not allowed", 409: "Not now", 422: "Not understood"}.get(status, "Out of order")
    return page(
        "fault.html", status=status, title=title, what=f"{error.where}: {error.what}" if error.where else error.what, todo=error.todo
    )


def told(function: Callable[..., HTMLResponse]) -> Callable[..., HTMLResponse]:
    """An expected error is shown, not raised."""

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> HTMLResponse:
        try:
            return function(*args, **kwargs)
        except RatchetError as error:
            return fault(error)

    return wrapped


def ago(moment: datetime | None) -> str:
    """`3 min ago`."""
    if moment is None:
        return ""
    seconds = (now() - moment).total_seconds()
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit} ago"
    return "just now"


def stamp(moment: datetime | None) -> str:
    """UTC to the minute."""
    return f"{moment:%Y-%m-%d %H:%M} UTC" if moment else ""


def clock(moment: datetime | str | None) -> str:
    """UTC to the second, of a moment or an ISO text."""
    if not moment:
        return ""
    return f"{datetime.fromisoformat(moment) if isinstance(moment, str) else moment:%Y-%m-%d %H:%M:%S}"


PAGES.filters.update(ago=ago, stamp=stamp, clock=clock)
