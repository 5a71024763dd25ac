"""The data contract with the real Great Expectations."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipelines.config import DomainConfig
from pipelines.corpus import spool
from pipelines.errors import ConfigError
from pipelines.intake import contract, validation
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


SECRET = "Lindqvist"
KINDS = (
    ("ExpectColumnValuesToMatchRegex", {"column": "text", "regex": "^(?!<script>)x$"}),
    ("ExpectColumnValuesToMatchRegex", {"column": "text", "regex": "("}),  # raises
    ("ExpectColumnValuesToBeInSet", {"column": "key", "value_set": ["a"]}),
    ("ExpectColumnValuesToBeUnique", {"column": "title"}),
    ("ExpectColumnValueLengthsToBeBetween", {"column": "text", "max_value": 3}),
    ("ExpectColumnMaxToBeBetween", {"column": "title", "max_value": 2}),  # raises, and quotes the cell
    ("ExpectColumnMinToBeBetween", {"column": "valid_from", "min_value": "2999-01-01"}),  # observes a cell
    ("ExpectColumnDistinctValuesToBeInSet", {"column": "title", "value_set": ["a"]}),
    ("ExpectColumnMostCommonValueToBeInSet", {"column": "title", "value_set": ["n"]}),
    ("ExpectColumnPairValuesToBeEqual", {"column_A": "key", "column_B": "text"}),
    ("ExpectCompoundColumnsToBeUnique", {"column_list": ["title", "source"]}),
    ("ExpectTableRowCountToBeBetween", {"min_value": 7}),
)


def test_no_cell_is_written_whatever_kind_of_expectation_fails(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    day = "1931-02-17"
    records = [RawRecord(f"{SECRET}-{n}", SECRET, f"{SECRET} {n}", day, SECRET, False, (), f"row {n}<script>") for n in range(3)]
    breaches = contract.check(records, _domain(*KINDS), tmp_path)
    assert len(breaches) == len(KINDS), "each of them fails"
    page, report = ((tmp_path / name).read_text(encoding="utf-8") for name in ("contract.html", "contract.json"))
    for kept in (page, report, str(breaches), caplog.text):
        assert SECRET not in kept and day not in kept
    assert page.count("it could not be evaluated") == 2
    # What a steward needs is there: counts, percentages, places, and the observed number of rows.
    assert "100% of 3 total rows" in page and "row 0&lt;script&gt;" in page and "values must match this regular expression" in page
    assert re.search(r">\s*3\s*<", page)


def test_batches_give_what_the_whole_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = [_record(f"k{n}", " ".join("ab"[n % 2] for _ in range(1 + n % 7)) if n % 5 else " ", withdrawn=n % 11 == 0) for n in range(60)]
    records = [replace(one, place=f"row {n}") for n, one in enumerate(long)]
    rules = (
        ("ExpectColumnValuesToMatchRegex", {"column": "text", "regex": "^a", "mostly": 0.44}),
        ("ExpectColumnValuesToMatchRegex", {"column": "text", "regex": "^a", "mostly": 0.45}),
        ("ExpectColumnValuesToMatchRegex", {"column": "text", "regex": "("}),
        ("ExpectColumnValueLengthsToBeBetween", {"column": "text", "max_value": 12}),
        ("ExpectColumnValuesToNotBeNull", {"column": "text", "mostly": 0.83}),
        ("ExpectColumnValuesToNotBeNull", {"column": "text", "mostly": 0.84}),
        ("ExpectColumnPairValuesToBeEqual", {"column_A": "key", "column_B": "text"}),
        ("ExpectColumnValuesToBeUnique", {"column": "text"}),
        ("ExpectCompoundColumnsToBeUnique", {"column_list": ["text", "words"]}),
        ("ExpectColumnUniqueValueCountToBeBetween", {"column": "text", "max_value": 5}),
        ("ExpectColumnMeanToBeBetween", {"column": "words", "max_value": 3}),
        ("ExpectColumnValuesToBeIncreasing", {"column": "words"}),
        ("ExpectTableRowCountToEqual", {"value": 60}),
    )
    monkeypatch.setattr(spool, "BATCH_CHARACTERS", 20)
    contract.check(records, _domain(*rules), tmp_path / "batches")
    # As Great Expectations itself sees it: one frame with every text.
    monkeypatch.setattr(spool, "BATCH_CHARACTERS", 1_000_000)
    monkeypatch.setattr(validation, "is_by_batch", lambda _: False)
    monkeypatch.setattr(validation, "sha256", lambda text: text)
    contract.check(records, _domain(*rules), tmp_path / "whole")
    batches, whole = (json.loads((tmp_path / name / "contract.json").read_text()) for name in ("batches", "whole"))
    assert batches == whole
    assert {one["success"] for one in whole["expectations"][:2]} == {True, False}, "the shares lie on both sides"


def test_what_compares_texts_of_a_whole_arrival_is_a_config_error(tmp_path: Path) -> None:
    for rule in (("ExpectColumnMaxToBeBetween", {"column": "text"}), ("ExpectColumnValuesToBeIncreasing", {"column": "text"})):
        with pytest.raises(ConfigError, match="never in memory"):
            contract.check([], _domain(rule), tmp_path)


def test_the_page_is_great_expectations_own_and_needs_no_other_host_and_no_script(tmp_path: Path) -> None:
    contract.check([_record("a", "x")], _domain(*KINDS), tmp_path)
    page = (tmp_path / "contract.html").read_text(encoding="utf-8")
    assert "Evaluated Expectations" in page and "ge-section" in page
    assert not re.search(r"https?:|//|<script|<link|<iframe|@import|url\(|href=\"(?!#)|\son\w+=", page)


def test_unknown_expectation_column_or_argument_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no expectation") as error:
        contract.check([], _domain(("ExpectColumnValueToNotBeNull", {"column": "text"})), tmp_path)
    assert "ExpectColumnValuesToNotBeNull" in error.value.todo and "expectations[0]" in error.value.where
    with pytest.raises(ConfigError, match="no column 'body'"):
        contract.check([], _domain(("ExpectColumnValuesToNotBeNull", {"column": "body"})), tmp_path)
    with pytest.raises(ConfigError, match="does not take"):
        contract.check([], _domain(("ExpectColumnValuesToNotBeNull", {"colum": "text"})), tmp_path)
