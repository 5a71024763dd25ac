"""Makes one value of each slot kind: amounts, dates, doses, invented names, noun phrases."""

from __future__ import annotations

import random
from collections.abc import Callable

from pipelines.training.starter import words as w
from pipelines.training.starter.common import COMMON

YEARS = (1990, 2049)


def amount(rng: random.Random) -> str:
    """An amount in dollars, euros or pounds, most often like $53,500."""
    roll = rng.random()
    sign = rng.choice("$$$$$$€£")
    if roll < 0.5:
        return f"{sign}{rng.randrange(1, 1000)},{rng.randrange(10) * 100:03d}"
    if roll < 0.65:
        return f"{sign}{rng.randrange(1, 1000)},{rng.randrange(1000):03d}"
    if roll < 0.85:
        return f"{sign}{rng.randrange(1, 1000)}"
    if roll < 0.93:
        return f"{sign}{rng.randrange(1, 100)}.{rng.randrange(100):02d}"
    return f"{sign}{rng.randrange(1, 100)}.{rng.randrange(1, 10)} {rng.choice(('million', 'billion'))}"


def date(rng: random.Random) -> str:
    """A date in one of three ways of writing."""
    year, month, day = rng.randint(*YEARS), rng.randrange(12), rng.randrange(1, 29)
    roll = rng.random()
    if roll < 0.65:
        return f"{w.MONTHS[month]} {day}, {year}"
    return f"{day} {w.MONTHS[month]} {year}" if roll < 0.85 else f"{year}-{month + 1:02d}-{day:02d}"


def duration(rng: random.Random) -> str:
    """A span of time such as "30 days" or "six months"."""
    number = rng.choice(w.SMALL_NUMBERS) if rng.random() < 0.35 else str(rng.randrange(2, 120))
    return f"{number} {rng.choice(w.UNITS)}"


def percent(rng: random.Random) -> str:
    """A percentage such as "4.5 percent" or "12%"."""
    number = str(rng.randrange(1, 100)) if rng.random() < 0.4 else f"{rng.randrange(0, 40)}.{rng.randrange(1, 100)}"
    return number + rng.choice((" percent", "%", "%"))


def invented(rng: random.Random) -> str:
    """An invented lower-case word of two or three syllables."""
    return "".join(rng.choice(w.SYLLABLES) for _ in range(rng.choice((2, 2, 3))))


def surname(rng: random.Random) -> str:
    """An invented surname."""
    tail = rng.choice(w.SUFFIXES) if rng.random() < 0.5 else ""
    return (invented(rng) + tail).capitalize()


def drug(rng: random.Random) -> str:
    """A medicine: a common generic name, or an invented one."""
    return rng.choice(w.DRUGS) if rng.random() < 0.4 else invented(rng) + rng.choice(w.DRUG_TAILS)


def term(rng: random.Random) -> str:
    """What an amount is of: "excess mileage fee", "threshold amount", "kelora tariff"."""
    roll = rng.random()
    head = rng.choice(w.AMOUNT_HEADS)
    if roll < 0.25:
        return head
    return f"{rng.choice(w.AMOUNT_MODS) if roll < 0.85 else invented(rng)} {head}"


def code(rng: random.Random) -> str:
    """An identifier such as ZX-4821, B17 or 1094-C."""
    letters = "".join(rng.choice("ABCDEFGHJKLMNPRSTUVWXYZ") for _ in range(rng.choice((1, 2, 2))))
    number = rng.randrange(10, 10000)
    return rng.choice((f"{letters}-{number}", f"{letters}{number}", f"{number}-{letters}"))


def section(rng: random.Random) -> str:
    """A section number such as 14(b) or 1013.2."""
    number = rng.randrange(1, 100) if rng.random() < 0.6 else rng.randrange(1000, 1100)
    tail = rng.choice(("", f"({rng.choice('abcdefgh')})", f".{rng.randrange(1, 30)}", f".{rng.randrange(1, 30)}(a)"))
    return f"{number}{tail}"


def definition(rng: random.Random) -> str:
    """A defining noun phrase of four to fourteen words."""
    head = f"a {rng.choice(w.ADJECTIVES)} {rng.choice(w.NOUNS)}"
    tails = (
        f"used for {rng.choice(w.PLURALS)}",
        f"that the {rng.choice(w.ROLES)} must {rng.choice(w.VERBS)}",
        f"kept in {rng.choice(w.PLACES)}",
        f"worth more than {amount(rng)}",
        f"for {rng.choice(w.ADJECTIVES)} {rng.choice(w.PLURALS)} or {rng.choice(w.PLURALS)}",
        f"not longer than {duration(rng)}",
        f"held by a {rng.choice(w.ROLES)} for a {rng.choice(w.ROLES)}",
    )
    return " ".join((head, *rng.sample(tails, rng.choice((1, 1, 2)))))


def dose(rng: random.Random) -> str:
    """A dose such as "250 mg"."""
    number = rng.choice((str(rng.randrange(1, 1000)), str(rng.randrange(1, 20) * 50), f"{rng.randrange(9)}.5"))
    return f"{number} {rng.choice(('mg', 'mg', 'mg', 'mcg', 'mL', 'g', 'units', 'puffs', 'tablets'))}"


def symptom(rng: random.Random) -> str:
    """A complaint such as "a dry cough" or "dull ache in the neck"."""
    if rng.random() < 0.6:
        return rng.choice(w.SYMPTOMS)
    return f"{rng.choice(w.PAINS)} in the {rng.choice(w.BODY_PARTS)}"


def noun_phrase(rng: random.Random) -> str:
    """A plural such as "sealed devices"."""
    return f"{rng.choice(w.ADJECTIVES)} {rng.choice(w.PLURALS)}" if rng.random() < 0.7 else rng.choice(w.PLURALS)


def defined_term(rng: random.Random) -> str:
    """A term to be defined, real or invented."""
    if rng.random() < 0.3:
        return f"{invented(rng)} {rng.choice(w.NOUNS)}"
    return f"{rng.choice(w.ADJECTIVES)} {rng.choice(w.NOUNS)}"


def jumble(rng: random.Random) -> str:
    """Three to twelve ordinary words in no order: text that no template foresees."""
    return " ".join(rng.choice(COMMON) for _ in range(rng.randint(3, 12)))


def _pick(values: tuple[str, ...]) -> Callable[[random.Random], str]:
    return lambda rng: rng.choice(values)


def _number(low: int, high: int, form: str = "{}") -> Callable[[random.Random], str]:
    return lambda rng: form.format(rng.randint(low, high))


KINDS: dict[str, Callable[[random.Random], str]] = {
    "action": _pick(w.ACTIONS),
    "adj": _pick(w.ADJECTIVES),
    "allergen": _pick(w.ALLERGENS),
    "amt": amount,
    "body": _pick(w.BODY_PARTS),
    "bp": lambda rng: f"{rng.randint(85, 199)}/{rng.randint(45, 119)}",
    "code": code,
    "cond": _pick(w.CONDITIONS),
    "conduct": _pick(w.CONDUCT),
    "date": date,
    "datehead": _pick(w.DATE_HEADS),
    "dec": lambda rng: f"{rng.randint(1, 29)}.{rng.randint(0, 9)}",
    "defn": definition,
    "defterm": defined_term,
    "dose": dose,
    "drug": drug,
    "dur": duration,
    "First": _pick(w.FIRST_NAMES),
    "freq": _pick(w.FREQUENCIES),
    "freqnoun": _pick(("week", "month", "quarter", "day", "year", "morning", "Monday", "Friday", "second week")),
    "hr": _number(45, 150),
    "int": _number(2, 900),
    "jumble": jumble,
    "job": _pick(w.JOBS),
    "month": _pick(w.MONTHS),
    "noun": _pick(w.NOUNS),
    "nps": noun_phrase,
    "obj": _pick(w.OBJECTS),
    "Org": lambda rng: f"{invented(rng).capitalize()} {rng.choice(w.ORG_TAILS)}",
    "pain": _pick(w.PAINS),
    "pct": percent,
    "period": _pick(w.PERIOD_HEADS),
    "phone": lambda rng: f"{rng.randint(200, 999)}-{rng.randint(100, 999)}-{rng.randint(0, 9999):04d}",
    "Place": lambda rng: invented(rng).capitalize(),
    "place": _pick(w.PLACES),
    "product": _pick(w.PRODUCTS),
    "rate": _pick(w.RATE_HEADS),
    "reason": _pick(w.REASONS),
    "role": _pick(w.ROLES),
    "rr": _number(10, 30),
    "sat": _number(85, 100, "{}%"),
    "section": section,
    "Surname": surname,
    "sym": symptom,
    "symbare": lambda rng: rng.choice(w.SYMPTOMS).removeprefix("a "),
    "temp": lambda rng: f"{rng.randint(35, 40)}.{rng.randint(0, 9)}",
    "term": term,
    "test": _pick(w.TESTS),
    "title": _pick(w.TITLES),
    "verb": _pick(w.VERBS),
    "weight": _number(40, 140, "{} kg"),
    "when": _pick(("at night", "in the morning", "after meals", "on exertion", "when lying down", "in cold weather")),
    "word": invented,
    "year": _number(*YEARS),
}
