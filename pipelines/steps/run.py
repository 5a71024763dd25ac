"""The table of steps that compute may run, by name: `python -m pipelines step NAME --domain D --arg key=value`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pipelines.config import Settings
from pipelines.errors import BadInput
from pipelines.manifest import Manifest
from pipelines.steps import assemble, gate, learn

STEPS: dict[str, tuple[Callable[[Settings, str, str], Manifest | str], str]] = {
    "examples": (learn.examples, "version"),
    "training-set": (learn.training_set, "version"),
    "train": (learn.train, "version"),
    "index": (assemble.index, "version"),
    "assemble": (assemble.assemble, "version"),
    "gate": (gate.gate, "candidate"),
}


def run(settings: Settings, name: str, domain: str, arguments: Mapping[str, str]) -> dict[str, Any]:
    """Run one step; returns its outputs as references."""
    if name not in STEPS:
        raise BadInput(f"there is no step {name!r}", todo=f"one of {', '.join(STEPS)}")
    function, wanted = STEPS[name]
    if set(arguments) != {wanted}:
        raise BadInput(f"step {name} takes --arg {wanted}=...", where=", ".join(arguments) or "no --arg")
    done = function(settings, domain, arguments[wanted])
    if isinstance(done, str):
        return {"id": done}
    return {"hash": done.hash, "seconds": done.seconds, **done.outputs}
