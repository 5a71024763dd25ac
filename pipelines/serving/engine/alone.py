"""The engine in this process, without Triton: for tests and benches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipelines.serving.engine.base import Base
from pipelines.serving.engine.scheduler import Scheduler
from pipelines.serving.engine.work import Ask, Completion, Once, Refused


class Engine:
    """A base and its adapters. `base`: a folder, or one that is loaded."""

    def __init__(
        self, base: str | Base, adapters: Path, *, slots: int = 16, keep: int = 8, seconds: float = 30.0, threads: int = 0
    ) -> None:
        self.base = Base(base, threads=threads) if isinstance(base, str) else base
        self.scheduler = Scheduler(self.base, adapters, slots=slots, keep=keep, seconds=seconds)

    @property
    def tokenizer(self) -> Any:
        """The base's."""
        return self.base.words.tokenizer

    @property
    def stops(self) -> frozenset[int]:
        """Token ids that end an answer."""
        return self.base.words.stops

    def begin(self, ask: Ask) -> Once:
        """Start one; its sink."""
        sink = Once()
        self.scheduler.submit(ask, sink)
        return sink

    def answer(self, asks: Sequence[Ask]) -> list[Completion | Refused]:
        """One outcome per ask, in order; all at once."""
        return [sink.wait() for sink in [self.begin(ask) for ask in asks]]

    def close(self) -> None:
        """End its threads."""
        self.scheduler.close()
