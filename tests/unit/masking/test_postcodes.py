"""What stands beside a place."""

from __future__ import annotations

import pytest

from pipelines.masking import postcodes


@pytest.mark.parametrize(
    ("text", "place", "code"),
    [
        ("Reno 89501 is dry", "Reno", "89501"),
        ("10115 Berlin", "Berlin", "10115"),
        ("London SW1A 1AA.", "London", "SW1A 1AA"),
        ("Graz, 8010", "Graz", "8010"),
    ],
)
def test_a_number_beside_a_place_is_a_postal_code(text: str, place: str, code: str) -> None:
    start = text.index(place)
    assert [text[slice(*span)] for span in postcodes.beside(text, start, start + len(place))] == [code]


@pytest.mark.parametrize("text", ["Reno 2014", "Reno 15000 people", "$10115 Reno", "Reno 12345.67", "Reno has 89501"])
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
