"""`ratchet datasets`: list, show, compare and restore versions."""

from __future__ import annotations

from typing import Annotated

import typer

from pipelines.cli.common import AsJson, actor, show
from pipelines.config import load_settings

app = typer.Typer(no_args_is_help=True, help="Dataset versions.")


@app.command("list")
def datasets_list(domain: Annotated[str | None, typer.Argument()] = None, as_json: AsJson = False) -> None:
    """Every dataset version."""
    from pipelines.registry import views

    show(
        as_json,
        views.versions(load_settings(), domain),
        ("version", "documents", "changed", "known_on", "snapshot", "arrival"),
    )


@app.command("show")
def datasetsshow(version: str, as_json: AsJson = False) -> None:
    """The documents of one version."""
    from pipelines.registry import views

    show(as_json, views.documents(load_settings(), version), ("key", "valid_from", "valid_to", "text"))


@app.command("diff")
def datasets_diff(before: str, after: str, as_json: AsJson = False) -> None:
    """What changed from one version to another."""
    from pipelines.registry import views

    show(as_json, views.diff(load_settings(), before, after), ("change", "key", "valid_from", "text"))


@app.command("restore")
def datasets_restore(
    version: str,
    reason: Annotated[str, typer.Option(help="Why; goes to the audit log.")],
    as_json: AsJson = False,
) -> None:
    """Make a new version with the documents of an old one. Nothing is deleted; `finetune` takes it like any other version."""
    from pipelines.steps import restore

    made = restore.restore(load_settings(), version, actor=actor(), reason=reason)
    show(as_json, [{"version": made, "restores": version}], ("version", "restores"))
