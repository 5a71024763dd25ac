"""The site's commands: start and stop the services, see how they are, give out keys, run the demo."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from pipelines.cli.common import AsJson, show
from pipelines.config import load_settings

app = typer.Typer()


@app.command()
def up(foreground: Annotated[bool, typer.Option(help="Stay attached; stop everything on Ctrl-C.")] = False) -> None:
    """Start Airflow, MLflow, Triton, the gateway and the watcher on this host."""
    from pipelines.site import site

    site.up(load_settings(), foreground=foreground)


@app.command()
def down() -> None:
    """Stop what `up` started, and nothing else."""
    from pipelines.site import site

    site.down(load_settings())


@app.command()
def status(as_json: AsJson = False) -> None:
    """What runs, where, since when, and how much memory it takes."""
    from pipelines.site import site

    rows = [asdict(row) for row in site.status(load_settings())]
    show(as_json, rows, ("name", "state", "pid", "rss_mb", "uptime", "restarts", "url"))


@app.command()
def doctor(
    repair: Annotated[bool, typer.Option(help="Deliver what other systems were not told yet.")] = True,
    as_json: AsJson = False,
) -> None:
    """Find what is missing or broken, and repair what can be repaired."""
    from pipelines.site import doctor as examine

    findings = examine.examine(load_settings(), repair=repair)
    show(as_json, findings, ("check", "ok", "detail"))
    if not all(finding["ok"] for finding in findings):
        raise typer.Exit(1)


@app.command()
def migrate() -> None:
    """Create or upgrade the control database."""
    from pipelines.state.database import migrate as upgrade

    settings = load_settings()
    upgrade(settings)
    Console().print(f"control database is up to date: {_hide(settings.database)}")


@app.command()
def demo(
    data: Annotated[Path | None, typer.Option(help="Public data to run on instead of the generated sample (see README).")] = None,
    keep_up: Annotated[bool, typer.Option(help="Leave the services running.")] = True,
) -> None:
    """The whole story, end to end, through Airflow."""
    from pipelines.demo import story

    story.tell(load_settings(), data=data, keep_up=keep_up)


def _hide(url: str) -> str:
    from sqlalchemy.engine import make_url

    return make_url(url).render_as_string(hide_password=True)
