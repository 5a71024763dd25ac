"""A generator with a script in place of a model, and parts to ask with: what asks, caches and scores needs no weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pipelines.config import Settings
from pipelines.errors import Unavailable
from pipelines.retrieval.index import Passage
from pipelines.serving.answer import Parts
from pipelines.serving.cells import Cell
from pipelines.serving.exchange import EngineCrashed, Generated
from pipelines.training.prompt import Prompt


class Scripted:
    """Says what `says(prompt, adapter)` returns, and counts the prompts it was given; an exception that it returns is raised."""

    def __init__(self, says: Callable[[str, str], str | Exception]) -> None:
        self.says, self.prompts, self.mended, self.up = says, 0, 0, True

    def generate(
        self, prompts: Sequence[str], adapter: str = "", max_tokens: int = 48, chat: bool = False, adapter_sha256: str = ""
    ) -> list[Generated]:
        if not self.up:
            raise Unavailable("Triton does not answer")
        self.prompts += len(prompts)
        return [Generated(self._said(prompt, adapter), 10, 3, 0.9) for prompt in prompts]

    def _said(self, prompt: str, adapter: str) -> str:
        said = self.says(prompt, adapter)
        if isinstance(said, Exception):
            raise said
        return said

    def ready(self) -> bool:
        return self.up

    def mend(self) -> None:
        self.mended += 1


class Shelf:
    """An index of given passages: those that share a word with the question, in order."""

    def __init__(self, passages: Sequence[Passage]) -> None:
        self.passages, self.searched, self.every_role = list(passages), 0, frozenset[str]()

    def search(self, question: str, *, as_of: str, k: int, **_: Any) -> list[Passage]:
        self.searched += 1
        words = set(question.lower().strip("?").split())
        found = [one for one in self.passages if one.valid_from <= as_of < one.valid_to and words & set(one.text.lower().split())]
        return found[:k]


def passage(key: str, text: str, valid_from: str = "2011-01-01") -> Passage:
    return Passage(key, "", text, key, valid_from, "9999-12-31", 0.1)


def cell(settings: Settings, name: str, shelf: Any, adapter: str = "", **more: Any) -> Cell:
    prompt = more.pop("prompt", None) or Prompt.load("grounded_extraction/v1", settings)
    parts = Parts(index=shelf, prompt=prompt, adapter=adapter, passages=1, max_tokens=48, release=name, engine="engine-1")
    return Cell(name, parts, adapter, **more)


def crashed() -> EngineCrashed:
    return EngineCrashed("the engine's process is gone")
