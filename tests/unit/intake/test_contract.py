"""The data contract with the real Great Expectations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipelines.config import DomainConfig
from pipelines.errors import ConfigError
from pipelines.intake import contract
from pipelines.intake.records import RawRecord


def _domain(*expectations: tuple[str, dict[str, Any]]) -> DomainConfig:
    return DomainConfig.model_validate(
        {
            "domain": "clinical",
            "description": "",
            "owner": "x",
            "dataset": "MedNotes",
            "sources": {"formats": ["csv"]},
            "contract": {"expectations": [{"type": kind, "args": args} for kind, args in expectations]},
            "privacy": {"profile": "safe_harbor"},
            "task": {},
            "gate": {"goldens": "x.jsonl", "floors": {}},
        }
    )


def _record(key: str, text: str, *, withdrawn: bool = False) -> RawRecord:
    return RawRecord(key, "Note", text, "2014-01-01", "s", withdrawn, (), f"row of {len(text)}")


RULES = (
    ("ExpectColumnValuesToNotBeNull", {"column": "text"}),
    ("ExpectColumnValuesToBeUnique", {"column": "key"}),
    ("ExpectColumnValuesToBeBetween", {"column": "words", "min_value": 2}),
)


def test_a_contract_that_holds_has_no_breach_and_leaves_a_report(tmp_path: Path) -> None:
    records = [_record("a", "two words"), _record("b", "two more"), _record("c", "", withdrawn=True)]
    assert contract.check(records, _domain(*RULES), tmp_path) == []
    report = json.loads((tmp_path / "contract.json").read_text())
    assert report["success"] is True and len(report["expectations"]) == 3
    assert "holds" in (tmp_path / "contract.html").read_text()


def test_breaches_say_column_count_and_place_and_no_value(tmp_path: Path) -> None:
    secret = "Lindqvist<script>"
    records = [_record("a", f"{secret} word"), _record("a", secret), _record("b", " ")]
    breaches = contract.check(records, _domain(*RULES), tmp_path)
    assert {(breach.column, breach.rows) for breach in breaches} == {("text", 1), ("key", 2), ("words", 2)}
    assert "row of 1" in next(breach.text for breach in breaches if breach.column == "text")
    written = "".join(path.read_text() for path in tmp_path.iterdir())
    assert "Lindqvist" not in written and "Lindqvist" not in str(breaches)


def test_unknown_expectation_column_or_argument_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no expectation") as error:
        contract.check([], _domain(("ExpectColumnValueToNotBeNull", {"column": "text"})), tmp_path)
    assert "ExpectColumnValuesToNotBeNull" in error.value.todo and "expectations[0]" in error.value.where
    with pytest.raises(ConfigError, match="no column 'body'"):
        contract.check([], _domain(("ExpectColumnValuesToNotBeNull", {"column": "body"})), tmp_path)
    with pytest.raises(ConfigError, match="does not take"):
        contract.check([], _domain(("ExpectColumnValuesToNotBeNull", {"colum": "text"})), tmp_path)
