"""The coverage gate: how much of a labelled set the masker finds, and that it is enough.

The set is generated, from other sentences, other vocabulary and another seed than the recogniser's training text. It proves that this
installation masks as it was built to (weights, patterns, profile all in place), not how well it does on your records: for that, label some.
A result is kept under `var/masking/` for the same weights, patterns and profile, so that a run pays the second that it takes only once.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pipelines.config import Settings
from pipelines.errors import MaskingFailed
from pipelines.manifest import lock_hash
from pipelines.masking import labelled, score

if TYPE_CHECKING:
    from pipelines.masking.mask import Masker

VERSION: Final = 1
TEXTS: Final = 240
SEED: Final = 20_261


def require(settings: Settings, masker: Masker) -> dict[str, float]:
    """Recall by kind, measured now or before. MaskingFailed where a kind falls below the domain's `privacy.min_recall`."""
    found = recall(settings, masker)
    least = masker.privacy.min_recall
    if short := {kind: share for kind, share in found.items() if share < least}:
        what = ", ".join(f"{kind} {share:.3f}" for kind, share in sorted(short.items()))
        raise MaskingFailed(
            f"the recogniser finds too little of the labelled set ({what}; {least} is asked for)",
            where="privacy.min_recall",
            todo="restore models/recogniser, name a better model in privacy.recogniser, or lower the floor knowingly",
        )
    return found


def recall(settings: Settings, masker: Masker) -> dict[str, float]:
    """Share of the labelled spans of each kind that are masked, from the cache where nothing changed."""
    path = settings.var / "masking" / f"coverage-{_key(masker)}.json"
    if path.is_file():
        kept: dict[str, float] = json.loads(path.read_text(encoding="utf-8"))
        return kept
    found = measure(masker)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(json.dumps(found, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    temporary.replace(path)
    return found


def measure(masker: Masker) -> dict[str, float]:
    """Recall of the labelled set by kind, without the cache."""
    kinds, counted = labelled.kinds(masker.privacy), score.Score()
    for example in itertools.islice(labelled.examples(SEED), TEXTS):
        counted.add([span for span in example.spans if span[2] in kinds], masker.spans(example.text))
    return {kind: round(share, 4) for kind, share in counted.recall().items()}


def _key(masker: Masker) -> str:
    """What determines the result: the profile, the model's weights, and every module that finds or labels, ours and the libraries'."""
    from pipelines.masking.taggers import is_used, tagger

    privacy = masker.privacy
    digest = hashlib.sha256(f"{VERSION} {privacy.profile} {sorted(privacy.also)} {TEXTS} {SEED} {lock_hash()}".encode())
    if is_used(privacy):
        digest.update(f"{privacy.recogniser} {tagger(privacy.recogniser).sha256}".encode())
    for file in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]
