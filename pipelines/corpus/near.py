"""Near-duplicates by MinHash (datasketch): signatures that hold hashes only, and bands by which like texts find each other.

A signature is a function of the text alone: three-word shingles, 128 permutations drawn once from a fixed seed. The estimate of Jaccard
similarity errs by about 0.03 at 0.9. Bands are the same for every threshold from 0.8 up (16 of 8 rows: two texts of similarity 0.9 share
one with probability 0.9999, of 0.8 with 0.95), so that a changed threshold needs no new index.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Signature = NDArray[np.uint32]

PERMUTATIONS = 128
BANDS = 16
_ROWS = PERMUTATIONS // BANDS
_SHINGLE = 3
_SCHEME = "affine32"
"""Named, so that a newer package with another default cannot change signatures that are kept."""
_WORD = re.compile(r"\w+")


def shingles(text: str) -> set[bytes]:
    """Runs of three words, whatever their case and punctuation; a shorter text is one shingle."""
    words = _WORD.findall(text.lower())
    if len(words) <= _SHINGLE:
        return {" ".join(words).encode("utf-8", "replace")}
    return {" ".join(words[place : place + _SHINGLE]).encode("utf-8", "replace") for place in range(len(words) - _SHINGLE + 1)}


def signature(text: str) -> Signature:
    """128 numbers of 32 bits."""
    import numpy as np
    from datasketch import MinHash

    sketch = MinHash(num_perm=PERMUTATIONS, seed=1, scheme=_SCHEME, hashfunc=_hash, permutations=_permutations())
    sketch.update_batch(shingles(text))
    found: Signature = sketch.hashvalues.astype(np.uint32)
    return found


def similarity(one: Signature, other: Signature) -> float:
    """Estimated Jaccard similarity."""
    return float((one == other).mean())


def bands(sketch: Signature) -> list[int]:
    """Sixteen numbers, signed and of 63 bits so that every database takes them; like texts share at least one."""
    raw = sketch.astype("<u4").tobytes()
    width = 4 * _ROWS
    return [
        int.from_bytes(hashlib.blake2b(raw[place : place + width], digest_size=8, salt=band.to_bytes(8, "little")).digest(), "little") >> 1
        for band, place in enumerate(range(0, len(raw), width))
    ]


def distinct_bands(sketches: Iterable[Signature]) -> tuple[NDArray[np.int64], set[int]]:
    """All bands of some texts, each once, and those that at least two of the texts share: few, where texts differ."""
    import numpy as np

    every = np.fromiter((band for sketch in sketches for band in set(bands(sketch))), np.int64)
    values, counts = np.unique(every, return_counts=True)
    return values, set(values[counts > 1].tolist())


def groups(sketches: list[Signature], threshold: float) -> list[list[int]]:
    """Texts that hang together by pairs at or above the threshold; groups of one are left out. Costs its own size: no pair of strangers
    is compared, and in one band each text is compared with its neighbour only, which is like it or else unlike most."""
    parent = list(range(len(sketches)))

    def root(one: int) -> int:
        while parent[one] != one:
            parent[one] = parent[parent[one]]
            one = parent[one]
        return one

    buckets: dict[int, list[int]] = {band: [] for band in distinct_bands(sketches)[1]}
    for row, sketch in enumerate(sketches):
        for band in bands(sketch):
            if band in buckets:
                buckets[band].append(row)
    for rows in buckets.values():
        for one, other in _pairs(rows):
            first, second = root(one), root(other)
            if first != second and similarity(sketches[one], sketches[other]) >= threshold:
                parent[second] = first
    found: dict[int, list[int]] = {}
    for row in range(len(sketches)):
        found.setdefault(root(row), []).append(row)
    return [rows for rows in found.values() if len(rows) > 1]


def _pairs(rows: list[int]) -> Iterable[tuple[int, int]]:
    """Each with the first and with the one before it."""
    yield from pairwise(rows)
    yield from ((rows[0], row) for row in rows[2:])


def _hash(shingle: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(shingle, digest_size=4).digest(), "little")


_DRAWN: list[Any] = []


def _permutations() -> Any:
    """Drawn once per process: that costs more than a signature."""
    if not _DRAWN:
        from datasketch import MinHash

        _DRAWN.append(MinHash(num_perm=PERMUTATIONS, seed=1, scheme=_SCHEME, hashfunc=_hash).permutations)
    return _DRAWN[0]
