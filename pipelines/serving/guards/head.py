"""A learned second opinion on a question: logistic regression over hashed character n-grams, sentence by sentence.

It knows orders to a model that no phrase of `patterns` spells out. The weights lie in `models/guard`, made by
`python -m pipelines.serving.guards.train_head` from generated sentences only. A sentence's score is sigmoid(bias + scale x mean weight of
its n-grams x sqrt(number of n-grams)), a text's its highest sentence's, at odds
divided by the number of sentences. All in numpy, no loop over characters.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from pipelines.errors import RatchetError

SIZES: Final = (3, 4, 5)
BUCKETS: Final = 1 << 14
_FACTORS: Final = (2654435761, 2246822519, 3266489917, 668265263, 374761393)
"""Odd constants of xxHash and Knuth's multiplicative hash; one for each place in an n-gram."""
_LEAST: Final = 12
"""Characters of a sentence that says anything."""
FOLDER: Final = Path(__file__).resolve().parents[3] / "models" / "guard"


@dataclass(frozen=True, slots=True)
class Head:
    """Weights (BUCKETS,) float32, bias and scale."""

    weights: Any
    bias: float

    def score(self, text: str) -> float:
        """In [0, 1], of folded text."""
        import numpy as np

        hashed, starts = grams(text)
        if not len(starts):
            return 0.0
        each = self.weights.take(hashed).sum(axis=0)
        sums = np.add.reduceat(each, starts)
        counts = np.diff(np.append(starts, len(each))) * len(SIZES)
        logits = self.bias + sums / np.sqrt(counts)
        logits[counts < _LEAST * len(SIZES)] = -np.inf
        # The highest of many is high by chance: one of n sentences must be n times as likely.
        spoken = int((counts >= _LEAST * len(SIZES)).sum())
        return float(1 / (1 + max(1, spoken) * np.exp(-logits.max())))


def grams(text: str) -> tuple[Any, Any]:
    """(len(SIZES), characters) buckets, one n-gram of each size per character, and the (sentences,) places where a sentence begins."""
    import numpy as np

    bytes_table, tables = _tables()
    codes = np.frombuffer(text.encode("latin-1", "replace").translate(bytes_table), dtype=np.uint8)
    if not len(codes):
        return np.zeros((len(SIZES), 0), dtype=np.int64), np.zeros(0, dtype=np.int64)
    # Of a run of what is neither letter nor digit the first counts.
    gaps = codes <= _GAP
    keep = np.ones(len(codes), dtype=bool)
    np.logical_not(gaps[1:] & gaps[:-1], out=keep[1:])
    codes = codes[keep]
    count = len(codes)
    begins = np.ones(count, dtype=bool)
    np.equal(codes[:-1], _END, out=begins[1:])
    padded = np.full(count + max(SIZES) - 1, _END, dtype=np.uint8)
    padded[:count] = codes
    rolled = tables[0].take(codes)
    hashed = np.empty((len(SIZES), count), dtype=np.uint32)
    for place in range(1, max(SIZES)):
        rolled += tables[place].take(padded[place : place + count])
        if place + 1 >= SIZES[0]:
            hashed[place + 1 - SIZES[0]] = rolled
    hashed ^= hashed >> np.uint32(15)
    hashed *= np.uint32(_FACTORS[0])
    hashed >>= np.uint32(32 - 14)
    return hashed, np.flatnonzero(begins)


_END, _GAP = 1, 2


@lru_cache(maxsize=1)
def _tables() -> tuple[bytes, list[Any]]:
    """By byte: 1 for the end of a sentence, 2 for a gap, the byte itself for a letter, 3 for all digits; and by place in an n-gram the
    code's share of the hash, (256,) uint32."""
    import numpy as np

    table = bytearray([_GAP]) * 256
    for code in range(256):
        letter = chr(code)
        if letter in ".!?\n;":
            table[code] = _END
        elif letter.isdigit():
            table[code] = 3
        elif letter.isalpha() or letter in "\":'":
            table[code] = code
    codes = np.arange(1, 257, dtype=np.uint64)
    return bytes(table), [(codes * np.uint64(factor) & np.uint64(0xFFFFFFFF)).astype(np.uint32) for factor in _FACTORS]


@lru_cache(maxsize=1)
def load(folder: Path = FOLDER) -> Head:
    """The packaged head. RatchetError where its files are missing, broken, or made for other n-grams."""
    import numpy as np

    try:
        said = json.loads((folder / "head.json").read_text(encoding="utf-8"))
        small = np.frombuffer(base64.b64decode(said["weights"], validate=True), dtype=np.int8)
        weights = small.astype(np.float32) * float(said["step"])
        if weights.shape != (BUCKETS,) or tuple(said["sizes"]) != SIZES:
            raise ValueError("another shape")
        return Head(weights, float(said["bias"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RatchetError(
            f"the guard's head cannot be read ({type(error).__name__})",
            where=str(folder),
            todo="restore it, or build it again: python -m pipelines.serving.guards.train_head",
        ) from None
