"""The lines of docs/corpus.md that open a version without Ratchet are run as they stand there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from versions import publish

from pipelines.config import PROJECT, DomainConfig, Settings
from pipelines.corpus.documents import document


def test_a_version_opens_in_three_lines_each(tmp_path: Path, domain: DomainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(var=tmp_path / "var")
    rows = [document(key=key, title="", text=f"text of {key}", valid_from="2011-01-01", arrival_id="a") for key in ("k1", "k2")]
    publish(settings, domain, 0, rows)
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (PROJECT / "docs" / "corpus.md").read_text(encoding="utf-8"), re.DOTALL)
    assert [len(block.split("\n")) - block.count("\n\n") - 1 for block in blocks] == [3, 3]
    names: dict[str, Any] = {}
    for block in blocks:
        exec(block.replace("VERSION", "Test_v1.0"), names)  # noqa: S102 - our own documentation
    assert sorted(names["rows"]["text"].to_pylist()) == ["text of k1", "text of k2"]
    assert names["found"] == [("k1", "text of k1"), ("k2", "text of k2")]
    names["duck"].close()
