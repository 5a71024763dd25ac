"""Is a share of bad answers larger than another, looked at as often as one likes: an anytime-valid test of two streams of yes and no.

The hypothesis under test is that the canary is no worse than tolerated: p(canary) <= p(live) + tolerance. `Evidence.value` is the wealth of
somebody who bets against it at fair or worse odds, from 1 on: while it is true, the chance that the wealth ever reaches 1/alpha is at most
alpha (J. Ville, 1939), at whatever moments one looks.

Two streams: R. J. Turner, A. Ly, P. D. Gruenwald, "Generic E-variables for exact sequential k-sample tests that allow for optional
stopping", Journal of Statistical Planning and Inference 230, 2024; for a difference that is tolerated, R. J. Turner, P. D. Gruenwald,
"Exact anytime-valid confidence intervals for contingency tables and beyond", Statistics and Probability Letters 198, 2023. A block of
answers is worth

    q(block) / p(block)

where q are two rates chosen before the block, and p those two tolerated rates that are nearest to q, weighted by how many answers of each
stream the block has (least na KL(q live, p live) + nb KL(q canary, p canary)). Under every tolerated pair of rates its mean is at most 1,
and so it is when both rates drift together, as long as the mean rates within each block are tolerated.

q: for live, what was seen of it so far; for the canary, that plus the tolerance plus one of `STEPS`, all of which are bet on. Part of the
wealth is kept back and put in little by little, so that a canary that turns bad late is found too, though what was bet on it before is lost
(M. Herbster, M. K. Warmuth, "Tracking the Best Expert", Machine Learning 32, 1998). docs/rollout.md has what all this was measured to do.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import lru_cache

from pipelines.errors import BadInput

STEPS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64)
"""By how much beyond the tolerance the canary may be worse: what is bet on. Each twice the one before, so that one of them is near."""
BLOCK = 4
"""A block is full with so many answers of each stream. Counts alone close it, never what the answers were."""
_KEPT, _PACE = 0.5, 200
"""Half of the wealth is kept back at first; after n blocks, _KEPT / (1 + n / _PACE)."""
_LEAST, _MOST = 1e-4, 0.995
_HALVINGS = 48


@dataclass(slots=True)
class Evidence:
    """Evidence against one hypothesis. `known` is (hits, n) of live from before: it makes bets better, and cannot make the test wrong.

    With `ceiling` the canary is compared with that rate alone instead of with live's answers; it may be set and taken away between answers,
    not by what they were.
    """

    tolerance: float
    known: tuple[int, int] = (0, 0)
    ceiling: float | None = None
    blocks: int = 0
    live: list[int] = field(default_factory=lambda: [0, 0])
    """Hits and answers so far."""
    canary: list[int] = field(default_factory=lambda: [0, 0])
    _bets: list[float] = field(default_factory=lambda: [(1 - _KEPT) / len(STEPS)] * len(STEPS))
    _kept: float = _KEPT
    _block: list[int] = field(default_factory=lambda: [0, 0, 0, 0])

    def __post_init__(self) -> None:
        if not 0 <= self.tolerance <= 1:
            raise BadInput(f"a tolerance of {self.tolerance} is no share")
        if not 0 <= self.known[0] <= self.known[1]:
            raise BadInput(f"{self.known[0]} of {self.known[1]} is no count")

    @property
    def value(self) -> float:
        """The wealth. At 1/alpha or above the hypothesis is rejected, with a chance of at most alpha that this is wrong."""
        return self._kept + math.fsum(self._bets)

    def see(self, *, canary: bool, hit: bool) -> None:
        """Count one answer."""
        seen, place = (self.canary, 2) if canary else (self.live, 0)
        seen[0] += hit
        seen[1] += 1
        self._block[place] += hit
        self._block[place + 1] += 1
        if self._block[3] >= BLOCK and (self.ceiling is not None or self._block[1] >= BLOCK):
            self._close()

    def fresh(self) -> None:
        """Drop the answers of a block that is not full: what comes now is compared in another way, or has another mix."""
        self._block = [0, 0, 0, 0]

    def _close(self) -> None:
        live_hits, live_n, hits, n = self._block
        if self.ceiling is not None:
            odds = _alone(round(self.ceiling, 6))
            live_hits = live_n = 0
        else:
            # Rounded, so that the same odds serve many blocks; from what came before this block only.
            rate = float(f"{self._rate():.2g}")
            odds = _paired(live_n, n, rate, round(self.tolerance, 6))
        for k, (live_yes, live_no, yes, no) in enumerate(odds):
            logged = live_hits * live_yes + (live_n - live_hits) * live_no + hits * yes + (n - hits) * no
            self._bets[k] *= math.exp(min(logged, 600.0))
        self.blocks += 1
        put_in = self._kept - min(self._kept, _KEPT / (1 + self.blocks / _PACE))
        self._kept -= put_in
        self._bets = [bet + put_in / len(STEPS) for bet in self._bets]
        self.fresh()

    def _rate(self) -> float:
        """Of live, before the block. What was known from before counts as at most 200 answers: traffic changes with the hour."""
        weight = min(1.0, 200 / self.known[1]) if self.known[1] else 0.0
        hits = self.live[0] - self._block[0] + weight * self.known[0] + 0.5
        n = self.live[1] - self._block[1] + weight * self.known[1] + 1
        return min(max(hits / n, _LEAST), _MOST)


def ceiling(hits: int, n: int, tolerance: float, alpha: float) -> float:
    """The largest rate that live may have, seen `hits` in `n`, but for a chance of alpha, plus the tolerance: what a canary is compared
    with where live answers too little beside it. At most 1.

    C. J. Clopper, E. S. Pearson, Biometrika 26, 1934. Where a hit is a value above the k-th of the n themselves, it bounds the share of
    further values above that one just as exactly: that share has the same beta distribution.
    """
    from scipy.special import betaincinv  # type: ignore[import-untyped]

    if not 0 <= hits <= n:
        raise BadInput(f"{hits} of {n} is no count")
    upper = 1.0 if hits == n else float(betaincinv(hits + 1, n - hits, 1 - alpha))
    return min(1.0, upper + tolerance)


def quantile(values: list[float], share: float) -> float:
    """The smallest value that at least `share` of the values do not exceed (nearest rank). BadInput without values."""
    if not values:
        raise BadInput("there is no quantile of nothing")
    ordered = sorted(values)
    return ordered[min(len(ordered), max(1, math.ceil(share * len(ordered)))) - 1]


Odds = tuple[tuple[float, float, float, float], ...]
"""Per step, the logarithms of what a hit and a miss of live, then of the canary, multiply a bet by."""
_NONE = (0.0, 0.0, 0.0, 0.0)


@lru_cache(maxsize=20_000)
def _paired(live_n: int, n: int, rate: float, tolerance: float) -> Odds:
    """Of a block with so many answers of each stream, betting that live's rate is `rate`."""
    return tuple(_step(live_n, n, rate, min(rate + tolerance + step, _MOST), tolerance) for step in STEPS)


def _step(live_n: int, n: int, live: float, canary: float, tolerance: float) -> tuple[float, float, float, float]:
    if canary - tolerance <= live + 1e-9:
        return _NONE
    low, high = live, canary - tolerance
    for _ in range(_HALVINGS):
        # The slope of the weighted divergence along p(canary) = p(live) + tolerance, which is convex: its zero is the nearest pair.
        middle = (low + high) / 2
        other = middle + tolerance
        slope = live_n * (middle - live) / (middle * (1 - middle)) + n * (other - canary) / (other * (1 - other))
        low, high = (low, middle) if slope > 0 else (middle, high)
    nearest = (low + high) / 2
    return (*_logs(live, nearest), *_logs(canary, nearest + tolerance))


@lru_cache(maxsize=1_000)
def _alone(rate: float) -> Odds:
    """Of answers of the canary alone, against a rate of at most `rate`."""
    if rate >= _MOST:
        return (_NONE,) * len(STEPS)
    base = max(rate, _LEAST)
    return tuple((0.0, 0.0, *_logs(min(base + step, _MOST), base)) for step in STEPS)


def _logs(bet: float, null: float) -> tuple[float, float]:
    return math.log(bet / null), math.log((1 - bet) / (1 - null))
