"""What the commands share: the options they all take, who the caller is, and how a result is printed."""

from __future__ import annotations

import getpass
import json
import sys
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

WIDE = 200
"""Columns of a table that goes into a file or a pipe, where nothing has a width and Rich would fold at 80."""
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
DomainName = Annotated[str, typer.Argument(help="A domain: a file under configs/domains/.")]


def actor() -> str:
    """The OS user of this host: the actor of a local command is authenticated, never typed."""
    return f"os:{getpass.getuser()}"


def show(as_json: bool, rows: list[dict[str, Any]], columns: tuple[str, ...]) -> None:
    if as_json:
        print_json(rows)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(_cell(row.get(column)) for column in columns))
    console = Console(width=None if sys.stdout.isatty() else WIDE)
    console.print(table) if rows else console.print("nothing yet")


def _cell(value: object) -> str:
    from rich.markup import escape

    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.3f}"
    return escape(json.dumps(value) if isinstance(value, dict | list) else str(value))


def print_json(value: object) -> None:
    typer.echo(json.dumps(value, indent=2, default=str))
