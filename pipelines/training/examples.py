"""Training examples from a domain's paragraphs, by the question rules of its YAML.

The values a rule names are redrawn at random, everywhere in the passage at once. Literal facts memorise and harm: an adapter that
saw "$53,500" a hundred times recites it whatever the passage says. Facts travel by index; this teaches copying and citing.

What the goldens rest on, and what is nearly the same text, is taken out before: see `split`.
"""

from __future__ import annotations

import random
import re
import string
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pipelines.config import DomainConfig, QuestionRule, Retrieval
from pipelines.corpus.documents import Document
from pipelines.errors import BadInput, ConfigError
from pipelines.manifest import sha256
from pipelines.retrieval.chunks import chunks
from pipelines.training.example import Example
from pipelines.training.prompt import flatten

VERSION = 1
"""Raise when the same documents and rules would give other examples."""

NOT_STATED_SHARE = 0.03
FULL_SHARE = 0.5
SAME_RULE_SHARE = 0.65
"""Chance per distractor that it is a line of the same rule with other values: the hard case at answering time."""

SIBLING_SHARE = 0.5
"""Chance per distractor that it is another passage of the same document, where there is one, with the same words redrawn."""

_TRIES = 20
_WORD = re.compile(r"(?<![\w'])[^\W\d_]{4,}(?![\w'])")
"""What counts as a word to redraw: four letters or more, so that articles and prepositions stay."""
_WORDS = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "fifteen", "twenty", "thirty")


class Passage(NamedTuple):
    """A passage as retrieval cuts it, on one line, and the document version it is of."""

    key: str
    text: str
    content: str


@dataclass(frozen=True, slots=True)
class _Match:
    """A passage that a rule matched: the values of the pattern's named groups."""

    passage: Passage
    rule: int
    groups: Mapping[str, str]

    @property
    def key(self) -> str:
        return self.passage.key

    @property
    def text(self) -> str:
        return self.passage.text


@dataclass(frozen=True, slots=True)
class _Rule:
    index: int
    pattern: re.Pattern[str]
    rule: QuestionRule
    lexicon: tuple[str, ...]
    """Words of the whole dataset, to redraw words from."""

    @property
    def name(self) -> str:
        return f"task.rules[{self.index}]"

    def find(self, text: str) -> list[dict[str, str]]:
        """Groups of every match that has an answer in the text."""
        found = [{name: value or "" for name, value in match.groupdict().items()} for match in self.pattern.finditer(text)]
        return [groups for groups in found if (answer := self.answer(groups)) and answer in text]

    def answer(self, groups: Mapping[str, str]) -> str:
        return flatten(self.rule.answer.format_map(groups))

    def answers(self, ask: str, question: str, text: str) -> set[str]:
        """Everything the text answers to this question: more than one value makes it ambiguous."""
        return {self.answer(groups) for groups in self.find(text) if _fill(ask, groups) == question}


def make(documents: list[Document], domain: DomainConfig, *, exclude_keys: set[str], seed: int, count: int | None = None) -> list[Example]:
    """Up to `count` (by default `recipe.examples`) different examples, the same for the same arguments.

    Rules get equal shares, whatever the number of paragraphs each matches. Documents named in `exclude_keys` (those the goldens cite)
    take no part, not even as distractors. BadInput when no rule matches anything that is left.
    """
    passages = cut(documents, exclude_keys, domain.retrieval)
    lexicon = tuple(sorted({word for one in passages for word in _WORD.findall(one.text.lower())}))
    rules = [_compile(index, rule, domain, lexicon) for index, rule in enumerate(domain.task.rules)]
    matches: dict[int, list[_Match]] = {}
    by_key: dict[str, list[Passage]] = {}
    for one in passages:
        by_key.setdefault(one.key, []).append(one)
        for rule in rules:
            matches.setdefault(rule.index, []).extend(_Match(one, rule.index, groups) for groups in rule.find(one.text))
    matches = {index: found for index, found in matches.items() if found}
    if not matches:
        raise BadInput(
            f"no question rule matches any of the {len(passages)} passages, so there is nothing to train on",
            where=f"configs/domains/{domain.domain}.yaml, task.rules",
            todo="write a rule that fits the text, or deliver text that the rules fit",
        )
    # Seeded for repeatability, not for secrecy.
    rng = random.Random(seed)  # noqa: S311
    made: dict[str, Example] = {}
    order = sorted(matches)
    wanted = domain.recipe.examples if count is None else count
    for turn in range(wanted * 3):
        if len(made) == wanted:
            break
        rule = rules[order[turn % len(order)]]
        example = _example(rng, rule, matches[rule.index], passages, by_key, domain.task.passages)
        if example is not None:
            made.setdefault(example.id, example)
    if not made:
        raise BadInput(
            "the question rules match, but never with one clear answer",
            where=f"configs/domains/{domain.domain}.yaml, task.rules",
            todo="let `ask` name what tells two matches of one passage apart",
        )
    return list(made.values())


# --- one example --------------------------------------------------------------------------------------------------------


def _example(
    rng: random.Random,
    rule: _Rule,
    matches: Sequence[_Match],
    passages: Sequence[Passage],
    by_key: Mapping[str, Sequence[Passage]],
    limit: int,
) -> Example | None:
    """One example, or None when chance found no unambiguous one."""
    match = rng.choice(matches)
    drawn = _redraw(rng, rule, match)
    if drawn is None:
        return None
    text, groups, fresh = drawn
    siblings = [other._replace(text=_replace(other.text, fresh)) for other in by_key[match.key] if other.text != match.text]
    ask = rng.choice(rule.rule.ask)
    question, answer = _fill(ask, groups), rule.answer(groups)
    if rule.answers(ask, question, text) != {answer}:
        return None
    stated = rng.random() >= NOT_STATED_SHARE
    # Retrieval hands over as many passages as it may whenever the corpus holds that many: so do at least half of the examples.
    most = limit - 1 if stated else limit
    wanted = most if rng.random() < FULL_SHARE else rng.randint(0 if stated else 1, most)
    context = [match.passage._replace(text=text)] if stated else []
    for _ in range(wanted):
        distractor = None
        if siblings and rng.random() < SIBLING_SHARE:
            # What retrieval finds beside the right passage is often the next sentence about the same thing.
            sibling = rng.choice(siblings)
            taken = {text, *(known.text for known in context)}
            if sibling.text not in taken and not rule.answers(ask, question, sibling.text):
                distractor = sibling
        if distractor is None:
            distractor = _distractor(rng, rule, matches, passages, ask, question, {known.text for known in context})
        if distractor is not None:
            context.append(distractor)
    if not context:
        return None
    rng.shuffle(context)
    shown = tuple(known.text for known in context)
    versions = {(known.key, known.content): None for known in context}
    identity = sha256([rule.name, shown, question, answer if stated else None])[:16]
    return Example(
        id=identity,
        passages=shown,
        question=question,
        answer=answer if stated else None,
        cited=shown.index(text) + 1 if stated else None,
        rule=rule.name,
        documents=tuple(key for key, _ in versions),
        contents=tuple(content for _, content in versions),
    )


def _distractor(
    rng: random.Random,
    rule: _Rule,
    matches: Sequence[_Match],
    passages: Sequence[Passage],
    ask: str,
    question: str,
    taken: set[str],
) -> Passage | None:
    """A passage that does not answer the question, or None when chance found none."""
    for _ in range(_TRIES):
        if rng.random() < SAME_RULE_SHARE:
            match = rng.choice(matches)
            drawn = _redraw(rng, rule, match)
            if drawn is None:
                continue
            found = match.passage._replace(text=drawn[0])
        else:
            found = rng.choice(passages)
        if found.text not in taken and not rule.answers(ask, question, found.text):
            return found
    return None


def cut(documents: Iterable[Document], exclude_keys: set[str], rule: Retrieval) -> list[Passage]:
    """Every passage, cut as retrieval cuts them, sorted: the order of rows in the warehouse must not matter. Of one text that several
    versions of a document hold, the version in force longest stands."""
    found: dict[tuple[str, str], Document] = {}
    for document in documents:
        if document.withdrawn or document.erased or document.key in exclude_keys:
            continue
        for chunk in chunks(document, rule):
            place = document.key, flatten(chunk.text)
            known = found.get(place)
            if known is None or (known.valid_to, known.valid_from) < (document.valid_to, document.valid_from):
                found[place] = document
    return [Passage(key, text, document.content) for (key, text), document in sorted(found.items(), key=lambda item: item[0])]


def _fill(ask: str, groups: Mapping[str, str]) -> str:
    return flatten(ask.format_map(groups))


def _compile(index: int, rule: QuestionRule, domain: DomainConfig, lexicon: tuple[str, ...]) -> _Rule:
    where = f"configs/domains/{domain.domain}.yaml, task.rules[{index}]"
    try:
        pattern = re.compile(rule.pattern)
        used = {name for text in (*rule.ask, rule.answer) for _, name, _, _ in string.Formatter().parse(text) if name is not None}
    except (re.error, ValueError) as error:
        raise ConfigError(f"not readable: {error}", where=where, todo="mend the rule") from None
    if unknown := sorted((used | set(rule.swap)) - set(pattern.groupindex)):
        raise ConfigError(f"uses groups that the pattern does not name: {', '.join(unknown)}", where=where, todo="mend the rule")
    return _Rule(index, pattern, rule, lexicon)


# --- other values -------------------------------------------------------------------------------------------------------


def _redraw(rng: random.Random, rule: _Rule, match: _Match) -> tuple[str, dict[str, str], dict[str, str]] | None:
    """The passage with the rule's values redrawn, every occurrence alike, the new groups, and new value by old.

    None when the rule no longer fits the passage.
    """
    kinds = {name: kind for name, kind in rule.rule.swap.items() if kind != "none" and match.groups[name]}
    for _ in range(_TRIES):
        fresh: dict[str, str] = {}
        for name, kind in kinds.items():
            old = match.groups[name]
            fresh.setdefault(old, _words(rng, old, rule.lexicon) if kind == "words" else _DRAW[kind](rng, old))
        # Two values that fall together, or on one that the passage holds already, would make two facts one.
        if len(set(fresh.values())) < len(fresh) or any(_holds(match.text, new) for old, new in fresh.items() if new != old):
            continue
        text = _replace(match.text, fresh)
        groups = {name: _replace(value, fresh) for name, value in match.groups.items()}
        if groups in rule.find(text):
            return text, groups, fresh
    return None


def _replace(text: str, fresh: Mapping[str, str]) -> str:
    """All old values by their new ones in one pass, so that a new value is never replaced again."""
    if not fresh:
        return text
    longest_first = sorted(fresh, key=len, reverse=True)
    return re.sub("|".join(_whole(old) for old in longest_first), lambda found: fresh[found.group()], text)


def _holds(text: str, value: str) -> bool:
    return re.search(_whole(value), text) is not None


def _whole(value: str) -> str:
    """The value as a number of its own: the 5 of "5 days", not of "2015" or "5,000"."""
    before = r"(?<!\w)(?<!\d[.,])" if value[:1].isalnum() else ""
    return rf"{before}{re.escape(value)}(?!\w)(?![.,]\d)"


def _year(rng: random.Random, old: str) -> str:
    return str(rng.randint(1985, 2060)) if len(old) == 4 else f"{rng.randint(0, 99):02d}"


def _amount(rng: random.Random, old: str) -> str:
    """A sum written like the old one: its currency sign, thousands separator, decimals and, mostly, its round end."""
    found = re.search(r"\d[\d,]*(?:\.\d+)?", old)
    if found is None:
        return old
    whole, _, decimals = found.group().partition(".")
    digits = whole.replace(",", "")
    length = max(1, len(digits) + rng.choice((-1, 0, 0, 0, 1)))
    value = rng.randint(10 ** (length - 1), 10**length - 1)
    zeros = len(digits) - len(digits.rstrip("0"))
    if zeros and rng.random() < 0.75:
        step = 10 ** min(zeros, length - 1, rng.choice((2, 2, 3)))
        value = max(step, value // step * step)
    new = f"{value:,}" if "," in whole or (len(digits) < 4 and "$" in old) else str(value)
    if decimals:
        new += f".{rng.randint(0, 10 ** len(decimals) - 1):0{len(decimals)}d}"
    return old[: found.start()] + new + old[found.end() :]


def _number(rng: random.Random, old: str) -> str:
    """Another count: in digits where it was in digits, in words where it was a word."""
    found = re.search(r"\d+", old)
    if found is None:
        word = rng.choice(_WORDS)
        return word.capitalize() if old[:1].isupper() else word
    low, high = (1, 9) if len(found.group()) == 1 else (10 ** (len(found.group()) - 1), 10 ** len(found.group()) - 1)
    return f"{old[: found.start()]}{rng.randint(low, high)}{old[found.end() :]}"


def _percent(rng: random.Random, old: str) -> str:
    found = re.search(r"\d+(?:\.\d+)?", old)
    if found is None:
        return old
    places = len(found.group().partition(".")[2])
    return f"{old[: found.start()]}{rng.uniform(1, 40 if places else 99):.{places}f}{old[found.end() :]}"


def _words(rng: random.Random, old: str, lexicon: Sequence[str]) -> str:
    """Other words in the same places, half of the time: an adapter that met ten things only would look for those ten things."""
    if rng.random() < 0.5:
        return old
    return _WORD.sub(lambda found: rng.choice(lexicon).capitalize() if found.group()[0].isupper() else rng.choice(lexicon), old)


_DRAW = {"year": _year, "amount": _amount, "number": _number, "percent": _percent}
