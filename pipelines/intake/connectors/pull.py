"""The contract of a connector: `gather(source, pull)` brings files to `pull.folder` and says how far it came.

A connector decides nothing about arrivals and writes nothing but these files. It keeps no state of its own: what it must know the next
time is the `watermark` it returns, small JSON without a name of a person, and what it must know if it is cut off is `remember`ed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path, PurePosixPath
from typing import Any

from pipelines.errors import ConfigError

State = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Document:
    """One file to deliver. `effective` is the ISO date from which its text holds."""

    path: Path
    effective: str


@dataclass(frozen=True, slots=True)
class Skipped:
    """Something the source offers that cannot be delivered. `item` is a public number or a hash, never a file name."""

    item: str
    reason: str


@dataclass(slots=True)
class Gathered:
    """What one pull brought. The watermark holds for exactly these documents, these skips, and no more."""

    watermark: State
    documents: list[Document] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    note: str = ""
    """Why there is no more: an export still runs, the source failed half-way."""
    let_go: str = ""
    """The address of an export whose files may go once the watermark has moved."""


@dataclass(frozen=True, slots=True)
class Pull:
    """What a connector is given."""

    folder: Path
    today: str
    watermark: State
    progress: State
    remember: Callable[[State], None]
    """Keep the progress of a pull that is under way; it is forgotten when the watermark moves."""

    def place(self, name: str) -> Path:
        """A free path for a file of this name."""
        stem, suffix = PurePosixPath(name).stem, PurePosixPath(name).suffix
        number = 1
        while (path := self.folder / (name if number == 1 else f"{stem}-{number}{suffix}")).exists():
            number += 1
        return path


def plain(value: object) -> str | None:
    """A number or an id that a source sent, if it may stand in a file's name."""
    return value if isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}", value) else None


def day(value: object) -> str | None:
    """A date that a source sent, if it is one: an ISO date, or the beginning of an instant."""
    if not isinstance(value, str) or not re.match(r"\d{4}-\d{2}-\d{2}($|T)", value):
        return None
    try:
        return date.fromisoformat(value[:10]).isoformat()
    except ValueError:
        return None


def secret(variable: str, source: str) -> str:
    """The value of an environment variable. ConfigError names it when it is not set; the value is never shown."""
    value = os.environ.get(variable, "").strip()
    if not value or not value.isprintable():
        raise ConfigError(f"the environment variable {variable} holds no usable value", where=source, todo="set it for the workers")
    return value
