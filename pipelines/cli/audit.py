"""`ratchet audit`: check and read the audit log."""

from __future__ import annotations

from typing import Annotated

import typer

from pipelines.cli.common import AsJson, show
from pipelines.config import load_settings

app = typer.Typer(no_args_is_help=True, help="The audit log.")


@app.command("verify")
def audit_verify(as_json: AsJson = False) -> None:
    """Check the hash chain."""
    from pipelines.governance import audit
    from pipelines.state.database import reading

    with reading(load_settings()) as session:
        count, faults = audit.verify(session)
    show(as_json, [{"events": count, "whole": not faults, "faults": "; ".join(faults)}], ("events", "whole", "faults"))
    if faults:
        raise typer.Exit(1)


@app.command("show")
def auditshow(
    subject: Annotated[str | None, typer.Argument(help="e.g. regulatory/r3")] = None,
    last: int = 40,
    as_json: AsJson = False,
) -> None:
    """The newest events, of one subject or of all."""
    from pipelines.registry import views

    show(
        as_json,
        views.audit_events(load_settings(), subject, last),
        ("seq", "at", "actor", "action", "subject", "allowed", "detail"),
    )
