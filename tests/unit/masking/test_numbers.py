"""Numbers with a plan or check digits, and what only looks like one."""

from __future__ import annotations

import time

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


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("My number is 12 34 56", "12 34 56"),
        ("phone number is 4 536 71.", "4 536 71"),
        ("call Ana Vole on 0800 58 05 today", "0800 58 05"),
        ("Tel: 0512 / 123456", "0512 / 123456"),
        ("text me at 412 3456x78", "412 3456x78"),
        ("Fax no. (0)20 7946 0958 ext. 12", "(0)20 7946 0958 ext. 12"),
    ],
)
def test_a_number_that_is_announced_needs_no_plan(text: str, number: str) -> None:
    assert [text[slice(*span)] for span in numbers.announced(text)] == [number]


@pytest.mark.parametrize(
    "number",
    ["(+30) 2439 150008", "(11) 3915-0008", "06495/87652367", "07492 03293 879", "512–555–0142", "512 - 555 - 0142 x123", "(512)-555-0142"],
)
def test_groups_that_only_telephone_numbers_have_are_enough(number: str) -> None:
    text = f"She left {number} behind"
    assert [text[slice(*span)] for span in numbers.grouped(text)] == [number]


@pytest.mark.parametrize(
    "text",
    [
        "call back at 10.30-11.30, or call 08:30-10:30",
        "call on 2014-01-01 or 03/05/2014 about 2012 2013 2014",
        "white cell 4500-11000, red cell count 4.5",
        "call for 123 456 units; contact 12 345 678 people",
        "mobile at 12 14 16 months, 0900-1700",
        "12 CFR 1013.2(e)(1); 76 FR 78500-501; docket 3170-0006",
        "zip 05901-1234 and $1,234,567.89",
    ],
)
def test_hours_dates_counts_and_citations_are_neither_announced_nor_grouped(text: str) -> None:
    assert [*numbers.announced(text), *numbers.grouped(text)] == []


@pytest.mark.parametrize("before", ["Vole/", "Vole,", "Vole:", "Tel-", "#", "AZ 85001 "])
def test_what_stands_before_a_number_does_not_hide_it(before: str) -> None:
    text = f"{before}0650 123 45 67"
    assert [text[slice(*span)] for span in numbers.phones(text)] == ["0650 123 45 67"]


def test_a_citation_is_no_number_of_a_plan() -> None:
    assert list(numbers.phones("76 FR 78500-501, 12 345 678 people")) == []


@pytest.mark.parametrize("unit", ["call ", "0", "0 ", "(", "call Ana ", "0123 ", "12-", "phone: (+1) "])
def test_long_runs_take_no_longer_than_their_length(unit: str) -> None:
    started = time.perf_counter()
    for find in (numbers.phones, numbers.announced, numbers.grouped):
        list(find(unit * (60_000 // len(unit))))
    assert time.perf_counter() - started < 10
