"""Names, towns, streets and firms to write about: from Faker's locales for training, from this project's short lists for the coverage set.

Either way part of what is drawn is coined: a chain of letters learnt from the pool makes names that stand in no list.
"""

from __future__ import annotations

import random
import re
import warnings
from collections import defaultdict
from dataclasses import dataclass

from pipelines.masking import names
from pipelines.masking.recogniser import words

_START, _END = "\x02\x02\x02", "\x03"
_WORD = re.compile(r"[^\W\d_]+(?:['’ -][^\W\d_]+)*")
_PER_LOCALE = 120
_SEED = 20


class Chain:
    """Coins words letter by letter, each from the three before it."""

    def __init__(self, examples: list[str]) -> None:
        self._known = frozenset(examples)
        self._next: dict[str, list[str]] = defaultdict(list)
        for word in examples:
            padded = _START + word + _END
            for place in range(3, len(padded)):
                self._next[padded[place - 3 : place]].append(padded[place])

    def coin(self, rng: random.Random, longest: int = 14) -> str:
        """A word of 3 to `longest` letters that the examples do not hold, where a few tries find one."""
        word = ""
        for _ in range(12):
            padded = _START
            while not padded.endswith(_END) and len(padded) < longest + 4:
                padded += rng.choice(self._next[padded[-3:]])
            word = padded[3:].rstrip(_END)
            if 3 <= len(word) <= longest and padded.endswith(_END) and word not in self._known:
                break
        return word


@dataclass(slots=True)
class Pools:
    """What sentences are filled with; `people` and `streets` are per culture, so that a first name mostly meets a fitting last one."""

    people: list[tuple[list[str], list[str]]]
    cities: list[str]
    streets: list[str]
    firms: list[str]
    common: tuple[list[str], list[str]]
    """First and last names that are common in English text."""

    def chains(self) -> tuple[Chain, Chain, Chain]:
        """Chains for first names, last names and towns."""
        given = [name for first, _ in self.people for name in first]
        last = [name for _, last in self.people for name in last]
        return Chain(given), Chain(last), Chain(self.cities)


def from_lists() -> Pools:
    """The pools of the coverage set: the short lists of `names` and `words`, nothing that Faker knows."""
    given = sorted(name.title() for name in names.GIVEN)
    last = sorted(name.title() for name in names.SURNAMES)
    streets = [f"{a} {b}" for a in words.STREET_WORDS for b in words.STREET_TAILS]
    firms = [f"{a} {b}" for a in words.ORG_WORDS for b in words.ORG_TAILS]
    return Pools([(given, last)], list(words.CITIES), streets, firms, (given, last))


def from_faker() -> Pools:
    """The pools of the training text: what Faker writes for each of its locales, in Latin letters."""
    from faker import Faker
    from faker.config import AVAILABLE_LOCALES

    american = Faker("en_US")
    american.seed_instance(_SEED)
    common = tuple(_latin(draw() for _ in range(2000)) for draw in (american.first_name, american.last_name))
    pools = Pools([], [], [], [], (common[0] + sorted(name.title() for name in names.GIVEN), common[1]))
    seen: set[str] = set()
    for locale in sorted(AVAILABLE_LOCALES):
        with warnings.catch_warnings():
            # Some locales are kept by Faker under an old name and say so.
            warnings.simplefilter("ignore")
            fake = Faker(locale)
        fake.seed_instance(_SEED)
        given = _latin(fake.first_name() for _ in range(_PER_LOCALE))
        last = _latin(fake.last_name() for _ in range(_PER_LOCALE))
        key = " ".join(given[:5])
        if len(given) < 8 or len(last) < 8 or key in seen:
            continue
        seen.add(key)
        pools.people.append((given, last))
        pools.cities += _latin(fake.city() for _ in range(40))
        pools.streets += _latin((fake.street_name() for _ in range(40)), digits=True)
        pools.firms += _latin((fake.company() for _ in range(30)), digits=True)
    return pools


def _latin(texts: object, *, digits: bool = False) -> list[str]:
    """Sorted and unlike; letters of other scripts as they are commonly written in Latin ones."""
    from text_unidecode import unidecode

    made = set()
    for text in texts:  # type: ignore[attr-defined]
        line = " ".join(str(text).split())
        if not all(ord(letter) < 0x250 for letter in line):
            line = unidecode(line).replace("'", "").replace("`", "")
            line = " ".join(part[:1].upper() + part[1:] for part in line.split())
        # Scripts that write no vowels leave words that nobody writes in Latin letters.
        vowels = sum(letter in "aeiouyAEIOUY" or not letter.isascii() for letter in line)
        if 1 < len(line) < 40 and (digits or _WORD.fullmatch(line)) and vowels >= 0.2 * len(line):
            made.add(line)
    return sorted(made)
