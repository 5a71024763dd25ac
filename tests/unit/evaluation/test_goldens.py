"""Files of goldens: what a line must say, and when it is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import ConfigError
from pipelines.evaluation.cases import Case
from pipelines.evaluation.goldens import Golden, applicable, load, read


def golden(number: int, **changes: Any) -> Golden:
    values = {
        "id": f"toll-{number}",
        "question": f"What is the toll on bridge {number}?",
        "answer": f"${number}",
        "cites": f"p-{number}",
        "valid_from": "2011-01-01",
        "author": "ann",
        "reviewer": "ben",
    }
    return Golden.model_validate({**values, **changes})


def test_goldens_apply_once_known_and_are_asked_while_they_hold() -> None:
    past, present, future = golden(1, valid_to="2012-01-01"), golden(2, valid_from="2013-01-01"), golden(3, valid_from="2016-01-01")
    assert applicable([past, present, future], "2014-06-01") == [(past, "2011-12-31"), (present, "2014-06-01")]


def test_a_golden_is_a_case_with_its_slice_and_its_history(tmp_path: Path) -> None:
    made = golden(1, type="toll", incident="an old toll was quoted")
    path = tmp_path / "goldens.jsonl"
    path.write_text(made.model_dump_json() + "\n\n", encoding="utf-8")
    assert load(path) == [made]
    assert read(Case, path, "cases", "")[0].model_dump() == made.model_dump()


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ('{"id": "x"', "not JSON"),
        ('{"id": "x", "qestion": "?"}', "did you mean 'question'"),
        (golden(2, id="first").model_dump_json(), "the id 'first' is taken"),
        (golden(2).model_dump_json().replace('"p-2"', '""'), "needs `cites` or `quote`"),
        (golden(2).model_dump_json().replace('"$2"', '""'), "answer: String should have at least 1 character"),
        (golden(2).model_dump_json().replace('"valid_from":"2011-01-01",', ""), "valid_from: Field required"),
        (golden(2).model_dump_json().replace("9999-12-31", "2011-01-01"), "valid_from must be before valid_to"),
        (golden(2).model_dump_json().replace('"passages":[]', '"passages":["The toll is $2."]'), "cases on given text go into a suite"),
        (golden(2).model_dump_json().replace('"expect":"answer"', '"expect":"abstain"'), "says `expect: abstain`"),
    ],
)
def test_a_broken_golden_is_named_by_its_line(tmp_path: Path, line: str, fault: str) -> None:
    path = tmp_path / "goldens.jsonl"
    path.write_text(golden(1, id="first").model_dump_json() + "\n" + line + "\n", encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert fault in str(caught.value) and "goldens.jsonl:2" in str(caught.value)


def test_a_missing_file_of_goldens(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file of goldens"):
        load(tmp_path / "none.jsonl")
