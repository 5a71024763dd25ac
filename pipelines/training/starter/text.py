"""Seeded generator of the starter model's text: passages, questions, and answers that are spans of a passage.

A `Context` is one to four passages with several questions. `Question.line` is the number of the passage that holds the
answer, counted from 1; 0 means that no passage holds it and the answer is `NOT_STATED`.

What makes the copying hard is same-template passages ("series"): the same sentence with another year, name or term. All
slots that a question names can tell such siblings apart, so one sample varies some of them and keeps the others.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from pipelines.training.starter import templates
from pipelines.training.starter.slots import KINDS, invented

NOT_STATED = "not stated"
PASSAGE_WORDS = 70
_SLOT = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Question:
    """One question on a context: its words, the span that answers it, the number of the passage that holds the span."""

    text: str
    answer: str
    line: int

    @property
    def completion(self) -> str:
        """What the model writes after "Answer:"."""
        return f" {self.answer} [{self.line}]" if self.line else f" {self.answer}"


@dataclass(frozen=True)
class Context:
    """Passages, and questions on them."""

    passages: tuple[str, ...]
    questions: tuple[Question, ...]

    @property
    def head(self) -> str:
        """The numbered passages, each line ended."""
        return "".join(f"[{number}] {text}\n" for number, text in enumerate(self.passages, 1))


def ask(question: str) -> str:
    """The part of the prompt after the passages."""
    return f"Question: {question}\nAnswer:"


@dataclass(frozen=True)
class Template:
    """One sentence with slots, and per answer slot its questions."""

    topic: str
    sentence: str
    questions: tuple[tuple[str, str], ...]

    def keys(self, question: str) -> tuple[str, ...]:
        """The slots that a question names, i.e. what can tell one sibling from another."""
        return tuple(dict.fromkeys(_base(name) for name in _SLOT.findall(question)))


@dataclass
class _Fact:
    template: Template
    values: dict[str, str]
    text: str


def _base(name: str) -> str:
    """The slot behind a name: `Drug` is `drug` with a capital, unless `Drug` is a kind of its own."""
    kind = name.rstrip("0123456789")
    return name if kind in KINDS else name[0].lower() + name[1:]


def _fill(text: str, values: dict[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        base = _base(name)
        return values[base] if base == name else values[base][0].upper() + values[base][1:]

    filled = _SLOT.sub(value, text)
    return filled[0].upper() + filled[1:]


@lru_cache(maxsize=8)
def parse(source: str) -> tuple[Template, ...]:
    """Read a block of `templates.py`."""
    found = []
    for block in source.strip().split("\n\n"):
        lines = block.splitlines()
        topic = lines.pop(0).removeprefix("# ") if lines[0].startswith("# ") else lines[0]
        questions = tuple(
            (answer, question.strip())
            for line in lines[1:]
            for answer, _, rest in [line.partition(" < ")]
            for question in rest.split(" | ")
        )
        found.append(Template(topic, lines[0], questions))
    return tuple(found)


GENRES = (templates.REGULATION, templates.CLINICAL, templates.CONTRACT, templates.SUPPORT)


def _draw(rng: random.Random, template: Template, used: set[str], keep: dict[str, str] | None = None) -> _Fact:
    """Render a template with values not yet `used` in the context; `keep` fixes some of them."""
    values = dict(keep or {})
    for name in _SLOT.findall(" ".join((template.sentence, *(text for _, text in template.questions)))):
        name = _base(name)
        if name in values:
            continue
        for _ in range(12):
            values[name] = KINDS[name.rstrip("0123456789")](rng)
            if values[name] not in used:
                break
        used.add(values[name])
    return _Fact(template, values, _fill(template.sentence, values))


def _answer(fact: _Fact, slot: str) -> str:
    return " ".join(fact.values[part] for part in slot.split("_"))


def _reword(rng: random.Random, question: str) -> str:
    """Now and then, the looser forms in which people ask."""
    roll = rng.random()
    if roll < 0.82:
        return question
    lower = question[0].lower() + question[1:] if question[1].islower() else question
    return (
        lower,
        question.rstrip("?."),
        lower.rstrip("?."),
        f"Please tell me: {lower}",
        f"According to the text, {lower}",
        f"{question} Cite the passage.",
    )[int((roll - 0.82) / 0.18 * 6)]


def _ask_all(rng: random.Random, fact: _Fact, line: int, must_name: frozenset[str]) -> list[Question]:
    """One question per answer slot; each must name all of the slots `must_name` that tell the siblings apart."""
    by_slot: dict[str, list[str]] = {}
    for slot, question in fact.template.questions:
        if must_name <= set(fact.template.keys(question)):
            by_slot.setdefault(slot, []).append(question)
    asked = []
    for slot, forms in by_slot.items():
        answer = _answer(fact, slot)
        # A sentence's first word may have been given its capital: then the slot is no span of it.
        if answer in fact.text:
            asked.append(Question(_reword(rng, _fill(rng.choice(forms), fact.values)), answer, line))
    return asked


def _filler(rng: random.Random) -> str:
    sentence = rng.choice(templates.FILLER.strip().splitlines())
    return _draw(rng, Template("", sentence, ()), set()).text


def _heading(rng: random.Random) -> str:
    section, number = KINDS["section"](rng), rng.randint(1, 400)
    return rng.choice(
        (f"Section {section}. ", f"Comment {section}-{number}. ", f"Note {number}: ", f"({rng.choice('abcdefgh')}) ",
         f"{number}. ", f"{invented(rng).capitalize()}. ", f"§ {section} ", f"{KINDS['term'](rng).capitalize()}. ")
    )  # fmt: skip


def _passage(rng: random.Random, facts: list[_Fact], fillers: float) -> str:
    parts = [fact.text for fact in facts]
    while rng.random() < fillers and len(parts) < 5:
        parts.insert(rng.randint(0, len(parts)), _filler(rng))
    text = " ".join(parts)
    while len(text.split()) > PASSAGE_WORDS - 4 and len(parts) > len(facts):
        # Drop a filler, never a fact.
        parts.remove(next(part for part in parts if all(part != fact.text for fact in facts)))
        text = " ".join(parts)
    return (_heading(rng) if rng.random() < fillers / 2 else "") + text


def _series(rng: random.Random, pool: tuple[Template, ...], used: set[str], size: int) -> tuple[list[_Fact], frozenset[str]]:
    """`size` siblings of one template, and the slots that tell them apart."""
    while True:
        template = rng.choice(pool)
        keyed = [keys for _, question in template.questions if (keys := template.keys(question))]
        if keyed:
            break
    keys = rng.choice(keyed)
    vary = frozenset(rng.sample(keys, rng.randint(1, len(keys)) if rng.random() < 0.5 else 1))
    keep_names = set(keys) - vary
    first = _draw(rng, template, used)
    kept = {name: value for name, value in first.values.items() if name in keep_names}
    facts = [first]
    seen = {tuple(first.values[name] for name in sorted(vary))}
    for _ in range(4 * size):
        if len(facts) == size:
            break
        fact = _draw(rng, template, used, kept)
        key = tuple(fact.values[name] for name in sorted(vary))
        if key not in seen:
            seen.add(key)
            facts.append(fact)
    # Siblings in their order of time, as in a regulation's list, as often as not.
    if rng.random() < 0.5:
        facts.sort(key=lambda fact: [fact.values[name] for name in sorted(vary)])
    return facts, vary


@dataclass(frozen=True)
class Mix:
    """How contexts are composed. `series`: share with same-template passages; `missing`: share of unanswerable questions."""

    single: float = 0.25
    series: float = 0.4
    missing: float = 0.08
    fillers: float = 0.35
    max_siblings: int = 6
    max_facts: int = 3
    max_questions: int = 8


def context(rng: random.Random, mix: Mix, pools: tuple[str, ...] = GENRES) -> Context:
    """Draw one context with its questions."""
    pool = parse(rng.choice(pools))
    if rng.random() < 0.15:
        pool = tuple(template for source in pools for template in parse(source))
    used: set[str] = set()
    topics: set[str] = set()
    groups: list[list[tuple[_Fact, frozenset[str]]]] = []
    roll = rng.random()
    count = 1 if roll < mix.single else rng.randint(2, 4)
    if mix.single <= roll < mix.single + mix.series:
        facts, vary = _series(rng, pool, used, rng.randint(2, mix.max_siblings))
        topics.add(facts[0].template.topic)
        groups = [[] for _ in range(max(1, min(count, len(facts))))]
        for index, fact in enumerate(facts):
            groups[index * len(groups) // len(facts)].append((fact, vary))
    while len(groups) < count or not groups:
        groups.append([])
    series = bool(topics)
    for group in groups:
        wanted = rng.randint(0 if group else 1, max(1, mix.max_facts - len(group)) if not series else 1)
        for _ in range(wanted):
            template = rng.choice(pool)
            if template.topic in topics and group:
                continue
            for _ in range(8):
                if template.topic not in topics:
                    break
                template = rng.choice(pool)
            else:
                continue
            topics.add(template.topic)
            group.insert(rng.randint(0, len(group)), (_draw(rng, template, used), frozenset()))
    groups = [group for group in groups if group]
    # Sorted siblings stay in their order; otherwise the passages come in any order.
    if not series or rng.random() < 0.5:
        rng.shuffle(groups)
    passages = tuple(_passage(rng, [fact for fact, _ in group], mix.fillers) for group in groups)
    questions = [question for line, group in enumerate(groups, 1) for fact, vary in group for question in _ask_all(rng, fact, line, vary)]
    rng.shuffle(questions)
    questions = questions[: mix.max_questions]
    # An unanswerable question is the same question with other keys, or one on a fact that is not there.
    for index in range(len(questions)):
        if rng.random() < mix.missing:
            fact, vary = rng.choice(rng.choice(groups))
            other = _draw(rng, fact.template, used) if vary else _draw(rng, rng.choice(pool), used)
            fresh = vary or other.template.topic not in topics
            asked = _ask_all(rng, other, 0, vary)
            if fresh and asked:
                questions[index] = Question(rng.choice(asked).text, NOT_STATED, 0)
    return Context(passages, tuple(questions))


def contexts(seed: int | str, mix: Mix, pools: tuple[str, ...] = GENRES) -> Iterator[Context]:
    """Endless contexts; the same seed gives the same ones."""
    rng = random.Random(seed)  # noqa: S311 - text, not secrets
    while True:
        drawn = context(rng, mix, pools)
        if drawn.questions:
            yield drawn
