"""Labelled text, made from a seed: templates, a small grammar of clauses, word salad; then what happens to text in the wild.

Nothing is read but the words of this package (and Faker's for training): no person's text is in it.
"""

from __future__ import annotations

import random
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from pipelines.masking.recogniser import negatives, templates, words
from pipelines.masking.recogniser.pools import Pools
from pipelines.masking.recogniser.slots import Filler, Piece

LABELS: Final = ("NAME", "PLACE", "ORG", "ADDRESS")
_SLOT: Final = re.compile(r"\{(\w+)\}")
_ENTITY: Final = ("name", "name", "first", "last", "city", "city", "country", "org", "street", "address", "crossing")


@dataclass(frozen=True, slots=True)
class Example:
    """A text and the (start, end, label) spans of what it names."""

    text: str
    spans: tuple[tuple[int, int, str], ...]


@dataclass(frozen=True, slots=True)
class Mix:
    """Shares of each kind of text; the rest is negatives."""

    positive: float = 0.48
    grammar: float = 0.18
    lists: float = 0.08
    salad: float = 0.04
    long: float = 0.1
    lower: float = 0.17
    upper: float = 0.05
    noisy: float = 0.15


def stream(pools: Pools, seed: int, mix: Mix | None = None, positive: tuple[str, ...] = templates.POSITIVE) -> Iterator[Example]:
    """Examples without end, the same for the same seed and pools."""
    mix = mix or Mix()
    rng = random.Random(seed)  # noqa: S311 - text, not secrets
    filler = Filler(pools, rng)
    while True:
        pieces = _text(filler, rng, mix, positive)
        # A text in the wild is seldom one sentence, and some are long.
        more = rng.randint(3, 7) if rng.random() < mix.long else 0
        while more > 0 or rng.random() < 0.25:
            more -= 1
            pieces = [*pieces, (rng.choice((" ", " ", " ", "\n", "\n\n")), "O"), *_text(filler, rng, mix, positive)]
        yield _joined(_weathered(pieces, rng, mix))


def _text(filler: Filler, rng: random.Random, mix: Mix, positive: tuple[str, ...]) -> list[Piece]:
    draw = rng.random()
    if draw < mix.positive:
        return render(rng.choice(positive), filler)
    if draw < mix.positive + mix.grammar:
        return _clauses(filler, rng)
    if draw < mix.positive + mix.grammar + mix.lists:
        return render(rng.choice(templates.LISTS), filler)
    if draw < mix.positive + mix.grammar + mix.lists + mix.salad:
        return _salad(filler, rng)
    return render(rng.choice(negatives.NEGATIVE), filler)


def render(template: str, filler: Filler) -> list[Piece]:
    """A template's pieces, its slots filled."""
    pieces: list[Piece] = []
    last = 0
    for slot in _SLOT.finditer(template):
        pieces += [(template[last : slot.start()], "O"), filler.fill(slot.group(1))]
        last = slot.end()
    return [piece for piece in (*pieces, (template[last:], "O")) if piece[0]]


def _clauses(filler: Filler, rng: random.Random) -> list[Piece]:
    """Subject, verb, object and where or when, joined at random: names in places that no template puts them."""

    def verb() -> str:
        return filler.fill("verb")[0]

    def actor() -> list[Piece]:
        return render(
            rng.choice(
                ("{name}", "{first}", "{title} {last}", "the {job} {name}", "{org}", "the {adj} {common}", "{relation} {kin}",
                "{relation} {kin} {first}",
                 "{name} of {org}", "{name} and {name}", "the {job}", "I", "they", "nobody", "{name}, a {job},", "{first}'s {kin}",
                 "{org}'s {job}")
            ),
            filler,
        )  # fmt: skip

    def object_() -> list[Piece]:
        return render(
            rng.choice(
                ("{name}", "{first}", "the {common}", "a {adj} {common}", "{org}", "{title} {last}", "{last}'s {common}", "him", "us")
            ),
            filler,
        )

    def place() -> list[Piece]:
        return render(
            rng.choice(
                ("in {city}", "in {country}", "near {city}", "at {street}", "from {city} to {country}", "at {org}", "on {street}",
                "{adv}", "on {day}",
                 "in {month} {year}", "at the {common}", "with {first}", "for {org}", "at the corner of {crossing}",
                 "across {country}", "outside {city}, {state}", "")
            ),
            filler,
        )  # fmt: skip

    if rng.random() < 0.3:
        return render(rng.choice(templates.FRAMES), filler)
    pieces = [*actor(), (f" {verb()} ", "O"), *object_(), (" ", "O"), *place()]
    if rng.random() < 0.5:
        pieces += [
            (rng.choice((", and ", " because ", ", but ", " when ", "; ", " that ", ", so ")), "O"),
            *actor(),
            (f" {verb()} ", "O"),
            *object_(),
        ]
    if rng.random() < 0.2:
        pieces = [*place(), (", ", "O"), *pieces]
    if pieces[0][1] == "O":
        pieces[0] = (pieces[0][0][:1].upper() + pieces[0][0][1:], "O")
    return [*pieces, (rng.choice((".", ".", "", "!", "?")), "O")]


def _salad(filler: Filler, rng: random.Random) -> list[Piece]:
    """Words in no order with a few entities among them: context alone must not decide."""
    bag = (
        words.COMMON
        + words.VERBS
        + words.ADJECTIVES
        + words.ADVERBS
        + ("the", "of", "a", "to", "and", "is", "with", "for", "on", "we", "it", "that")
    )
    pieces: list[Piece] = []
    for _ in range(rng.randint(3, 14)):
        if rng.random() < 0.2:
            pieces.append(filler.fill(rng.choice(_ENTITY)))
        else:
            word = rng.choice(bag) if rng.random() < 0.5 else filler.fill(rng.choice(("common", "verb", "adj", "adv", "gerund", "drug")))[0]
            pieces.append((word.title() if rng.random() < 0.15 else word, "O"))
        pieces.append((rng.choice((" ", " ", " ", ", ", ". ", " - ", ": ")), "O"))
    return pieces


def _weathered(pieces: list[Piece], rng: random.Random, mix: Mix) -> list[Piece]:
    """Letter case, typing errors, lost accents and punctuation."""
    draw = rng.random()
    if draw < mix.lower:
        pieces = [(text.lower(), label) for text, label in pieces]
    elif draw < mix.lower + mix.upper:
        pieces = [(text.upper(), label) for text, label in pieces]
    elif draw < mix.lower + mix.upper + 0.02:
        pieces = [(text.title(), label) for text, label in pieces]
    if rng.random() < mix.noisy:
        pieces = [(_mistyped(text, rng), label) for text, label in pieces]
    if rng.random() < 0.3:
        pieces = [(_plain(text), label) for text, label in pieces]
    if rng.random() < 0.06:
        pieces = [(text.replace("\n", " "), label) for text, label in pieces]
    if rng.random() < 0.05:
        pieces = [(text.replace(",", "") if label == "O" else text, label) for text, label in pieces]
    return pieces


def _mistyped(text: str, rng: random.Random) -> str:
    letters = list(text)
    for place in range(len(letters) - 1):
        if letters[place].isalpha() and rng.random() < 0.025:
            match rng.randrange(4):
                case 0:
                    letters[place], letters[place + 1] = letters[place + 1], letters[place]
                case 1:
                    letters[place] += letters[place]
                case 2:
                    letters[place] = rng.choice("abcdefghijklmnopqrstuvwxyz")
                case _:
                    letters[place] = letters[place].swapcase()
    return "".join(letters)


def _plain(text: str) -> str:
    return text if text.isascii() else "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))


def _joined(pieces: list[Piece]) -> Example:
    text, spans = "", []
    for part, label in pieces:
        if label != "O" and part.strip():
            lead = len(part) - len(part.lstrip())
            spans.append((len(text) + lead, len(text) + len(part.rstrip()), label))
        text += part
    return Example(text, tuple(spans))
