"""What a shift rule expects, and how far from it is too far: fitted to the windows of the reference time.

Level: a mean for each hour of the day (UTC), drawn towards the mean of all where an hour has few windows; one offset for weekends; and, but
for shares, a slope over log requests (a quantile or a distance of few requests is biased). Windows far off are left out, and it is fitted
again: a fault in the reference time is not learned as normal.

Spread: the variance of a share's deviance is a + b * expected count, else a + b / requests: a is what windows differ by however many
requests they have (over-dispersion), which is measured, not assumed. Fitted by non-negative least squares to the variances of ten groups of
windows of like size.

Line: peaks over a threshold. The score's excursions beyond a high quantile, those within one another's horizon counted as one, have peaks
whose excess is taken to be exponential: a rate of r a day at u becomes 1 a `quiet_days` at u + s ln(r quiet_days), with s the mean excess
(Coles, An Introduction to Statistical Modeling of Extreme Values, 2001, 4.3 and 5.3). Excursions are counted as the rule counts them, over
windows that overlap and `hold` in a row, so no independence of windows is assumed. Each of the three horizons gets a third of the rate.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import NormalDist
from typing import Any

from pipelines.monitor_config import Shift
from pipelines.monitoring import shift
from pipelines.monitoring.seen import Seen

LEAST_WINDOWS = 30
"""Fewer are no reference."""
FAR_OFF = 6.0
"""Standard deviations from which a window of the reference time is left out."""
UNKNOWN = 0.1
"""Standard deviation, of a log or as a share of itself, by which an hour of the day that was never seen may differ from the others."""
_GROUPS = 10
_ENOUGH_PEAKS = 25
_FEW_PEAKS = 8
_FEW_LINE = 6.0
_QUANTILES = (0.995, 0.99, 0.98, 0.97, 0.95, 0.9)
_PSEUDO_HOURS = 0.25
"""Hours' worth of the mean of all that each hour's own mean is drawn by."""


def fit(rule: Shift, past: Sequence[Seen]) -> shift.Model | None:
    """The model that `shift.judge` reads, of windows oldest first; None where they are too few. About 15 µs a window."""
    import numpy as np

    some = _usable(rule, past)
    if len(some) < LEAST_WINDOWS:
        return None
    seconds = some[0].seconds
    values = np.array([one.value for one in some], dtype=float)
    sizes = np.array([one.n for one in some], dtype=float)
    times = np.array([one.at.timestamp() for one in some])
    scale = "share" if rule.measure.endswith("_share") else "log" if values.min() > 0 else "plain"
    steps = np.clip(np.diff(times, prepend=times[0] - seconds), 0.0, None)
    model: shift.Model = {"scale": scale, "floor": 0.0, "slope": 0.0, "weekend": 1.0 if scale == "share" else 0.0}
    kept = np.ones(len(some), dtype=bool)
    for _ in range(2):
        _level(model, times, values, sizes, np.minimum(steps, seconds) / 3600, kept)
        expected = [shift.expected_of(model, one.at, one.n) for one in some]
        offs = _gather(scale, values, sizes, expected, steps, seconds)
        days = float(np.minimum(steps, seconds).sum() / 86_400)
        model["spread"] = [_spread(scale, offs[k][kept], days, model["seen"]) for k in range(len(shift.HORIZONS))]
        alone = np.array([shift.score("both", scale, one, model["spread"][0]) for one in offs[0].tolist()])
        kept = alone < FAR_OFF
    quiet = rule.quiet_days * len(shift.HORIZONS)
    model["line"] = []
    for k, horizon in enumerate(shift.HORIZONS):
        scores = np.array([shift.score(rule.direction, scale, one, model["spread"][k]) for one in offs[k].tolist()])
        model["line"].append(
            _line(
                _held(scores, rule.hold), times, max(horizon, 1) * seconds, days, quiet, seconds, sides=2 if rule.direction == "both" else 1
            )
        )
    return model


def _usable(rule: Shift, past: Sequence[Seen]) -> list[Seen]:
    """Windows that say something, without those of a release that is still on probation where there is enough before it."""
    some = [one for one in past if one.value is not None and one.n >= rule.min_requests and math.isfinite(one.value)]
    if rule.by in ("release", "prompt"):
        return some
    named = [one for one in some if one.release is not None]
    at = next((after.at for before, after in reversed(list(pairwise(named))) if before.release != after.release), None)
    if at is not None and (some[-1].at - at).total_seconds() < shift.PROBATION_HOURS * 3600:
        before = [one for one in some if one.at < at]
        return before if len(before) >= LEAST_WINDOWS else some
    return some


def _level(model: shift.Model, times: Any, values: Any, sizes: Any, hours: Any, kept: Any) -> None:
    """Fit level, weekend and slope to the windows that are kept."""
    import numpy as np

    hour = ((times // 3600) % 24).astype(int)
    weekend = ((times // 86_400 + 3) % 7) >= 5
    logs = np.log(sizes)
    model["sizes"] = [float(logs[kept].mean()), float(logs[kept].min()), float(logs[kept].max())]
    model["seen"] = len(set(hour[kept].tolist())) / 24
    if model["scale"] == "share":
        counts, of = (values * sizes)[kept], sizes[kept]
        overall = (counts.sum() + 0.5) / (of.sum() + 1.0)
        # As many requests as an hour's worth of that hour on all its days.
        drawn = max(_PSEUDO_HOURS / 24, 1e-3) * of.sum() + 1.0 / overall
        for _ in range(2):
            factor = np.where(weekend, model["weekend"], 1.0)[kept]
            count = np.bincount(hour[kept], counts, 24)
            wanted = np.bincount(hour[kept], of * factor, 24)
            level = (count + drawn * overall) / (wanted + drawn)
            there = level[hour[kept]] * of
            model["weekend"] = float((counts[weekend[kept]].sum() + 20.0) / (there[weekend[kept]].sum() + 20.0))
        model["level"] = [float(one) for one in level]
        model["floor"] = float(overall / 20)
        return
    y = np.log(values) if model["scale"] == "log" else values
    weight = hours[kept] + 1e-9
    off = logs[kept] - model["sizes"][0]
    slope = 0.0
    if off.std() > 0.05:
        slope = float(np.sum(weight * off * (y[kept] - np.average(y[kept], weights=weight))) / np.sum(weight * off * off))
    rest = y[kept] - slope * off
    overall = float(np.average(rest, weights=weight))
    offset = 0.0
    for _ in range(2):
        flat = rest - np.where(weekend[kept], offset, 0.0)
        level = (np.bincount(hour[kept], weight * flat, 24) + _PSEUDO_HOURS * overall) / (
            np.bincount(hour[kept], weight, 24) + _PSEUDO_HOURS
        )
        over, days = (rest - level[hour[kept]])[weekend[kept]], weight[weekend[kept]]
        offset = float((over * days).sum() / (days.sum() + _PSEUDO_HOURS))
    model.update(slope=slope, weekend=offset, level=[float(one) for one in level])


def _gather(scale: str, values: Any, sizes: Any, expected: Sequence[float], steps: Any, seconds: float) -> list[Any]:
    """For each horizon an array (windows, 3) of what `shift.add` gathers."""
    import numpy as np

    sums = [[0.0, 0.0, 0.0] for _ in shift.HORIZONS]
    found = np.zeros((len(shift.HORIZONS), len(values), 3))
    for i, (value, n, wanted, step) in enumerate(zip(values.tolist(), sizes.tolist(), expected, steps.tolist(), strict=True)):
        shift.add(sums, scale, value, int(n), wanted, step, seconds)
        found[:, i] = sums
    return list(found)


def _spread(scale: str, offs: Any, days: float, seen: float) -> list[float]:
    """[a, b] of the variance a + b x."""
    import numpy as np
    from scipy.optimize import nnls  # type: ignore[import-untyped]

    pairs = np.array([shift.raw(scale, one) for one in offs.tolist()])
    far, grows = pairs[:, 0], pairs[:, 1]
    order = np.argsort(grows, kind="stable")
    groups = [one for one in np.array_split(order, min(_GROUPS, max(1, len(order) // 10))) if len(one) >= 5]
    # Half the distance between the 16th and the 84th hundredth is the standard deviation of a normal, and outliers do not move it.
    variance = np.array([max(float(np.diff(np.quantile(far[one], (0.16, 0.84)))[0] / 2) ** 2, 1e-12) for one in groups])
    sizes = np.array([grows[one].mean() for one in groups])
    (a, b), _ = nnls(np.column_stack((1 / variance, sizes / variance)), np.ones(len(groups)))
    # Fitted to these days, so that they lie closer to it than the next will; and what hours never seen may be like.
    more = min(3.0, (days + 1) / (days - 1)) if days > 1.5 else 3.0
    unknown = UNKNOWN**2 * (1 - seen)
    if scale == "share":
        return [max(1.0, float(a)) * more, float(b) * more + unknown]
    return [float(a) * more + (unknown if scale == "log" else 0.0) + 1e-8, float(b) * more]


def _held(scores: Any, hold: int) -> Any:
    """The least of each `hold` windows in a row: what the rule waits for."""
    import numpy as np

    return scores if hold == 1 or len(scores) < hold else np.lib.stride_tricks.sliding_window_view(scores, hold).min(axis=1)


def _line(scores: Any, times: Any, apart: float, days: float, quiet: float, seconds: float, sides: int) -> float:
    """The score that an excursion passes once in `quiet` days."""
    import numpy as np

    # No lower than for a normal score and windows that share nothing.
    normal = NormalDist().inv_cdf(1 - seconds / 86_400 / quiet / sides)
    times = times[len(times) - len(scores) :]
    peaks = np.empty(0)
    for quantile in _QUANTILES:
        limit = float(np.quantile(scores, quantile))
        over = np.flatnonzero(scores > limit)
        if not len(over):
            continue
        first = np.flatnonzero(np.diff(times[over], prepend=-np.inf) > apart)
        peaks = np.sort(np.maximum.reduceat(scores[over], first)) - limit
        if len(peaks) >= _ENOUGH_PEAKS:
            break
    if len(peaks) < _FEW_PEAKS:
        return float(max(_FEW_LINE, normal))
    # The median too: a fault in the reference time has a peak far above all others.
    excess = max(float(np.median(peaks)) / math.log(2), float(peaks[: math.ceil(0.95 * len(peaks))].mean()))
    return float(max(normal, limit + excess * math.log(max(1.0, len(peaks) / days * quiet))))
