"""`ratchet`: the command line. Each command is a few lines over the library; errors are one line; bad input exits 2 and changes nothing."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import typer
from rich.console import Console

from pipelines.cli import alerts, audit, calibrate, corpus, datasets, feedback, keys, learning, quarantine, releases, route, site, traffic
from pipelines.errors import RatchetError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
for part in (site, corpus, learning, releases, calibrate, route):
    app.add_typer(part.app)
app.add_typer(alerts.watching)
for name, part in (
    ("datasets", datasets),
    ("quarantine", quarantine),
    ("alerts", alerts),
    ("audit", audit),
    ("feedback", feedback),
    ("keys", keys),
    ("traffic", traffic),
):
    app.add_typer(part.app, name=name)
app.add_typer(feedback.review, name="review")


def main() -> None:
    """Entry point: expected errors become one line on stderr and their exit code."""
    try:
        app()
    except RatchetError as error:
        _leave_for_the_job(str(error))
        Console(stderr=True, soft_wrap=True).print(f"ratchet: {error}", style="red", markup=False, highlight=False)
        sys.exit(error.exit_code)


def _leave_for_the_job(message: str) -> None:
    if (job := os.environ.get("RATCHET_JOB")) is not None:
        (Path(job) / "error.txt").write_text(message, encoding="utf-8")
