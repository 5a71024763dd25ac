"""Telephone numbers and postal codes of Faker's locales, masked: `python tests/bench/bench_masking_shapes.py [--held-out] [--missed]`.

What the patterns of `pipelines/masking` were developed on, so that its shares say what they cover, not how well they do on real text.
`--missed` prints what was missed; `--held-out` takes other sentences, which nothing was developed on. Needs `requirements-dev.txt`.
"""

from __future__ import annotations

import argparse
import random
import re
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from pipelines.masking.mask import Masker
from pipelines.masking.score import Score
from pipelines.masking.vault import Vault

_OFTEN_TEXT: Final = """
en_US en_US en_US en_US en_GB en_GB en_GB en_AU en_CA en_IN en_NZ en_IE de_DE de_AT de_CH fr_FR it_IT es_ES nl_NL nl_BE pl_PL sv_SE
da_DK no_NO fi_FI pt_PT pt_BR hu_HU cs_CZ sl_SI et_EE zu_ZA
"""
OFTEN: Final = tuple(_OFTEN_TEXT.split())
LATIN: Final = re.compile(r"[\x20-\x7e]+")

PHONES: Final = {
    "labelled": """
Phone: {phone}
Tel. {phone}
tel: {phone} fax: {phone}
Telephone number {phone}, mobile {phone}
My phone number is {phone}.
Please call {phone} and ask for the night desk.
You can call me at {phone} or text me on {phone}
Fax no. {phone}
His cell is {phone}, her work number is {phone}.
Call us on {phone} between nine and five
Mobile {phone}, after hours {phone}
""",
    "context": """
If nobody answers, try {phone}.
I can be reached at {phone} all week.
Somebody keeps ringing me from {phone}, please block it
Contact {name} at {phone}
Text {phone} to cancel.
Could you update my number to {phone}?
Is {phone} still your number?
{name}, {phone}
""",
    "none": """
{name} {phone}
{street}, {city}, {phone}
{phone}
Sent from {phone}
I wrote it down as {phone}, I think
{name} - {phone} - {city}
""",
}
CODES: Final = {
    "labelled": """
ZIP: {code}
My zip code is {code}.
Postcode {code}
postal code: {code}
What is the postcode, {code} or {code}?
zip code for {city} is {code}
Please change the postal code on my account to {code}
""",
    "address": """
{street}, {city} {code}
{street}, {code} {city}
{street}|{code} {city}|{country}
{street}|{city}, {code}
{name}, {street}, {city}, {country} {code}
I moved to {street}, {city} {code}, last week.
Ship it to {name} at {street} in {code} {city}, please
{street}|{city}|{code}|{country}
{city}, {state} {code}
{street} {city} {state} {code}
""",
    "place": """
We are in {city} {code} now
The shop in {code} {city} is shut
{city}, {code}
From {city} ({code}) to {city} ({code})
I come from {country}, {code}
""",
    "none": """
Do you deliver to {code}?
I live in {code}
What is the weather in {code}?
Are there any branches near {code}?
""",
}
HELD_OUT_PHONES: Final = {
    "labelled": """
contact phone {phone}
Our fax number has changed from {phone} to {phone}.
Give {name} a call at {phone}, will you
Mob: {phone}
""",
    "context": """
Ring {phone} if the lift is stuck
Best number for the evening: {phone}
""",
    "none": """
{name}|{street}|{city}|{phone}
Ask {name} ({phone})
""",
}
HELD_OUT_CODES: Final = {
    "labelled": """
The zip on the form says {code}
Enter your postcode ({code}) here
""",
    "address": """
{name}|{street}|{city} {code}
Bill to: {street}, {code} {city}, {country}
The parcel went to {street}, {city}, {state} {code} by mistake
""",
    "place": """
A flood near {city} {code} closed the road
Postmarked {code} {city}
""",
    "none": """
Is there a pharmacy around {code}?
""",
}
SLOT: Final = re.compile(r"\{(\w+)\}")


def fakers() -> dict[str, Any]:
    """A generator of each locale."""
    from faker import Faker
    from faker.config import AVAILABLE_LOCALES

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some locales are on their way out
        return {locale: Faker(locale) for locale in sorted(AVAILABLE_LOCALES)}


def made(source: Any, what: str) -> str | None:
    """A value in Latin letters and digits, None where the locale has none."""
    calls: dict[str, Callable[[], str]] = {
        "phone": lambda: source.phone_number(),
        "code": lambda: source.postcode(),
        "name": lambda: source.name(),
        "city": lambda: source.city(),
        "street": lambda: source.street_address(),
        "country": lambda: source.current_country(),
        "state": lambda: source.state_abbr(),
    }
    try:
        value = str(calls[what]()).replace("\n", ", ")
    except (AttributeError, ValueError):
        return None
    return value if LATIN.fullmatch(value) else None


def examples(groups: dict[str, str], count: int, seed: int) -> Iterator[tuple[str, str, list[tuple[int, int, str]]]]:
    """(locale and context, text, gold spans): each text of one locale, one in three in lower case."""
    from faker import Faker

    Faker.seed(seed)
    rng, sources = random.Random(seed), fakers()  # noqa: S311 - text, not secrets
    locales = [*OFTEN, *OFTEN, *sources]
    sentences = [(group, line.replace("|", "\n")) for group, text in groups.items() for line in text.strip().splitlines()]
    while count:
        locale, (group, sentence) = rng.choice(locales), rng.choice(sentences)
        text, spans, last = "", [], 0
        for slot in SLOT.finditer(sentence):
            what = slot[1]
            value = made(sources[locale], what) or (made(sources["en_US"], what) if what not in ("phone", "code") else None)
            value = value or ("France" if what == "country" else None)
            if value is None:
                break
            text += sentence[last : slot.start()]
            if what in ("phone", "code"):
                spans.append((len(text), len(text) + len(value), what))
            text, last = text + value, slot.end()
        else:
            text += sentence[last:]
            count -= 1
            yield f"{locale} {group}", text.lower() if rng.random() < 1 / 3 else text, spans


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--texts", type=int, default=3000)
    parser.add_argument("--held-out", action="store_true")
    parser.add_argument("--missed", action="store_true")
    arguments = parser.parse_args()
    phones, codes = (HELD_OUT_PHONES, HELD_OUT_CODES) if arguments.held_out else (PHONES, CODES)
    with tempfile.TemporaryDirectory() as scratch:
        masker = Masker("safe_harbor", Vault(Path(scratch) / "v.db", Path(scratch) / "v.key"))
        for title, groups in (("telephone numbers", phones), ("postal codes", codes)):
            report(title, groups, masker, arguments)


def report(title: str, groups: dict[str, str], masker: Masker, arguments: argparse.Namespace) -> None:
    """The share found, whole and by context; missed shapes where they are asked for."""
    by, missed = {group: Score() for group in ("all", *groups)}, Counter[str]()
    for which, text, gold in examples(groups, arguments.texts, arguments.seed):
        found = masker.spans(text)
        covered = {n for start, end, _ in found for n in range(start, end)}
        for name in ("all", which.split()[1]):
            by[name].add(gold, found)
        for start, end, _ in gold:
            if sum(n in covered for n in range(start, end)) < 0.9 * (end - start):
                missed[f"{which}: {re.sub(r'[a-z]', 'a', re.sub(r'[A-Z]', 'A', re.sub(r'[0-9]', '#', text[start:end])))}  <{text}>"] += 1
    shares = {name: (round(next(iter(one.recall().values())), 4), sum(one.labelled.values())) for name, one in by.items()}
    print(title, shares)  # noqa: T201
    if arguments.missed:
        for shape, times in missed.most_common():
            print(f"  {times:4} {shape!r}")  # noqa: T201


if __name__ == "__main__":
    main()
