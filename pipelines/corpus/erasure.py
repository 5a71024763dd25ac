"""Where a subject's text is: counted over every version, without reading any of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipelines.config import Settings
from pipelines.corpus import table as tables
from pipelines.corpus import warehouse
from pipelines.errors import NotFound


@dataclass(slots=True)
class Held:
    """What the warehouse holds about a subject."""

    known: bool = False
    """Whether the subject has, or had, a key."""
    documents: int = 0
    """Document keys."""
    rows: int = 0
    """Texts, past and present."""
    arrivals: set[str] = field(default_factory=set)
    versions: list[str] = field(default_factory=list)
    """Dataset versions, oldest first."""


def held(settings: Settings, domain_name: str, subject: str) -> Held:
    """Every version's rows about a subject. Reads each file once, whatever number of versions has it."""
    found = Held(known=True)
    try:
        table = tables.open_table(settings, domain_name)
    except NotFound:
        return found
    keys: set[str] = set()
    texts: set[tuple[str, str]] = set()
    seen: dict[str, bool] = {}
    for version, snapshot in warehouse.versions(settings, domain_name).items():
        holds = False
        for path, file in tables.files(table, snapshot).items():
            if path not in seen:
                read = tables.rows_of(table, [file], ("key", "content", "arrival_id", "subjects")).to_pylist()
                mine = [row for row in read if subject in (row["subjects"] or ())]
                keys |= {row["key"] for row in mine}
                texts |= {(row["key"], row["content"]) for row in mine}
                found.arrivals |= {row["arrival_id"] for row in mine}
                seen[path] = bool(mine)
            holds |= seen[path]
        if holds:
            found.versions.append(version)
    found.documents, found.rows = len(keys), len(texts)
    return found
