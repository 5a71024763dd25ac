"""Runs the recogniser: text in, labelled spans out. NumPy and onnxruntime; nothing is downloaded and torch is not imported.

A word's tags are the mean over its pieces, and over the windows that hold it; a span is a run of words of one label.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from pipelines.config import PROJECT
from pipelines.errors import MaskingFailed
from pipelines.manifest import sha256_file
from pipelines.masking.recogniser import encode
from pipelines.masking.recogniser.base import SHA256, encoder_folder

FOLDER: Final = PROJECT / "models" / "recogniser"
_CLS, _SEP = 101, 102
_JOINING: Final = frozenset(" \t\n-'’.,/&#")
_EPSILON: Final = 1e-12
_NAME: Final = 1
LEAN: Final = 1.0
"""A miss costs more than a false alarm: the odds against a name are divided by e to this power (docs/measurements.md has the trade)."""


@dataclass(frozen=True, slots=True)
class Found:
    """One named thing: its place in the text, its label (NAME, PLACE, ORG, ADDRESS) and the mean probability of its words."""

    start: int
    end: int
    label: str
    score: float


class Recogniser:
    """The tagger of a folder, safe to share between threads."""

    def __init__(self, folder: Path = FOLDER) -> None:
        from safetensors.numpy import load_file

        file = folder / "model.safetensors"
        if not file.is_file():
            raise MaskingFailed(
                "the recogniser's weights are missing", where=folder.name, todo="restore models/recogniser, or `make recogniser`"
            )
        facts = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if facts["encoder_sha256"] != SHA256 or tuple(facts["tags"]) != encode.TAGS:
            raise MaskingFailed("the recogniser was trained on another encoder or other tags", where=folder.name, todo="`make recogniser`")
        self.sha256 = sha256_file(file)
        update = {name: value.astype("float32") for name, value in load_file(file).items()}
        base = load_file(encoder_folder() / "model.safetensors")
        self._embedding = _Embedding(base, update["shape"])
        from pipelines.masking.recogniser.graph import session

        self._session = session(_merged(base, update, float(facts["scale"])))

    def find(self, texts: Sequence[str]) -> list[list[Found]]:
        """What each text names, in order of place. The result for a text does not depend on the others."""
        encoded = encode.pieces(list(texts))
        pairs = list(zip(texts, encoded, strict=True))
        if len(pairs) < 4:
            return [self._find(text, pieces) for text, pieces in pairs]
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            return list(pool.map(lambda pair: self._find(*pair), pairs))

    def _find(self, text: str, pieces: encode.Pieces) -> list[Found]:
        import numpy as np

        if not pieces.ids:
            return []
        sums = np.zeros((len(pieces.words), len(encode.TAGS)), dtype=np.float32)
        counts = np.zeros(len(pieces.words), dtype=np.float32)
        for start, end in encode.windows(len(pieces.ids)):
            scores = self._scores(pieces.ids[start:end], pieces.shapes[start:end])
            owner = pieces.owner[start:end]
            np.add.at(sums, owner, scores)
            np.add.at(counts, owner, 1)
        return list(_spans(text, pieces.words, sums / counts[:, None]))

    def _scores(self, ids: list[int], shapes: list[int]) -> Any:
        """Probabilities (pieces, tags) of one window."""
        import numpy as np

        hidden = self._embedding([_CLS, *ids, _SEP], [0, *shapes, 0])
        (scores,) = self._session.run(None, {"hidden": hidden[None]})
        powers = np.exp(scores[0, 1:-1] - scores[0, 1:-1].max(axis=-1, keepdims=True))
        return powers / powers.sum(axis=-1, keepdims=True)


class _Embedding:
    """Words, places and shapes as vectors: what comes before the first layer."""

    def __init__(self, base: dict[str, Any], shapes: Any) -> None:
        self._words = base["embeddings.word_embeddings.weight"]
        self._places = base["embeddings.position_embeddings.weight"] + base["embeddings.token_type_embeddings.weight"][0]
        self._scale, self._shift = base["embeddings.LayerNorm.weight"], base["embeddings.LayerNorm.bias"]
        self._shapes = shapes

    def __call__(self, ids: list[int], shapes: list[int]) -> Any:
        import numpy as np

        hidden = self._words[ids] + self._shapes[shapes] + self._places[: len(ids)]
        hidden -= hidden.mean(axis=-1, keepdims=True)
        hidden /= np.sqrt((hidden * hidden).mean(axis=-1, keepdims=True) + np.float32(_EPSILON))
        return (hidden * self._scale + self._shift).astype(np.float32, copy=False)


def _merged(base: dict[str, Any], update: dict[str, Any], scale: float) -> dict[str, Any]:
    """The encoder's layers with the low-rank updates added, and the head."""
    prefix = "encoder.layer."
    weights = {name.removeprefix(prefix): value for name, value in base.items() if name.startswith(prefix)}
    for name in [name.removesuffix(".down") for name in update if name.endswith(".down")]:
        weights[f"{name}.weight"] = weights[f"{name}.weight"] + scale * update[f"{name}.up"] @ update[f"{name}.down"]
    return weights | {name: update[name] for name in ("head.weight", "head.bias")}


def _spans(text: str, words: list[tuple[int, int]], probabilities: Any) -> Iterator[Found]:
    """Runs of words of one label. B and I count together for the label; a B opens a new span only after a gap that no name has."""
    import numpy as np

    labels = np.concatenate([probabilities[:, :1], probabilities[:, 1::2] + probabilities[:, 2::2]], axis=1)
    labels[:, 0] *= np.exp(-LEAN)
    labels /= labels.sum(axis=1, keepdims=True)
    best = labels.argmax(axis=1)
    opens = probabilities[:, 1::2] > probabilities[:, 2::2]
    current: list[int] = []
    for n in range(1, len(words) - 1):
        # A full stop between two names ends the first; after an initial it does not.
        if best[n] == _NAME and text[slice(*words[n])] == "." and words[n + 1][0] > words[n][1] and words[n - 1][1] - words[n - 1][0] > 2:
            best[n] = 0
    for n, label in enumerate(best):
        if current:
            gap = text[words[n - 1][1] : words[n][0]]
            goes_on = label == best[n - 1] and not opens[n, label - 1] and set(gap) <= _JOINING
            if label and goes_on:
                current.append(n)
                continue
            yield _span(current, words, labels, int(best[n - 1]))
            current = []
        if label:
            current = [n]
    if current:
        yield _span(current, words, labels, int(best[current[-1]]))


def _span(run: list[int], words: list[tuple[int, int]], labels: Any, label: int) -> Found:
    name = encode.TAGS[2 * label].removeprefix("I-")
    return Found(words[run[0]][0], words[run[-1]][1], name, float(labels[run, label].mean()))


@lru_cache(maxsize=2)
def recogniser(folder: Path = FOLDER) -> Recogniser:
    """The recogniser of a folder, loaded once per process."""
    return Recogniser(folder)


def labels(found: Iterable[Found]) -> list[tuple[int, int, str]]:
    """Spans as `generate.Example` has them."""
    return [(one.start, one.end, one.label) for one in found]
