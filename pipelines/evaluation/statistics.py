"""How sure a mean is, and how sure a loss: the gate's figures. One page with every formula and what it was measured to do: docs/gate.md.

Cases of one group (about one document, one pair) stand or fall together, so groups are what is counted and resampled, not cases:
E. Miller, "Adding Error Bars to Evals", arXiv:2411.00640, 2024.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, TypeVar

from pipelines.errors import BadInput

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Numbers = npt.NDArray[np.float64]

K = TypeVar("K", bound=Hashable)

RESAMPLES = 2_000
_SEED = 7
_FLIPS = 9_999
_ENUMERATED = 12
"""Groups that differ up to which every pattern of signs is tried: 4,096 at most."""
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean with its 95 % confidence interval. `missing` counts the cases without a value; with none left the figures are NaN."""

    mean: float
    low: float
    high: float
    n: int
    missing: int


@dataclass(frozen=True, slots=True)
class Loss:
    """What is lost from old to new on the same cases: mean of old - new, in [-1, 1]; below 0 is a gain.

    With no pair left the figures are NaN.
    """

    mean: float
    low: float
    high: float
    """Ends of the two-sided 95 % interval."""
    upper: float
    """The loss is below it with confidence 1 - alpha."""
    p_worse: float
    """How often chance alone would show as large a loss between equals."""
    sd: float
    """Standard deviation of one case's difference; larger by what cases of one group repeat of each other."""
    n: int
    """Cases with both values."""
    missing: int
    groups: int


def estimate(values: Sequence[float | None], groups: Sequence[str] | None = None, *, resamples: int = RESAMPLES) -> Estimate:
    """Mean of values in [0, 1] with a percentile-bootstrap interval over groups (seeded: the same values give the same interval).

    Whole groups are drawn with replacement (A. C. Davison and D. V. Hinkley, "Bootstrap Methods and their Application", 1997, ch. 2.4 and
    3.8); `groups` names each value's, None makes every value its own. Where all groups are equal resampling sees no spread, and twelve
    right answers of twelve are no proof of perfection: they get the score interval of E. B. Wilson (1927), which for values between 0 and
    1 is wider than needed, for nothing in [0, 1] varies more than 0 and 1 do.

    Raises BadInput when `groups` is not as long as `values`.
    """
    import numpy as np

    sums, sizes, missing = _grouped(values, groups)
    if len(sums) == 0:
        return Estimate(math.nan, math.nan, math.nan, 0, missing)
    n, count = int(sizes.sum()), len(sums)
    mean = float(sums.sum() / n)
    if np.ptp(sums / sizes) < _ROUNDING:
        low, high = _wilson(mean * count, count)
    else:
        drawn = np.random.default_rng(_SEED).integers(0, count, size=(resamples, count))
        means = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
        low, high = (float(edge) for edge in np.percentile(means, [2.5, 97.5]))
    return Estimate(mean, low, high, n, missing)


def paired_loss(
    old: Sequence[float | None],
    new: Sequence[float | None],
    groups: Sequence[str] | None = None,
    alpha: float = 0.05,
    *,
    flips: int = _FLIPS,
) -> Loss:
    """Loss from `old` to `new`, values in [0, 1] of the same cases in the same order; a case without both values is missing.

    The interval is the adjusted Wald interval of paired proportions (D. G. Bonett and R. M. Price, "Adjusted Wald confidence interval for
    a difference of binomial proportions based on paired data", Journal of Educational and Behavioral Statistics 37, 2012): two made-up
    groups, one that loses all and one that gains all, are counted in, and the variance is that of whole groups. Where nothing gained at
    all, the loss is a plain share, and its exact bound holds if larger (C. J. Clopper and E. S. Pearson, Biometrika 26, 1934): no
    difference in n groups leaves 1 - alpha^(1/n) open. The bootstrap passes more of the too bad candidates where few cases differ
    (`tests/bench/bench_power.py` measures it).

    `p_worse` is one-sided, by turning round whole groups (R. A. Fisher's sign-flip test, as in Davison and Hinkley, ch. 4.3): exact where
    all differences have one size (then it is McNemar's test) or at most 12 groups differ, else of `flips` random patterns.

    Raises BadInput when the three are not of one length.
    """
    import numpy as np

    if len(old) != len(new):
        raise BadInput(f"{len(old)} old values and {len(new)} new ones are not of the same cases")
    sums, sizes, missing = _grouped([_difference(was, now) for was, now in zip(old, new, strict=True)], groups)
    if len(sums) == 0:
        return Loss(math.nan, math.nan, math.nan, math.nan, math.nan, math.nan, 0, missing, 0)
    n = int(sizes.sum())
    mean = float(sums.sum() / n)
    return Loss(
        mean=mean,
        low=-_upper(-sums, sizes, 0.025),
        high=_upper(sums, sizes, 0.025),
        upper=_upper(sums, sizes, alpha),
        p_worse=_sign_flip(sums[np.abs(sums) > _ROUNDING], flips),
        sd=_standard_error(sums, sizes) * math.sqrt(n),
        n=n,
        missing=missing,
        groups=len(sums),
    )


def holm(p_values: Mapping[K, float]) -> dict[K, float]:
    """Each p made valid for being one of many (S. Holm, Scandinavian Journal of Statistics 6, 1979): the chance that any of several true
    hypotheses has one below alpha is at most alpha, however they depend on each other. Order and keys as given.
    """
    adjusted: dict[K, float] = {}
    largest = 0.0
    for rank, key in enumerate(sorted(p_values, key=lambda one: p_values[one])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[key]))
        adjusted[key] = largest
    return {key: adjusted[key] for key in p_values}


def cases_needed(loss: Loss, margin: float, alpha: float, power: float) -> int | None:
    """How many cases in all would show, with that power, a loss below `margin`, were this mean and this spread the true ones.

    n = ((z(1 - alpha) + z(power)) sd / (margin - mean))^2: S.-C. Chow, J. Shao and H. Wang, "Sample Size Calculations in Clinical
    Research", 2nd ed. 2008, ch. 3.1. Never fewer groups than the exact bound asks of equal answers: log(alpha) / log(1 - margin), 59
    for 0.05 and 0.05. None where no number would: the mean loss is at or beyond the margin, or unknown.
    """
    if not loss.mean < margin - _ROUNDING:
        return None
    normal = NormalDist()
    by_spread = ((normal.inv_cdf(1 - alpha) + normal.inv_cdf(power)) * loss.sd / (margin - loss.mean)) ** 2
    groups = math.ceil(math.log(alpha) / math.log1p(-margin)) if 0 < margin < 1 else 0
    return max(math.ceil(by_spread - _ROUNDING), math.ceil(groups * loss.n / loss.groups), loss.n + 1)


def _grouped(values: Sequence[float | None], groups: Sequence[str] | None) -> tuple[Numbers, Numbers, int]:
    """Per group, in order of first appearance: sum of its values, and how many there are. Then how many values there are not."""
    import numpy as np

    if groups is not None and len(groups) != len(values):
        raise BadInput(f"{len(values)} values and {len(groups)} groups do not belong together")
    sums: dict[Any, float] = {}
    sizes: dict[Any, int] = {}
    for key, value in zip(groups if groups is not None else range(len(values)), values, strict=True):
        if value is not None and math.isfinite(value):
            sums[key] = sums.get(key, 0.0) + value
            sizes[key] = sizes.get(key, 0) + 1
    known = sum(sizes.values())
    return np.array(list(sums.values()), dtype=np.float64), np.array(list(sizes.values()), dtype=np.float64), len(values) - known


def _difference(old: float | None, new: float | None) -> float | None:
    return None if old is None or new is None else old - new


def _standard_error(sums: Numbers, sizes: Numbers) -> float:
    """Of the mean over cases, counting each group once; of one group, whose spread nobody knows, 0."""
    import numpy as np

    count, n = len(sums), sizes.sum()
    if count < 2:
        return 0.0
    apart = sums - sums.sum() / n * sizes
    return float(np.sqrt((apart**2).sum() * count / (count - 1)) / n)


def _upper(sums: Numbers, sizes: Numbers, tail: float) -> float:
    """Below this the mean is, but for a chance of `tail`; at most 1."""
    import numpy as np
    from scipy.special import betaincinv, stdtrit  # type: ignore[import-untyped]

    count, size = len(sums), float(sizes.mean())
    mean = float(sums.sum() / sizes.sum())
    padded, padded_sizes = np.append(sums, (size, -size)), np.append(sizes, (size, size))
    centre = float(padded.sum() / padded_sizes.sum())
    upper = centre + float(stdtrit(max(count - 1, 1), 1 - tail)) * _standard_error(padded, padded_sizes)
    if sums.min() > -_ROUNDING and mean < 1:
        hits = max(mean, 0.0) * count
        upper = max(upper, float(betaincinv(hits + 1, count - hits, 1 - tail)))
    return min(1.0, max(upper, mean))


def _sign_flip(sums: Numbers, flips: int) -> float:
    """Share of the sign patterns whose total is at least the one seen."""
    import numpy as np

    count, seen = len(sums), float(sums.sum())
    if count == 0:
        return 1.0
    sizes = np.abs(sums)
    if np.ptp(sizes) < _ROUNDING:
        losses = int((sums > 0).sum())
        return float(sum(math.comb(count, k) for k in range(losses, count + 1)) / 2**count)
    if count <= _ENUMERATED:
        every = np.arange(2**count)[:, None] >> np.arange(count) & 1
        return float(np.mean((2 * every - 1) @ sizes >= seen - _ROUNDING))
    bits = np.random.default_rng(_SEED).integers(0, 256, size=(flips, (count + 7) // 8), dtype=np.uint8)
    totals = 2 * (np.unpackbits(bits, axis=1, count=count) @ sizes) - sizes.sum()
    return float((1 + (totals >= seen - _ROUNDING).sum()) / (1 + flips))


def _wilson(hits: float, n: int) -> tuple[float, float]:
    """95 % score interval of a share."""
    z = NormalDist().inv_cdf(0.975)
    centre = (hits + z * z / 2) / (n + z * z)
    half = z / (n + z * z) * math.sqrt(max(hits * (n - hits), 0.0) / n + z * z / 4)
    return max(0.0, centre - half), min(1.0, centre + half)
