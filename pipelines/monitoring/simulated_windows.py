"""Windows of simulated minutes: the measures of `measures.py`, computed from counts for each minute instead of from records."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from pipelines.monitor_config import Burn, Rule
from pipelines.monitoring.seen import Seen
from pipelines.monitoring.simulate import TENANTS, Minutes, middles

KNOWN = frozenset(
    {
        "requests", "error_share", "tokens_out_mean", "tokens_in_mean", "latency_p50", "latency_p95", "latency_p99", "confidence_mean",
        "abstained_share", "ungrounded_share", "injection_share", "topic_distance",
    }
)  # fmt: skip
"""Measures that are simulated; a rule for another sees nothing."""


@dataclass(frozen=True)
class Series:
    """One measure of one group: a window that ends with each minute from the first whole one on."""

    values: Any
    """float (windows,), NaN where there is none"""
    sizes: Any
    """requests, int (windows,)"""
    spans: dict[float, tuple[Any, Any]]


def rolled(counts: Any, minutes: int) -> Any:
    """Sums over so many minutes up to each, along the first axis; fewer at the beginning."""
    import numpy as np

    total = np.cumsum(counts, axis=0, dtype=float)
    total[minutes:] = total[minutes:] - total[:-minutes].copy()
    return total


def series(of: Minutes, rule: Rule, group: str, *, minutes: int = 5, usual_topics: Any = None) -> Series | None:
    """What a rule is shown of a group (`*`, or a tenant of a rule by tenant); None for a measure that is not simulated.

    `usual_topics`: shares (topics,) that the topics' distance is measured from.
    """
    import numpy as np

    if rule.measure not in KNOWN or (rule.by == "tenant" and rule.measure != "error_share"):
        return None
    if rule.measure == "error_share":
        who = TENANTS.index(group) if rule.by == "tenant" else slice(None)
        n, bad = of.tenants[:, who], of.errors[:, who]
        n, bad = (one if one.ndim == 1 else one.sum(axis=1) for one in (n, bad))
        lengths = (
            {length for pair in rule.windows for length in (pair.long_minutes, pair.short_minutes)} if isinstance(rule, Burn) else set()
        )
        spans = {length: _share(rolled(bad, round(length)), rolled(n, round(length))) for length in sorted(lengths)}
        values, sizes = _share(rolled(bad, minutes), rolled(n, minutes))
        return Series(values, sizes, spans)
    sizes = rolled(of.requests, minutes)
    name = rule.measure
    if name == "requests":
        return Series(sizes, sizes.astype(int), {})
    if name in ("abstained_share", "ungrounded_share", "injection_share"):
        return Series(*_share(rolled(of.shares[name.removesuffix("_share")], minutes), sizes), {})
    if name == "topic_distance":
        return Series(distance(rolled(of.topics, minutes), usual_topics), sizes.astype(int), {})
    if name.startswith("latency_p"):
        return Series(_quantile(rolled(of.bins["latency"], minutes), float(name[-2:]) / 100), sizes.astype(int), {})
    sums = rolled(of.bins[name.removesuffix("_mean")] @ middles(name.removesuffix("_mean")), minutes)
    with np.errstate(invalid="ignore", divide="ignore"):
        return Series(np.where(sizes > 0, sums / sizes, np.nan), sizes.astype(int), {})


def seen(of: Minutes, found: Series, group: str, *, minutes: int = 5, begin: int = 0) -> Iterator[Seen]:
    """The windows that end with minute `begin` and later, as a rule is shown them."""
    values, sizes = found.values.tolist(), found.sizes.tolist()
    spans = {length: (share.tolist(), n.tolist()) for length, (share, n) in found.spans.items()}
    releases = of.release.tolist()
    for k in range(max(begin, minutes - 1), len(values)):
        told = {length: (None if share[k] != share[k] else share[k], n[k]) for length, (share, n) in spans.items()}
        value = None if values[k] != values[k] else values[k]
        yield Seen(of.start + timedelta(minutes=k + 1), group, value, sizes[k], told, f"simulated/r{releases[k]}", minutes * 60.0)


def distance(counts: Any, usual: Any) -> Any:
    """Jensen-Shannon distance (base 2, 0 to 1) of each row of counts (windows, topics) from shares (topics,); NaN where a row is empty."""
    import numpy as np
    from scipy.special import rel_entr  # type: ignore[import-untyped]

    total = counts.sum(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        p = counts / total
    middle = (p + usual) / 2
    bits = (rel_entr(p, middle).sum(axis=1) + rel_entr(np.broadcast_to(usual, p.shape), middle).sum(axis=1)) / (2 * np.log(2))
    return np.where(total[:, 0] > 0, np.sqrt(np.clip(bits, 0, 1)), np.nan)


def groups(rule: Rule) -> Sequence[str]:
    """Of a rule."""
    return TENANTS if rule.by == "tenant" else ("*",)


def _share(bad: Any, n: Any) -> tuple[Any, Any]:
    import numpy as np

    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(n > 0, bad / n, np.nan), n.astype(int)


def _quantile(counts: Any, q: float) -> Any:
    """Of rows of counts (windows, bins), by the bin in which it lies."""
    import numpy as np

    total = np.cumsum(counts, axis=1)
    at = (total >= q * total[:, -1:]).argmax(axis=1)
    return np.where(total[:, -1] > 0, middles("latency")[at], np.nan)
