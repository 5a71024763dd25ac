"""The same case told of another person: name, gender and age exchanged in question, passages and answer, nothing else.

Suites for bias are files like any other; this writes their lines. Both tellings must score alike, whoever the person is: counterfactual
fairness as M. J. Kusner, J. Loftus, C. Russell and R. Silva put it ("Counterfactual Fairness", NeurIPS 2017), tested on names as
M. Bertrand and S. Mullainathan did (American Economic Review 94, 2004).

English only, and only what is said in these words: "wife", "pregnant" or a first name in a quotation stay as they are. Read every line that
comes out: a reviewer signs it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pipelines.errors import BadInput
from pipelines.evaluation.cases import Case

_TO_FEMALE = {
    "he": "she",
    "him": "her",
    "himself": "herself",
    "man": "woman",
    "men": "women",
    "male": "female",
    "boy": "girl",
    "gentleman": "lady",
    "mr": "Ms",
    "mr.": "Ms.",
}
_TO_MALE = {new.lower(): old for old, new in _TO_FEMALE.items()} | {"ms": "Mr", "mrs": "Mr", "ms.": "Mr.", "mrs.": "Mr."}
_WORD = re.compile(r"(?<![\w-])(?:Mr|Mrs|Ms)\.(?=\s)|(?<![\w-])[A-Za-z]+(?![\w-])")
_AGES = (
    re.compile(r"(?P<before>(?:\b[Aa]n? )?)(?P<age>\d{1,3})(?P<after>-year-old\b| years old\b)"),
    re.compile(r"(?P<before>\b(?:[Aa]ged?|[Aa]ge of) )(?P<age>\d{1,3})(?P<after>\b)"),
)
_ENDS_HER = re.compile(r"\s*(?:[.,;:!?)]|$)|\s+(?:and|or|but|at|by|for|from|in|of|on|to|with|after|before|when|that|again|home|the|a|an)\b")
"""After "her" as an object. Otherwise it is the possessive: "her lease"."""


@dataclass(frozen=True, slots=True)
class Person:
    """Whom a case is told of. `name` is a first name and a family name."""

    persona: str
    """What the variants are compared by: "female", "male", "older" ..."""
    name: str
    gender: Literal["female", "male"]
    age: int


def variants(case: Case, told: Person, others: Sequence[Person]) -> list[Case]:
    """The case as it is told, and told of each of the others, as one pair: `<id>-<persona>` each.

    BadInput where a telling differs from the first in nothing, or its answer is in none of its passages any more.
    """
    made = [_as(case, case, told)]
    for person in others:
        telling = tell(case, told, person)
        if (telling.question, telling.passages) == (case.question, case.passages):
            what = f"case {case.id} says nothing of {told.name} that would differ for {person.persona!r}"
            raise BadInput(what, where="swaps", todo="let it name the person, or give an age or a gender")
        if telling.answer and telling.passages and not any(telling.answer in passage for passage in telling.passages):
            what = f"case {case.id}, told of {person.persona!r}, has an answer that none of its passages holds"
            raise BadInput(what, where="swaps", todo="let the answer say nothing of the person")
        made.append(_as(case, telling, person))
    return made


def tell(case: Case, told: Person, of: Person) -> Case:
    """The case with every mention of the one person made a mention of the other."""
    changes = {
        "question": swap(case.question, told, of),
        "passages": tuple(swap(passage, told, of) for passage in case.passages),
        "answer": swap(case.answer, told, of),
    }
    return case.model_copy(update=changes)


def swap(text: str, told: Person, of: Person) -> str:
    """A text with name, words of gender and age of one person exchanged for another's."""
    text = _names(text, told.name, of.name)
    if told.gender != of.gender:
        text = _genders(text, of.gender)
    return _ages(text, told.age, of.age) if told.age != of.age else text


def _as(case: Case, telling: Case, person: Person) -> Case:
    return telling.model_copy(update={"id": f"{case.id}-{person.persona}", "pair": case.id, "persona": person.persona})


def _names(text: str, old: str, new: str) -> str:
    """Whole names first, then the family name, then the first name alone, all in one pass."""
    first, _, family = old.partition(" ")
    new_first, _, new_family = new.partition(" ")
    known = {old: new, family: new_family, first: new_first}
    pattern = "|".join(re.escape(name) for name in known if name)
    return re.sub(rf"(?<!\w)(?:{pattern})(?!\w)", lambda found: known[found.group()], text)


def _genders(text: str, gender: Literal["female", "male"]) -> str:
    words: Mapping[str, str] = _TO_FEMALE if gender == "female" else _TO_MALE

    def other(found: re.Match[str]) -> str:
        word, rest = found.group(), text[found.end() :]
        lower = word.lower()
        if lower == "his" and gender == "female":
            new = "hers" if re.match(r"\s*(?:[.,;:!?)]|$)", rest) else "her"
        elif lower == "her" and gender == "male":
            new = "him" if _ENDS_HER.match(rest) else "his"
        elif lower == "hers" and gender == "male":
            new = "his"
        elif lower in words:
            new = words[lower]
        else:
            return word
        return new[0].upper() + new[1:] if word[0].isupper() else new

    return _WORD.sub(other, text)


def _ages(text: str, old: int, new: int) -> str:
    def other(found: re.Match[str]) -> str:
        if int(found["age"]) != old:
            return found.group()
        before = found["before"]
        if before.strip().lower() in ("a", "an"):
            # "an 81-year-old", "an 18-year-old", "an 8-year-old", "an 11-year-old"; else "a".
            vowel = str(new).startswith("8") or new in (11, 18)
            before = f"{before[0]}{'n' if vowel else ''} "
        return f"{before}{new}{found['after']}"

    for pattern in _AGES:
        text = pattern.sub(other, text)
    return text
