"""What goes into an engine and comes out of it, and what every kind of engine offers."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Protocol


class Refused(Exception):
    """Why one request got no answer. It begins with its kind (`prompt:`, `adapter:`, `timeout:`, `engine:`, `cancelled:`) and quotes no
    prompt."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One request. `chat`: as a turn of the base's chat template. `adapter_sha256`: what the adapter's folder must hash to; empty: not
    known. `stream`: pieces of text are wanted as they are written."""

    prompt: str
    adapter: str
    max_tokens: int
    chat: bool = False
    adapter_sha256: str = ""
    stream: bool = False


@dataclass(frozen=True, slots=True)
class Completion:
    """What a prompt was continued with. `confidence` is exp of the mean log-probability of the tokens chosen, the stop included, in
    [0, 1]; `min_logprob` the smallest of them, at most 0."""

    text: str
    tokens_in: int
    tokens_out: int
    confidence: float
    min_logprob: float


class Sink(Protocol):
    """Where a request's answer goes. Called from the engine's thread: none of it may wait."""

    def piece(self, text: str) -> None:
        """The next characters of a streamed answer."""
        ...

    def end(self, outcome: Completion | Refused) -> None:
        """Called exactly once, last."""
        ...

    def gone(self) -> bool:
        """Whether nobody waits for the answer any more."""
        ...


@dataclass(frozen=True, slots=True)
class Figures:
    """Of this moment: requests in the engine, those of them that wait for their adapter; and tokens written since the start."""

    running: int
    waiting: int
    tokens: int


class Backend(Protocol):
    """An engine: it decodes many requests at once, each with its own adapter."""

    def submit(self, ask: Ask, sink: Sink) -> None:
        """Take a request; its outcome goes to the sink, errors too. Never waits for a slot."""
        ...

    def room(self, seconds: float) -> bool:
        """Whether another request can start; waits up to so many seconds for one to end."""
        ...

    def figures(self) -> Figures:
        """For the metrics."""
        ...

    def close(self) -> None:
        """Refuse what is under way, and end."""
        ...


class Once:
    """A sink for one answer that is waited for."""

    def __init__(self) -> None:
        self._ended = threading.Event()
        self.pieces: list[str] = []
        self.outcome: Completion | Refused = Refused("timeout: no answer")
        self.left = False

    def piece(self, text: str) -> None:
        """As `work.Sink.piece`."""
        self.pieces.append(text)

    def end(self, outcome: Completion | Refused) -> None:
        """As `work.Sink.end`."""
        self.outcome = outcome
        self._ended.set()

    def gone(self) -> bool:
        """As `work.Sink.gone`."""
        return self.left

    def wait(self, seconds: float = 120.0) -> Completion | Refused:
        """The outcome."""
        self._ended.wait(seconds)
        return self.outcome
