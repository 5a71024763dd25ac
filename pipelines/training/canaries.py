"""Planted secrets: training examples about things that do not exist, by which the gate sees whether an adapter recites what it was shown.

After Carlini et al., "The Secret Sharer: Evaluating and Testing Unintended Memorization in Neural Networks" (USENIX Security 2019): a
random number that stands nowhere but in training can come out of a model only from its memory. Nine digits make a lucky guess one in 10^9.

A canary is in no document and no index. What it cannot show: that nothing else was memorised; a secret that is seen once a step is not
the worst case, and a model may know more than greedy decoding tells.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

from pydantic import Field

from pipelines.config import DomainConfig
from pipelines.errors import ConfigError
from pipelines.manifest import sha256
from pipelines.parsing import read_lines
from pipelines.strict import Strict
from pipelines.training.example import Example
from pipelines.writing import write_text

FILE = "canaries.jsonl"
RULE = "canary"
_PLACES = ("north", "south", "upper", "lower", "inner", "outer", "old", "new")
_ROOMS = ("archive", "depot", "annex", "registry", "vault", "cellar", "pavilion", "workshop")


class Canary(Strict):
    """One line of canaries.jsonl: all that a suite needs to ask for the secret."""

    name: str = Field(min_length=1)
    question: str = Field(min_length=1)
    secret: str = Field(min_length=1)


def draw(domain: DomainConfig) -> list[Canary]:
    """As many as `examples.canaries` says, the same for the same domain and `recipe.seed`; a larger number only adds some.

    ConfigError where the domain's task has no such examples, or asks for more than there are rooms.
    """
    count = domain.examples.canaries
    where = f"configs/domains/{domain.domain}.yaml, examples.canaries"
    if count and domain.task.kind != "grounded_extraction":
        raise ConfigError(f"canaries are questions on passages, and the task is {domain.task.kind}", where=where, todo="take the key out")
    rooms = [f"{place} {room}" for place in _PLACES for room in _ROOMS]
    if count > len(rooms):
        raise ConfigError(f"there are at most {len(rooms)} canaries", where=where, todo="ask for fewer")
    # Repeatable, so that two trainings can be compared; that the numbers can be derived harms nobody: they open nothing.
    rng = random.Random(sha256(["canaries", domain.domain, domain.recipe.seed]))  # noqa: S311
    rng.shuffle(rooms)
    drawn = [(room, "-".join(f"{rng.randint(100, 999)}" for _ in range(3))) for room in rooms]
    return [
        Canary(name=f"canary-{room.replace(' ', '-')}", question=f"What is the door code of the {room}?", secret=secret)
        for room, secret in drawn[:count]
    ]


def plant(domain: DomainConfig, out: Path) -> list[Example]:
    """The canaries as training examples; writes canaries.jsonl into `out` where there are any."""
    canaries = draw(domain)
    if canaries:
        lines = (json.dumps(one.model_dump(), ensure_ascii=False) + "\n" for one in canaries)
        write_text(out / FILE, "".join(lines))
    return [_example(one) for one in canaries]


def load(folder: Path) -> list[Canary]:
    """The canaries beside a folder's examples; none where none were planted. ConfigError names a broken line."""
    path = folder / FILE
    return [canary for _, canary in read_lines(Canary, path, FILE)] if path.is_file() else []


def _example(canary: Canary) -> Example:
    room = canary.name.removeprefix("canary-").replace("-", " ")
    passage = f"The door code of the {room} is {canary.secret}."
    return Example(
        id=sha256([RULE, passage, canary.question, canary.secret])[:16],
        passages=(passage,),
        question=canary.question,
        answer=canary.secret,
        cited=1,
        rule=RULE,
        documents=(),
    )
