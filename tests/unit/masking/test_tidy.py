"""What a span is called, and which spans a model makes that are none."""

from __future__ import annotations

import pytest

from pipelines.masking import countries, tidy


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("12 Elm Street", "ADDRESS"),
        ("Hauptstraße", "ADDRESS"),
        ("the corner of Elm and Oak", "ADDRESS"),
        ("Rue de la Paix", "ADDRESS"),
        ("Lower Saxony", "PLACE"),
        ("platform", "PLACE"),
    ],
)
def test_an_address_has_a_number_or_a_streets_word(value: str, kind: str) -> None:
    assert tidy.called(value, "ADDRESS") == kind and tidy.called(value, "NAME") == "NAME"


@pytest.mark.parametrize("value", ["15 U.S.C. 1601", "76 FR 78500, 78501", "12 CFR 1013", "10000 customers", "4,500 forms"])
def test_the_law_and_counts_of_things_are_no_address(value: str) -> None:
    text = f"See {value} of May."
    assert tidy.is_citation(text, 4, 4 + len(value))


@pytest.mark.parametrize(
    "text",
    ["See 12 Elm Street of May.", "see 12 elm street, reno", "See 12 broadway of May.", "see 12 rue, reno", "See 14 elm of May."],
)
def test_streets_are_no_citation(text: str) -> None:
    assert not tidy.is_citation(text, 4, text.index(" ", 7))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("From Côte d'Ivoire to the Falkland Islands (Malvinas)", ["Côte d'Ivoire", "Falkland Islands (Malvinas)"]),
        ("a visa for the united arab emirates or FINLAND", ["united arab emirates", "FINLAND"]),
        ("Trinidad and Tobago, Guinea-Bissau", ["Trinidad and Tobago", "Guinea-Bissau"]),
        ("Chad ate Turkey with Jordan; a US of the liver, 15 U.S.C. 1601, mali, Finlandia, Pan-Germany", []),
    ],
)
def test_countries_are_known_by_name(text: str, found: list[str]) -> None:
    assert [text[slice(*span)] for span in countries.find(text)] == found
