"""`ratchet traffic`: the traffic log, and its way into the warehouse."""

from __future__ import annotations

from typing import Annotated

import typer

from pipelines.cli.common import AsJson, DomainName, print_json, show
from pipelines.config import load_settings

app = typer.Typer(no_args_is_help=True, help="What was asked and answered: one masked record a request.")
_COLUMNS = ("at", "release", "status", "key", "latency_ms", "tokens_out", "confidence", "abstained", "reason", "cited", "cache", "canary")


@app.command("rotate")
def rotate(
    domain: Annotated[str | None, typer.Argument(help="A domain; default all.")] = None,
    keep_days: Annotated[int, typer.Option(min=0, help="Days that a segment stays on disk after it is in the warehouse.")] = 7,
    as_json: AsJson = False,
) -> None:
    """Put closed segments into the warehouse. Safe to repeat, also after a crash."""
    from pipelines.steps import traffic

    settings = load_settings()
    rows = [traffic.rotate(settings, domain, keep_days)] if domain else traffic.rotate_all(settings, keep_days)
    show(as_json, rows, ("domain", "segments", "lines", "rows", "bad", "finished", "deleted"))


@app.command("show")
def show_last(
    domain: DomainName,
    last: Annotated[int, typer.Option(min=1, help="How many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """The newest requests of a domain that are still on this host's disk."""
    from pipelines.steps import traffic

    rows = traffic.last(load_settings(), domain, last)
    if as_json:
        print_json(rows)
    else:
        show(False, rows, _COLUMNS)
