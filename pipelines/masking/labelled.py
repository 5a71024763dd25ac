"""The labelled set of the coverage gate: sentences with identifiers of every kind, and where they are.

Written apart from the recogniser's training templates; names and towns come from this project's short lists, part of them coined.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from typing import Final

from pipelines.config import Privacy
from pipelines.masking.recogniser import pools
from pipelines.masking.recogniser.generate import Example
from pipelines.masking.recogniser.slots import Filler
from pipelines.masking.taggers import MODEL_KINDS

_SLOT: Final = re.compile(r"\{(\w+)\}")
_DIRECT: Final = frozenset({"EMAIL", "PHONE", "SSN", "CARD"})

_SENTENCES: Final = """
The referral came from {name} after the visit on {DATE}, and {first} has agreed to it.
{name} left a voicemail: please ring back on {PHONE} or write to {EMAIL}.
Discharge papers were handed to {name}, who drives the patient home to {address}.
A letter went out to {address} and another to the clinic run by {org}.
Since moving here from {city}, the patient has been under the care of {name}.
Her sister {first} flew in from {city} to help with the children.
The claim was paid with card {CARD}; the social security number on file is {SSN}.
Please invoice {org}, {address}, and copy {EMAIL}.
{name} owns a bakery in {city} and worked for {org} until the injury.
Reported by {name}. Reviewed by {name}. Copies to {name} and {name}.
The parcel for {name} should be left with a neighbour at {address}.
Login from {IP} under medical record number {ID} at noon.
Doctor: How long have you lived in {city}? Patient: Since {first} was born.
I told {name} that {first} would stay in {city} over the winter.
Contact {name} at {PHONE}. Backup contact: {name}, {PHONE}.
She remembers travelling through {city} with {name} and {first}.
Account {IBAN} was opened by {name} on {DATE}.
Employment: nine years as a foreman at {org}. Spouse: {name}.
The witness, {name}, met {name} on the platform in {city}.
Mail returned from {address}; {name} has asked for it to be sent again.
"""


def kinds(privacy: Privacy) -> frozenset[str]:
    """The kinds that a profile must find."""
    if privacy.profile == "public":
        return _DIRECT | (frozenset(privacy.also) & frozenset(MODEL_KINDS.values()))
    return _DIRECT | frozenset(MODEL_KINDS.values()) | {"DATE", "IP", "ID", "ACCOUNT"}


def examples(seed: int) -> Iterator[Example]:
    """Labelled texts without end, the same for the same seed."""
    rng = random.Random(seed)  # noqa: S311 - text, not secrets
    filler = Filler(pools.from_lists(), rng, coined=0.3)
    numbers = _numbers(rng)
    sentences = [line.strip() for line in _SENTENCES.strip().splitlines()]
    while True:
        rng.shuffle(sentences)
        for sentence in sentences:
            text, spans, last = "", [], 0
            for slot in _SLOT.finditer(sentence):
                text += sentence[last : slot.start()]
                name = slot.group(1)
                value, kind = (numbers[name](), name) if name in numbers else filler.fill(name)
                kind = "ACCOUNT" if kind == "IBAN" else MODEL_KINDS.get(kind, kind)
                spans.append((len(text), len(text) + len(value), kind))
                text, last = text + value, slot.end()
            yield Example(text + sentence[last:], tuple(spans))


def _numbers(rng: random.Random) -> dict[str, Callable[[], str]]:
    def digits(shape: str) -> str:
        return "".join(str(rng.randint(0, 9)) if letter == "#" else letter for letter in shape)

    def card() -> str:
        body = digits("4" + "#" * 14)
        doubled = sum(sum(divmod(2 * int(d), 10)) if n % 2 == 0 else int(d) for n, d in enumerate(body))
        whole = f"{body}{-doubled % 10}"
        return " ".join(whole[n : n + 4] for n in range(0, 16, 4)) if rng.random() < 0.5 else whole

    def iban() -> str:
        body = digits("#" * 18)
        check = 98 - int(f"{body}131400") % 97
        return f"DE{check:02}{body}"

    def day() -> str:
        month = rng.choice(("January", "April", "September", "November"))
        number, year = rng.randint(1, 28), rng.randint(1990, 2026)
        return rng.choice((f"{month} {number}, {year}", f"{number} {month} {year}", f"{year}-{rng.randint(1, 12):02}-{number:02}"))

    return {
        "PHONE": lambda: f"({rng.randint(201, 799)}) {rng.randint(201, 799)}-{digits('####')}",
        "EMAIL": lambda: f"{rng.choice(('info', 'desk', 'k.lindt', 'mo77'))}@{rng.choice(('mail', 'post', 'box'))}{digits('##')}.example",
        "SSN": lambda: f"{rng.randint(101, 599)}-{rng.randint(10, 99)}-{rng.randint(1000, 9999)}",
        "CARD": card,
        "IP": lambda: ".".join(str(rng.randint(1, 254)) for _ in range(4)),
        "ID": lambda: digits("########"),
        "IBAN": iban,
        "DATE": day,
    }
