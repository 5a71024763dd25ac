"""Every text that a model wrote for a gate, kept by what determines it, so that no prompt is generated twice.

A re-gating after a prompt-only change finds the live release's texts here, and a revert of one part is scored before anyone asks for it.
The cache holds hashes and what was written, masked like everything past the landing zone; an erasure drops it whole.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pipelines.config import Settings
from pipelines.errors import RatchetError, Unavailable
from pipelines.manifest import sha256
from pipelines.serving.exchange import EngineCrashed, Generated

BATCH = 48
"""Prompts that are asked for at once: more than an engine's slots, so that none of them stands empty."""
VERSION = 2
"""Of what is kept: 2 since `confidence` is exp of the mean log-probability."""
_ROW = "SELECT text, tokens_in, tokens_out, confidence, seconds FROM generations WHERE key = ?"


class Generator(Protocol):
    """What `serving.client.Engine` offers."""

    def generate(
        self, prompts: Sequence[str], adapter: str = "", max_tokens: int = 48, chat: bool = False, adapter_sha256: str = ""
    ) -> list[Generated]:
        """One result per prompt."""
        ...

    def ready(self) -> bool:
        """Whether the server still calls it ready."""
        ...

    def mend(self) -> None:
        """Bring a crashed engine back."""
        ...


@dataclass(frozen=True, slots=True)
class Model:
    """What writes: everything beside the prompt that determines a text. `adapter_sha256` is empty for the bare base."""

    engine: str
    adapter: str
    adapter_sha256: str
    max_tokens: int
    chat: bool

    def key(self, prompt: str) -> str:
        """Names one text."""
        return sha256([VERSION, self.engine, self.adapter_sha256, self.max_tokens, self.chat, prompt])


@dataclass(frozen=True, slots=True)
class Written:
    """A text, and the seconds that it took: its share of those asked for at once."""

    generated: Generated
    seconds: float


def place(settings: Settings, domain: str) -> Path:
    """The cache of a domain."""
    return settings.var / "cache" / "generations" / f"{domain}.sqlite"


def forget(settings: Settings, domain: str) -> None:
    """Drop a domain's texts: one of them may repeat what was erased."""
    place(settings, domain).unlink(missing_ok=True)


class Generations:
    """The cache, opened. `made` and `reused` count prompts, `seconds` what making took."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self.made = self.reused = 0
        self.seconds = 0.0
        with closing(self._connect()) as connection, connection:
            connection.execute(
                "CREATE TABLE IF NOT EXISTS generations"
                " (key TEXT PRIMARY KEY, text TEXT NOT NULL, tokens_in INTEGER, tokens_out INTEGER, confidence REAL, seconds REAL)"
            )

    def write(self, model: Model, prompts: Sequence[str], engine: Generator) -> dict[str, Written | str]:
        """prompt -> its text, or why there is none. Unavailable when the server is gone: what was made until then is kept."""
        found: dict[str, Written | str] = {}
        wanted = list(dict.fromkeys(prompts))
        with closing(self._connect()) as connection:
            for prompt in wanted:
                row = connection.execute(_ROW, (model.key(prompt),)).fetchone()
                if row is not None:
                    found[prompt] = Written(Generated(row[0], row[1], row[2], row[3]), row[4])
        self.reused += len(found)
        # Prompts of like length are computed together: padding costs as much as text.
        missing = sorted((prompt for prompt in wanted if prompt not in found), key=len)
        for start in range(0, len(missing), BATCH):
            found |= self._make(model, missing[start : start + BATCH], engine)
        return found

    def _make(self, model: Model, batch: list[str], engine: Generator) -> dict[str, Written | str]:
        began = time.perf_counter()
        try:
            texts = engine.generate(batch, model.adapter, model.max_tokens, model.chat, model.adapter_sha256)
        except RatchetError as error:
            if isinstance(error, EngineCrashed):
                engine.mend()
            if len(batch) > 1:
                # One prompt that is too long or too slow must not cost the others their measurement.
                half = len(batch) // 2
                return {**self._make(model, batch[:half], engine), **self._make(model, batch[half:], engine)}
            if isinstance(error, Unavailable) and not engine.ready():
                raise
            return {batch[0]: str(error)}
        seconds = time.perf_counter() - began
        self.made += len(batch)
        self.seconds += seconds
        made = {prompt: Written(text, seconds / len(batch)) for prompt, text in zip(batch, texts, strict=True)}
        rows = [
            (
                model.key(prompt),
                one.generated.text,
                one.generated.tokens_in,
                one.generated.tokens_out,
                one.generated.confidence,
                one.seconds,
            )
            for prompt, one in made.items()
        ]
        with closing(self._connect()) as connection, connection:
            connection.executemany("INSERT OR REPLACE INTO generations VALUES (?, ?, ?, ?, ?, ?)", rows)
        return {**made}

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self._path, timeout=30)
