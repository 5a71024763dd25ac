"""Whether two samples differ, by how much, and how often chance alone does that: distances, each with its p-value.

Every distance is 0 where nothing differs and 1 where nothing is alike, with what samples of that size differ by on the mean taken off; so
distances of samples of unlike size can be compared. p-values are of a single look, for samples of independent answers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

PERMUTATIONS = 2000
_KOLMOGOROV_MEAN = math.sqrt(math.pi / 2) * math.log(2)
"""Mean of Kolmogorov's distribution: what two samples of one kind differ by, times sqrt(1 / n + 1 / m)."""


@dataclass(frozen=True, slots=True)
class Difference:
    """`distance` 0 to 1, `p` the chance of so much by chance alone, `n` and `reference` the sizes of the two samples."""

    distance: float
    p: float
    n: int
    reference: int


def of_numbers(now: Sequence[float], before: Sequence[float]) -> Difference:
    """Kolmogorov and Smirnov's two-sample test. With many equal values its p-value errs towards no difference."""
    from scipy.stats import ks_2samp  # type: ignore[import-untyped]

    found = ks_2samp(now, before, method="asymp" if min(len(now), len(before)) > 500 else "auto")
    noise = _KOLMOGOROV_MEAN * math.sqrt(1 / len(now) + 1 / len(before))
    return Difference(max(0.0, float(found.statistic) - noise), float(found.pvalue), len(now), len(before))


def of_kinds(now: Mapping[str, int], before: Mapping[str, int], seed: int = 0) -> Difference:
    """Jensen-Shannon distance (base 2) of two counts by kind, its p-value by dealing all answers anew `PERMUTATIONS` times."""
    import numpy as np

    names = sorted(now.keys() | before.keys())
    a, b = (np.array([counts.get(name, 0) for name in names]) for counts in (now, before))
    n, m = int(a.sum()), int(b.sum())
    if len(names) < 2:
        return Difference(0.0, 1.0, n, m)
    dealt = np.random.default_rng(seed).multivariate_hypergeometric(a + b, n, size=PERMUTATIONS, method="marginals")
    bits = _bits(a[None, :], b[None, :])[0]
    null = _bits(dealt, (a + b) - dealt)
    return Difference(math.sqrt(max(0.0, bits - float(null.mean()))), tail(bits, null), n, m)


def of_vectors(now: Any, before: Any, seed: int = 0) -> Difference:
    """Energy distance of two sets of vectors, float arrays (n, d) and (m, d), as a share of their mean distance from one another.

    (2 E|X - Y| - E|X - X'| - E|Y - Y'|) / 2 E|X - Y|, its square root; p-value by permutation (Székely and Rizzo, "Energy statistics: a
    class of statistics based on distances", Journal of Statistical Planning and Inference 143, 2013). Needs (n + m)^2 floats.
    """
    import numpy as np

    n, m = len(now), len(before)
    apart = distances(np.concatenate((now, before)))
    chosen = np.zeros((PERMUTATIONS + 1, n + m), dtype=np.float32)
    chosen[0, :n] = 1.0
    rng = np.random.default_rng(seed)
    for k in range(1, PERMUTATIONS + 1):
        chosen[k, rng.permutation(n + m)[:n]] = 1.0
    energies = _energies(apart, chosen)
    return Difference(math.sqrt(max(0.0, float(energies[0]))), tail(float(energies[0]), energies[1:]), n, m)


def distances(vectors: Any) -> Any:
    """Euclidean distances (n, n) of vectors (n, d), float32."""
    import numpy as np
    from scipy.spatial.distance import cdist  # type: ignore[import-untyped]

    return cdist(vectors, vectors).astype(np.float32)


def energy(apart: Any, mine: Any) -> float:
    """Of the vectors that `mine` marks from the rest, as `of_vectors` has it, from their distances (n, n)."""
    import numpy as np

    return math.sqrt(max(0.0, float(_energies(apart, mine[None, :].astype(np.float32))[0])))


def _energies(apart: Any, chosen: Any) -> Any:
    """For each row of `chosen` (k, n) of 0 and 1. Without the distances of vectors from themselves: then its mean is 0 by chance alone."""
    import numpy as np

    n, m = float(chosen[0].sum()), float(chosen.shape[1] - chosen[0].sum())
    within = np.einsum("ij,ij->i", chosen @ apart, chosen, dtype=np.float64)
    reached = (chosen @ apart.sum(axis=1, dtype=np.float64)).astype(np.float64)
    across = reached - within
    others = float(apart.sum(dtype=np.float64)) - within - 2 * across
    between = 2 * across / (n * m)
    return (between - within / (n * (n - 1)) - others / (m * (m - 1))) / np.maximum(between, 1e-12)


def _bits(a: Any, b: Any) -> Any:
    """Jensen-Shannon divergence in bits of rows of counts (k, kinds)."""
    import numpy as np
    from scipy.special import rel_entr  # type: ignore[import-untyped]

    p, q = a / a.sum(axis=1, keepdims=True), b / b.sum(axis=1, keepdims=True)
    middle = (p + q) / 2
    return (rel_entr(p, middle).sum(axis=1) + rel_entr(q, middle).sum(axis=1)) / (2 * np.log(2))


def tail(value: float, null: Any) -> float:
    """P(null >= value). Where fewer than ten of the null are beyond it, by the gamma curve of their mean, variance and skew.

    After Gretton, Fukumizu, Harchaoui and Sriperumbudur, "A fast, consistent kernel two-sample test" (NIPS 2009), who fit the gamma to two
    moments; the third matters so far out.
    """
    import numpy as np
    from scipy.stats import pearson3, skew

    beyond = int(np.sum(null >= value))
    counted = (beyond + 1) / (len(null) + 1)
    spread = float(np.std(null))
    if beyond >= 10 or spread <= 0:
        return counted
    curve = float(pearson3.sf((value - float(np.mean(null))) / spread, max(0.0, float(skew(null)))))
    return min(counted, max(curve, 1e-12))


def holm(chances: Mapping[str, float], rate: float) -> set[str]:
    """Which of several tests are beyond chance, with at most `rate` of one of them wrong (Holm, "A simple sequentially rejective multiple
    test procedure", Scandinavian Journal of Statistics 6, 1979)."""
    found = set()
    for k, (name, p) in enumerate(sorted(chances.items(), key=lambda one: one[1])):
        if p > rate / (len(chances) - k):
            break
        found.add(name)
    return found
