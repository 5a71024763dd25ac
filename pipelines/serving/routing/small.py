"""The smaller base of a domain: an engine of its own on the same Triton, without an adapter, and whether it is worth asking now."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.config import PROJECT, Settings
from pipelines.errors import BadInput
from pipelines.serving_config import EngineSettings, Routing

FAILURES = 3
"""In a row, after which it is left alone."""
REST_SECONDS = 10.0
SECONDS = 5.0
"""How long a request waits for it: past that it is no saving, and the domain's own engine still has to answer."""

_WHERE = "serving.routing.small"


@dataclass(slots=True)
class Small:
    """An engine of Triton. `turns`: its tokenizer has a chat template. A broken one rests, so that not every request waits for it."""

    engine: str
    turns: bool = False
    seconds: float = SECONDS
    failures: int = field(default=0, compare=False)
    _rests_until: float = field(default=0.0, compare=False)

    @property
    def resting(self) -> bool:
        """Whether it failed so often that it is not asked for a while."""
        return time.monotonic() < self._rests_until

    def note(self, *, failed: bool) -> None:
        """What came of asking it."""
        self.failures = self.failures + 1 if failed else 0
        if self.failures >= FAILURES:
            self._rests_until = time.monotonic() + REST_SECONDS


def folder_of(small: str) -> Path:
    """The files of `routing.small`: a folder of the project, an absolute path, or `name@revision` of the local hub cache.

    BadInput when there is none, or its weights are pickled; nothing is fetched.
    """
    from pipelines.training import base_model

    folder = PROJECT / small
    name, _, revision = (str(folder), "", "") if folder.is_dir() else small.partition("@")
    try:
        return base_model.check(name, revision or None)
    except BadInput as error:
        todo = "name a folder with config.json, *.safetensors and a tokenizer, or `name@revision` of the local hub cache"
        raise BadInput(f"{small}: {error.what}", where=_WHERE, todo=todo) from None


def prepare(settings: Settings, routing: Routing, engine: EngineSettings | None = None) -> Small | None:
    """Write the engine of the smaller base into Triton's repository; None where the domain names none. It hashes the folder, so call it
    in a thread, once per change of the domain file. Errors as `folder_of`."""
    from pipelines.serving import triton

    if routing.small is None:
        return None
    folder = folder_of(routing.small)
    name = triton.prepare(settings, str(folder), engine=engine or EngineSettings())
    return Small(name, has_turns(folder))


def has_turns(folder: Path) -> bool:
    """Whether its tokenizer has a chat template; reads one small file, not the tokenizer."""
    if (folder / "chat_template.jinja").is_file():
        return True
    config = folder / "tokenizer_config.json"
    try:
        return config.is_file() and bool(json.loads(config.read_text(encoding="utf-8")).get("chat_template"))
    except ValueError:
        return False
