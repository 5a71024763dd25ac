"""The Model Consumer Leasing Rule, part 9013: the words of an invented regulation, its amendment and its goldens.

Facts come in eight shapes of sentence and one list of yearly thresholds. In each shape half of the paragraphs carry goldens; the others
are left for training, which must not see what the goldens cite.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

PART = "9013"
BASE, AMENDMENT, WORSE = "2013-90001", "2014-90002", "2014-90003"
BASE_DATE, AMENDMENT_DATE, WORSE_DATE = "2014-01-01", "2014-07-01", "2014-09-01"
TITLE = "Model Consumer Leasing Rule (generated sample, not law)"
FOREVER = "9999-12-31"
AMENDED_YEAR = 2014


@dataclass(frozen=True, slots=True)
class Paragraph:
    """One paragraph of the rule; a fact has a question and its answer, a literal span of `text`."""

    label: str
    title: str
    text: str
    question: str = ""
    answer: str = ""


@dataclass(frozen=True, slots=True)
class _Shape:
    """One way to state a fact. `sentence`, `asks` and `answer` take the words of a row and the drawn value."""

    section: str
    subject: str
    sentence: str
    asks: tuple[str, ...]
    """Questions of the goldens, by turns; the first is worded like the training questions, the others are not."""
    answer: str
    values: tuple[int, ...]
    rows: tuple[tuple[str, str], ...]


_SHAPES = (
    _Shape(
        "8",
        "Record retention.",
        "A lessor must keep {a} for {n} months after {b}.",
        ("How long must a lessor keep {a}?", "What is the retention time for {a}?"),
        "{n} months",
        (12, 15, 18, 24, 27, 30, 33, 36, 42, 48, 54, 60),
        (
            ("payment ledgers", "the final payment"),
            ("inspection reports", "the vehicle is returned"),
            ("signed disclosures", "the lease begins"),
            ("complaint letters", "the complaint is settled"),
            ("insurance certificates", "the policy lapses"),
            ("odometer statements", "the lease ends"),
            ("copies of advertisements", "the last broadcast"),
            ("credit applications", "the decision"),
            ("appraisal worksheets", "the sale of the property"),
            ("call recordings", "the call"),
        ),
    ),
    _Shape(
        "5",
        "Notices.",
        "The lessor must send the {a} at least {n} days before {b}.",
        ("How many days before {b} must the lessor send the {a}?", "How early is the {a} due?"),
        "{n} days",
        (5, 7, 10, 12, 14, 20, 21, 25, 30, 45, 60, 90),
        (
            ("notice of renewal", "the lease renews"),
            ("statement of charges", "the account is closed"),
            ("notice of assignment", "the lease is assigned"),
            ("reminder of maturity", "the scheduled termination"),
            ("notice of inspection", "the inspection takes place"),
            ("notice of repossession", "the property is taken back"),
            ("change of address form", "the servicer moves"),
            ("purchase option letter", "the option expires"),
            ("insurance warning", "coverage is replaced"),
            ("notice of rate adjustment", "the new rate applies"),
        ),
    ),
    _Shape(
        "4",
        "Fees.",
        "The lessor may charge a {a} of no more than ${n} for {b}.",
        ("What is the highest {a} the lessor may charge?", "How much may be charged for {b}?"),
        "${n}",
        (15, 20, 25, 35, 40, 45, 55, 65, 75, 85, 95, 120),
        (
            ("disposition fee", "cleaning a returned vehicle"),
            ("documentation fee", "preparing the lease papers"),
            ("returned payment fee", "each dishonored check"),
            ("transfer fee", "moving the lease to another lessee"),
            ("copy fee", "a second set of disclosures"),
            ("extension fee", "each month of extension"),
            ("title handling fee", "lodging the title"),
            ("courier fee", "same-day delivery of documents"),
            ("inspection fee", "a visit at the lessee's home"),
            ("payoff quotation fee", "a written payoff quotation"),
        ),
    ),
    _Shape(
        "10",
        "Limits in percent.",
        "The {a} may not exceed {n} percent of {b}.",
        ("What percentage may the {a} not exceed?", "Up to what share of {b} is the {a} allowed?"),
        "{n} percent",
        (2, 3, 4, 5, 6, 8, 9, 11, 12, 15, 18, 20),
        (
            ("late charge", "the overdue payment"),
            ("early termination charge", "the remaining payments"),
            ("excess mileage charge", "the residual value"),
            ("default interest", "the unpaid balance"),
            ("collection cost", "the amount collected"),
            ("brokerage commission", "the gross capitalized cost"),
            ("administrative surcharge", "the monthly payment"),
            ("wear and use charge", "the agreed property value"),
            ("balloon adjustment", "the original lease amount"),
            ("reinstatement charge", "the arrears"),
        ),
    ),
    _Shape(
        "7",
        "Advertising.",
        "An advertisement for {a} must show the total cost when {b} is above ${n}.",
        (
            "Above what amount of {b} must an advertisement for {a} show the total cost?",
            "From which figure do promotions of {a} need the total cost?",
        ),
        "${n}",
        (300, 450, 600, 750, 900, 1200, 1500, 1800, 2100, 2500, 3000, 3600),
        (
            ("a motorcycle lease", "the down payment"),
            ("a furniture lease", "the first instalment"),
            ("a piano lease", "the deposit"),
            ("a boat lease", "the mooring allowance"),
            ("a camper lease", "the trade-in credit"),
            ("a tractor lease", "the delivery charge"),
            ("a copier lease", "the service charge"),
            ("a trailer lease", "the hitch allowance"),
            ("a bicycle lease", "the accessory package"),
            ("a computer lease", "the set-up charge"),
        ),
    ),
    _Shape(
        "6",
        "Rights of the lessee.",
        "The lessee may {a} within {n} days after {b}.",
        ("Within how many days may the lessee {a}?", "What period does the lessee have after {b}?"),
        "{n} days",
        (3, 4, 6, 8, 9, 11, 13, 15, 16, 18, 22, 28),
        (
            ("cancel the lease", "signing"),
            ("dispute a charge", "the monthly statement"),
            ("ask for a second appraisal", "the first appraisal"),
            ("withdraw an extension request", "filing the request"),
            ("return defective property", "delivery"),
            ("appeal a denial", "the denial letter"),
            ("correct a clerical error", "the error is found"),
            ("replace the insurer", "the insurer's notice"),
            ("exchange the vehicle", "a failed repair"),
            ("reclaim personal items", "repossession"),
        ),
    ),
    _Shape(
        "9",
        "Security deposits.",
        "The security deposit for {a} is limited to ${n}, unless {b}.",
        ("To what amount is the security deposit for {a} limited?", "What cap applies when a deposit is taken on {a}?"),
        "${n}",
        (150, 200, 350, 400, 550, 650, 800, 850, 950, 1100, 1300, 1400),
        (
            ("a passenger car", "the car is insured by the lessor"),
            ("a light truck", "the truck is used for hire"),
            ("household furniture", "the furniture is antique"),
            ("a musical instrument", "the instrument is lent to a school"),
            ("medical equipment", "a public insurer pays"),
            ("garden machinery", "the machinery is used by the trade"),
            ("office equipment", "the lessee is a charity"),
            ("sports equipment", "the season has ended"),
            ("a mobile home", "the home is moved"),
            ("kitchen appliances", "the appliances are built in"),
        ),
    ),
    _Shape(
        "11",
        "Rates.",
        "The {a} used for {b} is {n} percent a year.",
        ("What is the {a} used for {b}?", "How high is the yearly {a}?"),
        "{n} percent",
        (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14),
        (
            ("discount rate", "early termination tables"),
            ("reference rate", "variable rent"),
            ("accrual rate", "refunds of deposits"),
            ("penalty rate", "late filings"),
            ("reserve rate", "residual guarantees"),
            ("inflation rate", "maintenance budgets"),
            ("depreciation rate", "electronic goods"),
            ("assumed yield", "gap coverage"),
            ("default rate", "loss provisions"),
            ("indexation rate", "service contracts"),
        ),
    ),
)

_LEADS = (
    "This paragraph applies to every consumer lease under this part.",
    "The purpose of this paragraph is to protect lessees.",
    "Creditworthiness has no bearing on this paragraph.",
    "The parties cannot agree otherwise to the lessee's disadvantage.",
    "",
    "",
)
_TAILS = (
    "A lessor that uses an agent answers for the agent.",
    "The rule holds for open-end and closed-end leases alike.",
    "State law may be stricter.",
    "An electronic record is enough.",
    "",
    "",
)

_PLAIN_SUBJECTS = (
    "the lessor", "the lessee", "an assignee", "a guarantor", "a broker", "a dealer", "the servicer", "a co-lessee", "an arranger",
    "the holder", "a manufacturer", "an insurer",
)  # fmt: skip
_PLAIN_VERBS = (
    ("must state in plain words", "what happens when the property is lost, stolen or destroyed"),
    ("must keep apart from other papers", "the disclosures that this part requires"),
    ("need not repeat", "information that a prior statement has already given in full"),
    ("may rely in good faith on", "a written interpretation, even where it is later withdrawn"),
    ("must describe without abbreviation", "the property that is leased and who maintains it"),
    ("may not treat as a waiver", "the lessee's silence about a term that was never shown"),
    ("must name", "the person to whom questions about the lease are addressed"),
    ("may combine in one document", "the disclosures of several leases made at one time"),
)


def paragraphs(seed: int) -> list[Paragraph]:
    """The whole rule in order, about 155 paragraphs; those with a question are for goldens."""
    rng = random.Random(seed)  # noqa: S311
    found: list[Paragraph] = []
    for shape in _SHAPES:
        found += _facts(shape, rng)
    found += _plain(rng)
    found += _thresholds(rng)
    return found


def _facts(shape: _Shape, rng: random.Random) -> Iterator[Paragraph]:
    values = rng.sample(shape.values, len(shape.rows))
    for index, ((a, b), n) in enumerate(zip(shape.rows, values, strict=True)):
        words = {"a": a, "b": b, "n": f"{n:,}"}
        text = " ".join(filter(None, (rng.choice(_LEADS), shape.sentence.format(**words), rng.choice(_TAILS))))
        label = f"{PART}-{shape.section}-{'abcdefghijklmnop'[index]}"
        asked = index % 2 == 0
        ask = shape.asks[0 if index % 4 == 0 else 1]
        yield Paragraph(
            label,
            f"{shape.subject.rstrip('.')}: {a}.",
            text,
            ask.format(**words) if asked else "",
            shape.answer.format(**words) if asked else "",
        )


def _plain(rng: random.Random) -> Iterator[Paragraph]:
    """Prose without a fact to extract."""
    pairs = [(subject, verb) for subject in _PLAIN_SUBJECTS for verb in _PLAIN_VERBS]
    for index, (subject, (verb, what)) in enumerate(rng.sample(pairs, 56)):
        section, letter = divmod(index, 14)
        text = f"{subject[0].upper()}{subject[1:]} {verb} {what}. {rng.choice(_TAILS[:4])}"
        yield Paragraph(f"{PART}-{20 + section}-{'abcdefghijklmnop'[letter]}", "", text)


def threshold(year: int, amount: int) -> str:
    """A line of the list of yearly thresholds."""
    return f"From January 1, {year} through December 31, {year}, the exempt consumer lease threshold amount is ${amount:,}."


def _thresholds(rng: random.Random) -> Iterator[Paragraph]:
    roman = ("i", "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix", "x", "xi", "xii", "xiii", "xiv", "xv")
    amount = 31_500
    yield Paragraph(
        f"{PART}-2-e-Interp-9-i",
        "Threshold amount before 2001.",
        f"Prior to January 1, 2001, the exempt consumer lease threshold amount is ${amount:,}.",
        "Which exempt consumer lease threshold held before the year 2001?",
        f"${amount:,}",
    )
    asked = {
        2008: "What is the exempt consumer lease threshold in 2008?",
        2010: "What threshold amount decided in 2010 whether a consumer lease was exempt?",
        2012: "How much was the exempt consumer lease threshold amount during 2012?",
        2013: "Consumer leases above which amount were exempt in 2013?",
        2014: "What is the exempt consumer lease threshold in 2014?",
    }
    for year, mark in zip(range(2001, 2015), roman[1:], strict=True):
        amount += 100 * rng.randint(6, 19)
        question = asked.get(year, "")
        yield Paragraph(
            f"{PART}-2-e-Interp-9-{mark}",
            f"Threshold amount for {year}.",
            threshold(year, amount),
            question,
            f"${amount:,}" if question else "",
        )


def amended(seed: int) -> Paragraph:
    """The 2014 threshold as the amendment has it."""
    before = next(p for p in paragraphs(seed) if p.title == f"Threshold amount for {AMENDED_YEAR}.")
    amount = int(before.answer.lstrip("$").replace(",", "")) + 700
    return Paragraph(before.label, before.title, threshold(AMENDED_YEAR, amount), before.question, f"${amount:,}")


def goldens(seed: int) -> list[dict[str, str]]:
    """Questions with their answer, the paragraph they cite and the dates between which that is true."""
    rows: list[dict[str, str]] = []
    new = amended(seed)
    for paragraph in paragraphs(seed):
        if paragraph.question:
            until = AMENDMENT_DATE if paragraph.label == new.label else FOREVER
            rows.append(_golden(len(rows) + 1, paragraph, BASE_DATE, until))
    rows.append(_golden(len(rows) + 1, new, AMENDMENT_DATE, FOREVER))
    return rows


def _golden(number: int, paragraph: Paragraph, valid_from: str, valid_to: str) -> dict[str, str]:
    return {
        "id": f"regulatory-{number:03d}",
        "question": paragraph.question,
        "answer": paragraph.answer,
        "cites": paragraph.label,
        "quote": "",
        "valid_from": valid_from,
        "valid_to": valid_to,
        "author": "pipelines.samples",
        "reviewer": "steward",
    }


def section_title(label: str) -> str:
    """The heading of the section that a paragraph or section label is in."""
    names = {shape.section: shape.subject for shape in _SHAPES}
    number = label.split("-")[1]
    return f"§ {PART}.{number} {names.get(number, 'General provisions.')}"
