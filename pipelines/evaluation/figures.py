"""The figures of a text with their units: amounts, dates, doses, periods, percentages, so that a changed one is found.

Two ways of writing one thing are one figure ("8 %" and "8 percent", "January 1, 2013" and "2013-01-01", "$1.5 million" and "$1,500,000",
"thirty days" and "30 days"); two things are not ("30 days" and "30 business days", "5 mg" and "5 mcg", "5 mg/kg" and "5 mg").

Does not cover arithmetic (12 months are not a year here), figures in words without a unit, Roman numerals, or dates such as 1/2/2013,
whose order of day and month nobody can know: those are compared as written. English only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

_MONTHS = tuple("january february march april may june july august september october november december".split())  # noqa: SIM905
_ONES = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen"
_WORDS = {word: number for number, word in enumerate(_ONES.split(), 1)}
_TENS = {word: 10 * number for number, word in enumerate("twenty thirty forty fifty sixty seventy eighty ninety".split(), 2)}  # noqa: SIM905
_SCALES = {"thousand": 3, "million": 6, "billion": 9, "trillion": 12}
_TIMES = ("second", "minute", "hour", "day", "week", "month", "quarter", "year", "business day", "calendar day", "working day")
_UNITS: dict[str, str] = {
    alias: unit
    for unit, aliases in {
        "second": "second seconds sec secs",
        "minute": "minute minutes min mins",
        "hour": "hour hours hr hrs h",
        "day": "day days",
        "week": "week weeks wk wks",
        "month": "month months mo mos",
        "quarter": "quarter quarters",
        "year": "year years yr yrs",
        "mg": "mg milligram milligrams",
        "g": "g gm gram grams",
        "kg": "kg kgs kilogram kilograms",
        "mcg": "mcg ug µg μg microgram micrograms",
        "ng": "ng nanogram nanograms",
        "lb": "lb lbs pound pounds",
        "oz": "oz ounce ounces",
        "ml": "ml cc milliliter milliliters millilitre millilitres",
        "dl": "dl deciliter deciliters decilitre decilitres",
        "l": "l liter liters litre litres",
        "mm": "mm millimeter millimeters millimetre millimetres",
        "cm": "cm centimeter centimeters centimetre centimetres",
        "m": "m meter meters metre metres",
        "km": "km kilometer kilometers kilometre kilometres",
        "inch": "inch inches",
        "foot": "foot feet ft",
        "mile": "mile miles",
        "°c": "°c ℃ celsius",
        "°f": "°f ℉ fahrenheit",
        "degree": "° degree degrees",
        "tablet": "tablet tablets tab tabs",
        "capsule": "capsule capsules",
        "pill": "pill pills",
        "puff": "puff puffs",
        "drop": "drop drops",
        "dose": "dose doses",
        "patch": "patch patches",
        "unit": "unit units",
        "iu": "iu",
        "meq": "meq",
        "mmol": "mmol",
        "mmhg": "mmhg",
        "bpm": "bpm",
        "time": "time times",
        "%": "% percent pct",
        "dollar": "dollar dollars usd",
        "euro": "euro euros eur",
        "gbp": "gbp",
        "cent": "cent cents",
    }.items()
    for alias in aliases.split()
} | {
    "per cent": "%",
    "percentage point": "percentage point",
    "percentage points": "percentage point",
    "basis point": "basis point",
    "basis points": "basis point",
    **{f"{kind} {end}": f"{kind} day" for kind in ("business", "calendar", "working") for end in ("day", "days")},
}
_SIGNS = {"$": "dollar", "€": "euro", "£": "gbp"}
_ADVERBS = {
    "hourly": "hour",
    "daily": "day",
    "weekly": "week",
    "monthly": "month",
    "quarterly": "quarter",
    "yearly": "year",
    "annually": "year",
}


def _either(words: object) -> str:
    return "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))  # type: ignore[call-overload]


_NUMBER = r"(?:\d+(?:\.\d+){2,}|\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?(?:/\d+(?:\.\d+)?)*|\.\d+)"
_UNIT = rf"(?:{_either(_UNITS)})(?![^\W\d_])"
_RANGE = rf"(?:\s?[-–—]\s?|\s(?:to|and|or)\s)[$€£]?{_NUMBER}"
# With a capital: "may 5" is no date.
_MONTH = rf"(?P<month>{'|'.join(f'{name}|{name.upper()}' for full in _MONTHS for name in (full.title(), full[:3].title()))}|Sept)\b\.?"
_DAY = r"(?P<day>\d{1,2})(?:st|nd|rd|th)?"
_YEAR = r"(?P<year>\d{4})"
_DATES = [
    re.compile(pattern)
    for pattern in (
        r"(?<![\w-])(?P<year>\d{4})-(?P<number>\d{2})-(?P<day>\d{2})(?![\w-])",
        rf"\b{_MONTH}\s+{_DAY},?\s+{_YEAR}\b",
        rf"\b{_DAY}(?:\s+of)?\s+{_MONTH},?\s+{_YEAR}\b",
        rf"\b{_MONTH},?\s+{_YEAR}\b",
        rf"\b{_MONTH}\s+{_DAY}\b",
        rf"\b{_DAY}(?:\s+of)?\s+{_MONTH}(?!\w)",
    )
]
_FIGURE = re.compile(
    rf"(?:(?P<sign>[$€£])\s?|\b(?P<code>usd|eur|gbp)\s?)?"
    rf"(?:(?<![\w.])(?P<number>{_NUMBER})|\b(?P<word>(?:(?:{_either(_TENS)})(?:[-\s](?:{_either(_WORDS)}))?|{_either(_WORDS)}|once|twice))\b)"
    rf"(?P<ordinal>(?:st|nd|rd|th)\b)?"
    rf"(?:[\s-]?(?P<scale>{_either(_SCALES)})\b)?"
    rf"(?:\)?[\s-]?(?P<unit>{_UNIT})|(?={_RANGE}[\s-]?(?P<later>{_UNIT})))?"
    rf"(?:\s?/\s?(?P<per>{_UNIT})|\s(?:per|an?|each|every)\s(?P<each>{_UNIT})|\s(?P<adverb>{_either(_ADVERBS)})\b)?",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Figure:
    """A canonical value and unit ("" for a bare number); `written` is how the text has it, and makes no difference."""

    value: str
    unit: str
    written: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """What two texts' figures are compared by."""
        return self.value, self.unit


def figures(text: str) -> list[Figure]:
    """Every figure of the text; dates first, each kind in order."""
    found: list[Figure] = []
    for pattern in _DATES:
        found += [_date(match) for match in pattern.finditer(text)]
        text = pattern.sub(lambda match: "_" * len(match.group()), text)
    return [*found, *_numbers(text)]


def unquoted(answer: str, cited: str) -> list[str]:
    """The answer's figures, as written, that the cited text does not state; a bare number is stated with any unit.

    A rate may lose the time it is counted in ("5 mg" of "5 mg per day"), never what it is measured against ("5 mg" of "5 mg/kg").
    """
    stated: set[tuple[str, str]] = set()
    for figure in figures(cited):
        stated |= {figure.key, (figure.value, "")}
        unit, _, per = figure.unit.partition("/")
        if per in _TIMES:
            stated.add((figure.value, unit))
        if figure.unit == "date":
            year, month, day = figure.value.split("-")
            stated |= {(year, ""), (f"{year}-{month}-", "date"), (f"-{month}-{day}", "date"), (day.lstrip("0"), "")}
    return [figure.written for figure in figures(answer) if figure.key not in stated]


def _date(match: re.Match[str]) -> Figure:
    parts = match.groupdict()
    number = int(parts["number"]) if parts.get("number") else _month(parts["month"])
    day = f"{int(parts['day']):02d}" if parts.get("day") else ""
    return Figure(f"{parts.get('year') or ''}-{number:02d}-{day}", "date", match.group())


def _month(name: str) -> int:
    return next(number for number, month in enumerate(_MONTHS, 1) if month.startswith(name.casefold()[:3]))


def _numbers(text: str) -> Iterator[Figure]:
    for match in _FIGURE.finditer(text):
        parts = {name: (value or "").casefold() for name, value in match.groupdict().items()}
        unit = _SIGNS.get(parts["sign"]) or _UNITS.get(parts["code"]) or _UNITS.get(" ".join((parts["unit"] or parts["later"]).split()), "")
        if parts["ordinal"]:
            unit = "th"
        value = parts["number"] or _value(parts["word"])
        if parts["word"] in ("once", "twice"):
            unit = "time"
        elif parts["word"] and not unit:
            continue
        per = _UNITS.get(parts["per"] or parts["each"]) or _ADVERBS.get(parts["adverb"], "")
        yield Figure(_plain(value, _SCALES.get(parts["scale"], 0)), f"{unit}/{per}" if per else unit, match.group().strip())


def _value(word: str) -> str:
    if word in ("once", "twice"):
        return "1" if word == "once" else "2"
    return str(sum(_TENS.get(part) or _WORDS[part] for part in re.split(r"[-\s]+", word)))


def _plain(number: str, scale: int) -> str:
    """Without commas and closing zeros; 120/80, 1/2/2013 and 1.2.3 as written."""
    if "/" in number or number.count(".") > 1:
        return number
    return f"{(Decimal(number.replace(',', '')) * 10**scale).normalize():f}"
