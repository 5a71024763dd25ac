from __future__ import annotations

import pytest

from pipelines.evaluation.figures import figures, unquoted


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("$53,500.", [("53500", "dollar")]),
        ("USD 500 or 500 dollars", [("500", "dollar")] * 2),
        ("$1.5 million", [("1500000", "dollar")]),
        ("£20 and €20", [("20", "gbp"), ("20", "euro")]),
        ("8 percent, 8%, 8.0 per cent", [("8", "%")] * 3),
        ("25 basis points", [("25", "basis point")]),
        ("January 1, 2013; 1 January 2013; Jan. 1, 2013; 2013-01-01", [("2013-01-01", "date")] * 4),
        ("in March 2014, by May 5", [("2014-03-", "date"), ("-05-05", "date")]),
        ("may 5 people", [("5", "")]),
        ("1/2/2013", [("1/2/2013", "")]),
        ("5 mg daily", [("5", "mg/day")]),
        ("5mg/kg", [("5", "mg/kg")]),
        ("5-10 mg, 5 to 10 mg", [("5", "mg"), ("10", "mg")] * 2),
        ("0.50 mL", [("0.5", "ml")]),
        ("twice daily, 3 times a day", [("2", "time/day"), ("3", "time/day")]),
        ("120/80 mmHg", [("120/80", "mmhg")]),
        ("a 30-month period", [("30", "month")]),
        ("thirty (30) days", [("30", "day")]),
        ("twenty-one business days", [("21", "business day")]),
        ("the 2nd visit", [("2", "th")]),
        ("12 CFR 1002.4(a)(1)", [("12", ""), ("1002.4", ""), ("1", "")]),
        ("version 6.16.0", [("6.16.0", "")]),
        ("B12 and H1N1, one of them", []),
        ("", []),
    ],
)
def test_figures_with_their_units(text: str, found: list[tuple[str, str]]) -> None:
    assert [figure.key for figure in figures(text)] == found


@pytest.mark.parametrize(
    ("answer", "cited", "wrong"),
    [
        ("$53,500", "The threshold is $53,500.", []),
        ("$53,500", "The threshold is $5,350.", ["$53,500"]),
        ("8%", "a rate of 8 percent", []),
        ("2013-01-01", "effective January 1, 2013", []),
        ("January 2013", "effective January 1, 2013", []),
        ("January 1", "effective January 1, 2013", []),
        ("2013", "effective January 1, 2013", []),
        ("January 10, 2013", "effective January 1, 2013", ["January 10, 2013"]),
        ("5 mcg", "5 mg", ["5 mcg"]),
        ("5 mg", "5 mg per day", []),
        ("5 mg", "5 mg/kg", ["5 mg"]),
        ("5 mg daily", "5 mg", ["5 mg daily"]),
        ("once daily", "twice daily", ["once daily"]),
        ("30 days", "30 business days", ["30 days"]),
        ("30 months", "thirty months", []),
        ("12 months", "1 year", ["12 months"]),
        ("53,500", "$53,500", []),
        ("$53,500", "53,500", ["$53,500"]),
        ("3", "", ["3"]),
        ("no figure", "", []),
        ("10 mg, then 20 mg", "from 10 mg", ["20 mg"]),
    ],
)
def test_what_the_cited_text_does_not_state(answer: str, cited: str, wrong: list[str]) -> None:
    assert unquoted(answer, cited) == wrong


@pytest.mark.parametrize(
    "text", ["1," * 50_000, "1-" * 50_000, "1/" * 50_000, "1." * 50_000, "twenty " * 20_000, "$" * 50_000, "1 to " * 20_000]
)
def test_long_nonsense_ends(text: str) -> None:
    figures(text)
