"""Numbers of an answer that nothing it rests on holds. `$53,500`, `53500`, `53.5 thousand` and `fifty-three thousand five hundred` are one
number; so are `2014-01-10`, `January 10, 2014` and `1/10/2014` one date.

Left out: citation marks (`[2]`, `[9013-8-a]`), numbers of sections and parts, numbers of list items, "one" and "first" in words. Sums,
differences and changes of unit count as not held: "14 days" rests on no "two weeks". A date's day and month are read in American order;
where the other order fits the sources, that is taken.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final

from pipelines.retrieval.spans import occurs
from pipelines.serving.guards import sets
from pipelines.serving.guards.folding import folded

_MONTHS: Final = {
    name: number
    for number, names in enumerate(
        (
            "january jan", "february feb", "march mar", "april apr", "may", "june jun", "july jul", "august aug", "september sept sep",
            "october oct", "november nov", "december dec",
        ),
        1,
    )
    for name in names.split()
}  # fmt: skip
_UNITS: Final = {
    word: value
    for value, word in enumerate(
        [
            "zero",
            "one",
            "two",
            "three",
            "four",
            "five",
            "six",
            "seven",
            "eight",
            "nine",
            "ten",
            "eleven",
            "twelve",
            "thirteen",
            "fourteen",
            "fifteen",
            "sixteen",
            "seventeen",
            "eighteen",
            "nineteen",
        ]
    )
}
_TENS: Final = dict(zip(["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"], range(20, 100, 10), strict=True))
_SCALES: Final = {
    "hundred": 100,
    "thousand": 1000,
    "k": 1000,
    "million": 10**6,
    "mn": 10**6,
    "billion": 10**9,
    "bn": 10**9,
    "trillion": 10**12,
}

_WORD = "|".join((*_UNITS, *_TENS))
_MONTH = rf"(?:{'|'.join(sorted(_MONTHS, key=len, reverse=True))})\b\.?"
_DAY = r"(?:3[01]|[12]\d|0?[1-9])(?:st|nd|rd|th)?"
_YEAR = r"(?:1[89]|20)\d\d"
_CITED = re.compile(r"\[(?:\d{1,3}(?:\s*[,;-]\s*\d{1,3})*|\w+(?:-\w+)+)\]")
_SECTION = re.compile(
    r"(?:§+|\b(?:sections?|sec\.|paragraphs?|para\.|parts?|subparts?|articles?|art\.|appendix|chapter|title|comment|clause|"
    r"form)\s)\s*\d[\w.-]*(?:\s*\(\w{1,4}\))*"
    r"|\b\d{1,2}\s+(?:c\.?f\.?r\.?|u\.?s\.?c\.?)\s+(?:part\s+|§+\s*)?\d[\w.-]*(?:\s*\(\w{1,4}\))*"
    r"|\b\d{3,4}\.\d{1,3}(?:\(\w{1,4}\))+"
)
_ITEM = re.compile(r"^\s*\d{1,2}[.)]\s+", re.MULTILINE)
_DATES = (
    re.compile(rf"(?<![\d.-])(?P<y>{_YEAR})-(?P<m>\d{{1,2}})-(?P<d>\d{{1,2}})(?![\d-])"),
    re.compile(rf"\b(?P<name>{_MONTH})\s*(?P<d>{_DAY})(?!\d)(?:\s*,?\s*(?P<y>{_YEAR})\b)?"),
    re.compile(rf"(?<![\d.,])(?P<d>{_DAY})(?:\s+of)?\s+(?P<name>{_MONTH})(?:\s*,?\s*(?P<y>{_YEAR})\b)?"),
    re.compile(rf"(?<![\d/.-])(?P<m>\d{{1,2}})(?P<s>[/.-])(?P<d>\d{{1,2}})(?P=s)(?P<y>{_YEAR}|\d\d)(?![\d/-])"),
)
_CODE = re.compile(r"(?<![\w.])[a-z]{1,6}-?\d[\w-]*|(?<![\w.])\d+[a-z]+\d[\w]*")
_GROUPS = re.compile(r"(?<![\d.,])\d{1,3}(?: \d{3})+(?![\d.,]?\d)")
_AMOUNT = re.compile(
    r"(?<![\d])(?P<n>\d{1,3}(?:\.\d{3})+,\d{1,2}(?!\d)|\d{1,3}(?:,\d{3})+(?:\.\d+)?(?!\d)|\d+(?:\.\d+)?)"
    rf"(?:\s?(?P<scale>{'|'.join(_SCALES)})\b)?"
)
_SPELT = re.compile(
    rf"\b(?:(?:{_WORD})(?:[\s-]+(?:and[\s-]+)?)?(?:(?:hundred|thousand|million|billion)(?:[\s-]+(?:and[\s-]+)?)?)*)+(?![a-z])"
)
_PART = re.compile(rf"{_WORD}|hundred|thousand|million|billion")


@dataclass(frozen=True, slots=True)
class Figures:
    """The numbers of a text, its dates as (year or None, month, day), and its codes such as `e-31`."""

    numbers: frozenset[Decimal]
    dates: frozenset[tuple[int | None, int, int]]
    codes: frozenset[str]


def ungrounded(answer: str, sources: Sequence[str]) -> float:
    """The share of the answer's numbers, dates and codes that no source holds; 0 where it has none."""
    if any(occurs(answer, source) for source in sources):
        return 0.0  # word for word: the usual case here, and the quick one
    said = _read(answer, answering=True)
    total = len(said.numbers) + len(said.dates) + len(said.codes)
    if not total:
        return 0.0
    held = [_of_source(source) for source in sources]
    numbers = frozenset[Decimal]().union(*(one.numbers for one in held))
    dates = frozenset[tuple[int | None, int, int]]().union(*(one.dates for one in held))
    codes = frozenset[str]().union(*(one.codes for one in held))
    wrong = len(said.codes - codes) + sum(not _dated(date, dates) for date in said.dates)
    wrong += sum(number not in numbers and not _in_groups(answer, number, numbers) for number in said.numbers)
    return wrong / total


def _dated(date: tuple[int | None, int, int], held: frozenset[tuple[int | None, int, int]]) -> bool:
    year, month, day = date
    return any({month, day} == {other[1], other[2]} and (year is None or other[0] is None or year == other[0]) for other in held)


def _in_groups(answer: str, number: Decimal, numbers: frozenset[Decimal]) -> bool:
    """Whether it is a part of `53 500`, a number with a space that the sources hold."""
    for match in _GROUPS.finditer(folded(answer)):
        if Decimal(match.group().replace(" ", "")) in numbers and any(Decimal(part) == number for part in match.group().split()):
            return True
    return False


@lru_cache(maxsize=4096)
def _of_source(text: str) -> Figures:
    return _read(text, answering=False)


def _read(text: str, *, answering: bool) -> Figures:
    lowered = folded(text)
    there = set(sets.matches(_kinds(), lowered))
    numbers: set[Decimal] = set()
    dates: set[tuple[int | None, int, int]] = set()
    codes: set[str] = set()
    if _FIGURE in there:
        if answering:
            # Gone, but still a gap.
            for shape in (_CITED, _SECTION, _ITEM):
                lowered = shape.sub(" ; ", lowered)
        for shape in _DATES if _DATED in there else ():
            lowered = shape.sub(lambda match: _date(match, dates, numbers, answering), lowered)
        if _CODED in there:
            codes.update(match.group().replace("-", "") for match in _CODE.finditer(lowered))
            if answering:
                lowered = _CODE.sub(" ; ", lowered)
        if not answering:
            numbers.update(_plain(Decimal(match.group().replace(" ", ""))) for match in _GROUPS.finditer(lowered))
        for match in _AMOUNT.finditer(lowered):
            numbers.add(_amount(match))
            if not answering:
                numbers.add(_plain(_number(match["n"])))
    for match in _SPELT.finditer(lowered) if _WORDED in there else ():
        words = _PART.findall(match.group())
        if answering and words == ["one"]:
            continue
        numbers.add(_spelt(words))
        if not answering:
            numbers.update(Decimal(_UNITS.get(word, _TENS.get(word, 0))) for word in words)
    return Figures(frozenset(numbers), frozenset(dates), frozenset(codes))


_FIGURE, _DATED, _CODED, _WORDED = range(4)


@lru_cache(maxsize=1)
def _kinds() -> Any:
    """Which of the slower patterns may match, in RE2."""
    return sets.compiled((r"\d", rf"\b(?:{'|'.join(_MONTHS)})\b|\d[-/.]\d", r"[a-z]-?\d|\d[a-z]+\d", rf"\b(?:{_WORD})"))


def _date(match: re.Match[str], dates: set[tuple[int | None, int, int]], numbers: set[Decimal], answering: bool) -> str:
    found = match.groupdict()
    month = _MONTHS[found["name"].rstrip(".")] if found.get("name") else int(found["m"])
    day = int(re.sub(r"\D", "", found["d"]))
    year = int(found["y"]) if found.get("y") else None
    if year is not None and year < 100:
        year += 2000 if year < 70 else 1900
    if not (1 <= max(month, day) <= 31 and min(month, day) in range(1, 13)):
        return match.group()
    dates.add((year, month, day))
    if not answering:
        # "January" holds no 1.
        numbers.update(Decimal(one) for one in (year, day, None if found.get("name") else month) if one is not None)
    return " ; "


def _amount(match: re.Match[str]) -> Decimal:
    return _plain(_number(match["n"]) * _SCALES.get(match["scale"] or "", 1))


def _number(written: str) -> Decimal:
    if re.fullmatch(r"\d{1,3}(?:\.\d{3})+,\d{1,2}", written):
        written = written.replace(".", "").replace(",", ".")
    return Decimal(written.replace(",", ""))


def _plain(number: Decimal) -> Decimal:
    """Without the zeros that say nothing: `53500.00` is `53500`."""
    return number.normalize()


def _spelt(words: Sequence[str]) -> Decimal:
    """`fifty three thousand five hundred` as 53500."""
    total = current = 0
    for word in words:
        if word in _UNITS or word in _TENS:
            current += _UNITS.get(word, _TENS.get(word, 0))
        elif word == "hundred":
            current = max(1, current) * 100
        else:
            total += max(1, current) * _SCALES[word]
            current = 0
    return _plain(Decimal(total + current))
