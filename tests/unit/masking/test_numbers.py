"""Numbers with a plan or check digits, and what only looks like one."""

from __future__ import annotations

import pytest

from pipelines.masking import numbers


@pytest.mark.parametrize(
    "number",
    [
        "+1 512-555-0142",
        "0664 1234567",
        "06 12 34 56 78",
        "+49 30 901820",
        "0044 20 7946 0958",
        "(02) 9374 4000",
        "020 7946 0958",
        "512.555.0142",
    ],
)
def test_telephone_numbers_of_many_countries_are_found(number: str) -> None:
    text = f"Call {number} now"
    assert [text[slice(*span)] for span in numbers.phones(text)] == [number]


@pytest.mark.parametrize(
    "text",
    [
        "BP 142/88, pulse 95, 98.6 F, 120 mg",
        "$53,500 from 2014-01-01 through 12/31/2014",
        "12 CFR 1013.2(e)(1); 76 FR 78500, 78501; 15 U.S.C. 1601",
        "3 4 5 6 7 and 2011 2012 2013",
        "sodium 140 potassium 4.1 chloride 102",
        "4111 1111 1111 1111",
    ],
)
def test_vital_signs_amounts_dates_and_sections_are_no_telephone_numbers(text: str) -> None:
    assert list(numbers.phones(text)) == []


def test_an_iban_needs_its_check_digits_and_ends_where_they_hold() -> None:
    text = "pay GB82 WEST 1234 5698 7654 32 today, not GB83 WEST 1234 5698 7654 32"
    assert [text[slice(*span)] for span in numbers.ibans(text)] == ["GB82 WEST 1234 5698 7654 32"]
