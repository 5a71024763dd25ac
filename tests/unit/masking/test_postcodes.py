"""What stands beside a place."""

from __future__ import annotations

import time

import pytest

from pipelines.masking import postcodes


@pytest.mark.parametrize(
    ("text", "place", "code"),
    [
        ("Reno 89501 is dry", "Reno", "89501"),
        ("10115 Berlin", "Berlin", "10115"),
        ("London SW1A 1AA.", "London", "SW1A 1AA"),
        ("Graz, 8010", "Graz", "8010"),
        ("00-950 Warszawa", "Warszawa", "00-950"),
        ("1012 AB Amsterdam", "Amsterdam", "1012 AB"),
        ("amsterdam 1012ab", "amsterdam", "1012ab"),
        ("1250-096 Lisboa", "Lisboa", "1250-096"),
        ("Malmö (211 19)", "Malmö", "211 19"),
        ("Sydney NSW 2000", "Sydney", None),
        ("reno, nv 89501", "reno", "89501"),
        ("Dublin, D02 AF30", "Dublin", "D02 AF30"),
        ("H-1051 Budapest", "Budapest", "H-1051"),
        ("Curitiba - 80010-000", "Curitiba", "80010-000"),
    ],
)
def test_a_number_beside_a_place_is_a_postal_code(text: str, place: str, code: str | None) -> None:
    start = text.index(place)
    assert [text[slice(*span)] for span in postcodes.beside(text, start, start + len(place))] == ([code] if code else [])


@pytest.mark.parametrize(
    "text",
    [
        "Reno 2014",
        "Reno 15000 people",
        "$10115 Reno",
        "Reno 12345.67",
        "Reno has 89501",
        "Reno, 1500 patients",
        "Reno 2014 AM",
        "Reno (2014)",
    ],
)
def test_years_and_amounts_are_none(text: str) -> None:
    start = text.index("Reno")
    assert list(postcodes.beside(text, start, start + 4)) == []


def test_an_envelope_is_one_address() -> None:
    text = "12 Elm Street\nReno, NV 89501\nUruguay and Peru"
    found = [(0, 13, "ADDRESS", 0.9), (14, 18, "PLACE", 0.9), (29, 36, "PLACE", 0.9), (41, 45, "PLACE", 0.9)]
    (first, *rest) = postcodes.joined(text, found)
    assert text[first[0] : first[1]] == "12 Elm Street\nReno, NV 89501\nUruguay" and [one[2] for one in rest] == ["PLACE"]
    assert [one[:3] for one in postcodes.joined("1 A St, Reno 89501", [(0, 6, "ADDRESS", 1.0), (8, 12, "PLACE", 1.0)])] == [
        (0, 18, "ADDRESS")
    ]


def test_codes_of_other_countries_leave_nothing() -> None:
    assert [postcodes.shortened(code) for code in ("89501", "05901-1234", "SW1A 1AA", "8010")] == ["895", "000", "[ZIP]", "[ZIP]"]


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        ("My zip is 12345 or 12346, not 12347-1234.", ["12345", "12346", "12347-1234"]),
        ("Postcode (1012 AB)", ["1012 AB"]),
        ("the postal code for Reno is 89501", ["89501"]),
        ("What is the postcode, 8010 or 9020?", ["8010", "9020"]),
        ("eircode d02 af30, pin code 110 001", ["d02 af30", "110 001"]),
        ("change my postcode to sw1a 1aa", ["sw1a 1aa"]),
        ("ZIP: 00-950", ["00-950"]),
        ("The zip file 12345 is broken; the postcode lottery has 5000 winners since 2014.", []),
        ("The zip costs $12345 and 12345 units", []),
        ("no post code in 1 of 5 forms", []),
    ],
)
def test_a_label_announces_codes(text: str, codes: list[str]) -> None:
    assert [text[slice(*span)] for span in postcodes.labelled(text)] == codes


def test_a_town_that_was_taken_for_a_name_keeps_its_code() -> None:
    assert [span for text in ("Vole, 89501", "Vole (00-950)", "Vole, 2014", "Vole 89501") for span in postcodes.after_name(text, 4)] == [
        (6, 11),
        (6, 12),
    ]


@pytest.mark.parametrize("unit", ["zip ", "postcode, ", "zip 12345 or ", "zip ,", "zip a"])
def test_long_runs_take_no_longer_than_their_length(unit: str) -> None:
    started = time.perf_counter()
    list(postcodes.labelled(unit * (60_000 // len(unit))))
    assert time.perf_counter() - started < 10
