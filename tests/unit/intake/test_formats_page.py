"""docs/formats.md says what the table and the configuration say."""

from __future__ import annotations

import re
from typing import get_args

from pipelines.config import PROJECT, Format, Limits, Sources
from pipelines.intake.formats import TABLE

PAGE = (PROJECT / "docs" / "formats.md").read_text(encoding="utf-8")


def test_every_format_with_its_suffixes() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| ((?:`\.[\w.]+` ?)+)\|", PAGE, re.MULTILINE))
    assert set(rows) == set(get_args(Format))
    for name, said in rows.items():
        assert set(re.findall(r"`(\.[\w.]+)`", said)) == {
            suffix for suffix, entries in TABLE.items() for one in entries if name in one.formats
        }


def test_every_limit_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `([\w.]+)` \| ([\d.]+) \|", PAGE, re.MULTILINE))
    defaults = {name: field.default for name, field in Limits.model_fields.items()}
    defaults |= {
        "sources.max_file_mb": Sources.model_fields["max_file_mb"].default,
        "quiet_seconds": Sources.model_fields["quiet_seconds"].default,
    }
    assert {name: float(value) for name, value in rows.items()} == {name: float(value) for name, value in defaults.items()}


def test_every_key_of_sources_is_named() -> None:
    assert all(f"`{name}`" in PAGE or f"sources.{name}" in PAGE for name in Sources.model_fields)
